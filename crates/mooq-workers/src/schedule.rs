//! The methods of a registration.

use std::time::Duration;

use mooq_client::{Delivery, NoCallback, RegisterCallback, RegisterConsumer};

use crate::batches::Batches;
use crate::register::sealed::Options;
use crate::workers::{ByKey, Workers};

/// How the callbacks of a consumer run: methods of
/// [`register_consumer`](mooq_client::Channel::register_consumer) and
/// [`register_callback`](mooq_client::Channel::register_callback), to be called last before
/// `callback`.
///
/// Without them, the callbacks of a connection run at once, up to each consumer's
/// [`concurrency`](RegisterConsumer::concurrency), on the task that processes events: they share
/// one thread.
///
/// The [guide](https://github.com/mooq-rs/mooq/blob/main/docs/workers.md) tells what happens when
/// something fails.
pub trait Schedule: Options {
    /// Runs callbacks as tasks of the runtime, at most `n` at once: on a runtime with several
    /// threads, callbacks that compute use several cores. The consumer holds as many further
    /// deliveries as its prefetch allows, with their bodies decoded.
    ///
    /// Settlement, retries and panics are the same as without workers. A callback that is cut off,
    /// since processing ends or its connection closes, ends at its next `.await`; its message may
    /// be delivered again before.
    ///
    /// Registering fails with `InvalidArgument` if `n` is 0.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Delivery, ExchangeKind::Topic, Schedule};
    ///
    /// # fn shrink(picture: &[u8]) {}
    /// # #[tokio::main]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.register_consumer("pictures", Topic)
    ///     .queue("to-shrink")
    ///     .routing_key("picture.*")
    ///     .workers(4)
    ///     .callback(|picture: Delivery<Vec<u8>>| async move { shrink(&picture.msg) })
    ///     .await?;
    /// # chan.publish("pictures", &[1, 2, 3]).routing_key("picture.new").await?;
    /// # conn.process_events().until_idle().await
    /// # }
    /// ```
    fn workers(self, n: usize) -> Workers<Self> {
        Workers::new(self).workers(n)
    }

    /// Runs the callbacks of deliveries for which `key` returns the same value one after another,
    /// in the order of the deliveries, and others at once: the messages of one customer in order,
    /// say, and those of many customers side by side.
    ///
    /// A message that fails keeps its place while it is retried in place: those behind it with its
    /// key wait. If it goes elsewhere, to a delay queue, a parking queue, a dead-letter exchange or
    /// back to its own queue, the next one has its turn. Order holds for one consumer: a second
    /// consumer of the queue gets other messages of the same key, unless the queue has a [single
    /// active consumer](https://www.rabbitmq.com/docs/consumers#single-active-consumer) and this
    /// consumer a [`concurrency`](RegisterConsumer::concurrency) above 1.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Delivery, ExchangeKind::Topic, Schedule};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Order {
    ///     customer: u64,
    ///     pieces: u32,
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.register_consumer("orders", Topic)
    ///     .queue("billing")
    ///     .routing_key("order.*")
    ///     .workers(4)
    ///     .ordered_by(|order: &Delivery<Order>| order.msg.customer)
    ///     .callback(|order: Delivery<Order>| async move {
    ///         println!("customer {}: {} pieces", order.msg.customer, order.msg.pieces);
    ///     })
    ///     .await?;
    /// # chan.publish("orders", &Order { customer: 1, pieces: 2 }).routing_key("order.new").await?;
    /// # conn.process_events().until_idle().await
    /// # }
    /// ```
    fn ordered_by<T, K, F>(self, key: F) -> Workers<Self, ByKey<T, F>>
    where
        F: Fn(&Delivery<T>) -> K + Send + Sync + 'static,
    {
        Workers::new(self).ordered_by(key)
    }

    /// Collects up to `n` deliveries, and calls the callback with all of them once there are `n`,
    /// or once the first of them has waited for `within`.
    ///
    /// The callback returns one outcome for all deliveries, or one for each: see
    /// [`IntoBatchOutcome`](crate::IntoBatchOutcome). Messages that failed are retried as the
    /// consumer's policy says, each for itself, and come in later batches.
    ///
    /// Batches run one after another: this sets the consumer's
    /// [`concurrency`](RegisterConsumer::concurrency) to `n`, and its prefetch to `n` or to the
    /// default, whichever is more. A greater concurrency lets several batches run at once. A batch
    /// that is not full when processing ends is settled if the end is a
    /// [shutdown](mooq_client::Connection::shutdown), which waits for it, and given back otherwise.
    /// In a [cycle](mooq_client::ProcessEvents::cycles), which starts one delivery of each
    /// consumer, every batch has one delivery: tests of batches use
    /// [`until_idle`](mooq_client::ProcessEvents::until_idle).
    ///
    /// Registering fails with `InvalidArgument` if `n` is 0.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use mooq::{Delivery, ExchangeKind::Direct, Schedule};
    ///
    /// # async fn store(readings: &[f64]) -> std::io::Result<()> { Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.register_consumer("readings", Direct)
    ///     .queue("to-store")
    ///     .batch(100, Duration::from_millis(50))
    ///     .callback(|readings: Vec<Delivery<f64>>| async move {
    ///         let values: Vec<f64> = readings.iter().map(|reading| reading.msg).collect();
    ///         store(&values).await
    ///     })
    ///     .await?;
    /// # chan.publish("readings", &21.5).await?;
    /// # conn.process_events().until_idle().await
    /// # }
    /// ```
    fn batch(self, n: u16, within: Duration) -> Batches<Self> {
        Batches::new(self, n, within)
    }
}

impl<C> Schedule for RegisterConsumer<C, NoCallback> {}

impl<C> Schedule for RegisterCallback<C, NoCallback> {}
