//! Channels.

mod claim;
mod consumers;
mod consuming;
mod driver;
mod generation;
mod inbox;
mod ledger;
mod numbering;
mod producer;
mod shared;
mod subscription;
mod topology;
mod verbs;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{ConsumerTag, Deliver, ExchangeKind, ExchangeName, IntoChecked, QueueName, Result};

use crate::codec::Json;
use crate::connection::ConnectionShared;
use crate::consumer::{ConsumeQueue, Dispatch, Get, RegisterConsumer};
use crate::deadline::within;
use crate::delivery::Unsettled;
use crate::publish::Publish;
use crate::recovery::open_generation;

pub(crate) use claim::Claim;
pub(crate) use consumers::{Restorable, Restorables};
pub(crate) use generation::{Generation, Source, closed_here};
pub(crate) use inbox::{Addressee, Inbox};
pub(crate) use ledger::asked_twice;
pub use producer::RegisterProducer;
pub(crate) use shared::{ChannelShared, Terms};
pub(crate) use subscription::{Lasting, Subscription};
pub use topology::{Bind, DeclareQueue, DeleteExchange, DeleteQueue};

/// A channel: where exchanges, queues and consumers are registered, and messages published.
/// Cloning it is cheap; all clones are the same channel.
///
/// An error that the broker answers by closing the channel (an exchange that is missing, options
/// that do not fit) ends all calls that wait on it with that reason. The channel is then opened
/// again, with its consumers, unless [`Recovery::off`](crate::Recovery::off) was asked for:
/// later calls wait for that.
///
/// # Examples
/// ```
/// use mooq::{ErrorKind, ErrorScope};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::{ConnectInMemory, InMemoryBroker};
/// # let broker = InMemoryBroker::start();
/// # let conn = broker.connect().await?;
/// # let chan = conn.create_channel().await?;
/// let err = chan.publish("no-such-exchange", "hello").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
/// assert_eq!(err.scope(), ErrorScope::Channel);
///
/// // The broker has closed the channel, and mooq has opened it again.
/// chan.declare_queue("orders").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Channel {
    shared: Arc<ChannelShared>,
    /// Keeps the connection open as long as a channel is in use.
    connection: Arc<ConnectionShared>,
}

impl Channel {
    pub(crate) async fn open(connection: &Arc<ConnectionShared>) -> Result<Self> {
        let shared = ChannelShared::new(connection);
        within(connection.deadline(), "opening a channel", async {
            let link = connection.link().await?;
            open_generation(&shared, &*link).await
        })
        .await?;
        shared.join_connection();
        Ok(Self {
            shared,
            connection: Arc::clone(connection),
        })
    }

    /// Declares an exchange, so that messages can be published to it.
    ///
    /// `kind` is an [`ExchangeKind`] or its name. The exchange is durable unless
    /// [`transient`](RegisterProducer::transient) is said.
    ///
    /// # Examples
    /// ```
    /// use mooq::{ErrorKind, ExchangeKind::Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.register_producer("orders", Topic).await?;
    /// chan.register_producer("orders", "topic").await?; // It is there: nothing changes.
    ///
    /// let err = chan.register_producer("orders", "fanout").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::BadExchange);
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_producer(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> RegisterProducer {
        RegisterProducer::new(self, exchange, kind)
    }

    /// Declares an exchange and a queue, binds them, and runs a callback for each message that
    /// comes, while [`process_events`](crate::Connection::process_events) runs.
    ///
    /// `kind` is an [`ExchangeKind`] or its name.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Delivery, ExchangeKind::Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// # let chan = conn.create_channel().await?;
    /// let consumer = chan
    ///     .register_consumer("orders", Topic)
    ///     .queue("audit")
    ///     .routing_keys(["order.*", "refund.#"])
    ///     .callback(|order: Delivery<String>| async move {
    ///         println!("{}: {}", order.routing_key, order.msg);
    ///     })
    ///     .await?;
    /// assert_eq!(consumer.queue(), "audit");
    ///
    /// chan.publish("orders", "three pencils").routing_key("order.new").await?;
    /// conn.process_events().cycles(1).await?; // order.new: three pencils
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_consumer(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> RegisterConsumer {
        RegisterConsumer::new(self, exchange, kind)
    }

    /// Publishes `msg` to an exchange; the empty name is the default exchange, which routes to
    /// the queue that the routing key names.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// # let chan = conn.create_channel().await?;
    /// #[derive(serde::Serialize)]
    /// struct Order {
    ///     pieces: u32,
    /// }
    ///
    /// chan.register_producer("orders", "topic").await?;
    /// chan.publish("orders", &Order { pieces: 3 })
    ///     .routing_key("order.new")
    ///     .await?;
    ///
    /// // To a queue by its name, through the default exchange.
    /// chan.declare_queue("greetings").await?;
    /// chan.publish("", "Hello World!").routing_key("greetings").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish<'a, T: ?Sized>(
        &'a self,
        exchange: impl IntoChecked<ExchangeName>,
        msg: &'a T,
    ) -> Publish<'a, T> {
        Publish::new(self, exchange, msg)
    }

    /// Consumes a queue that exists, as a stream of deliveries.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("numbers").await?;
    /// for number in [1, 2, 3] {
    ///     chan.publish("", &number).routing_key("numbers").await?;
    /// }
    ///
    /// let mut numbers = chan.consume::<i32>("numbers").await?;
    /// let mut sum = 0;
    /// while let Some(number) = numbers.next().await {
    ///     sum += number?.ack().await?; // Unsettled, it would go back.
    ///     if sum == 6 {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn consume<T>(&self, queue: impl IntoChecked<QueueName>) -> ConsumeQueue<T, Json> {
        ConsumeQueue::new(self, queue)
    }

    /// Fetches one message from a queue that exists.
    ///
    /// # Examples
    /// ```
    /// use mooq::ErrorKind;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_queue("numbers").await?;
    /// chan.publish("", &42).routing_key("numbers").await?;
    ///
    /// let number = chan.get::<i32>("numbers").await?;
    /// assert_eq!(number.ack().await?, 42);
    ///
    /// let err = chan.get::<i32>("numbers").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::NothingToConsume);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get<T>(&self, queue: impl IntoChecked<QueueName>) -> Get<T, Json> {
        Get::new(self, queue)
    }

    /// How many publishes the broker has neither confirmed nor refused yet. Those count as well
    /// that nobody waits for any more.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.shared.ledger(|ledger| ledger.in_flight())
    }

    /// Waits until the broker has answered every publish of this channel, for which nobody need
    /// wait otherwise: after [`unconfirmed`](Publish::unconfirmed) publishes, for example. What
    /// the answers were is told to each publish alone.
    ///
    /// # Errors
    /// `DeadlineExceeded` after the connection's deadline.
    ///
    /// # Cancel safety
    /// Safe to drop at any point.
    pub async fn wait_for_confirms(&self) -> Result<()> {
        let confirms = async {
            self.shared.wait_for_confirms().await;
            Ok(())
        };
        within(self.deadline(), "waiting for confirms", confirms).await
    }

    /// Closes the channel. Its consumers end, and what they had not acknowledged goes back to
    /// the queues. Closing it twice is no error.
    ///
    /// # Errors
    /// `ConnectionLost` if the broker went away before it answered; `DeadlineExceeded`.
    ///
    /// # Cancel safety
    /// Once polled, the closing goes on when this is dropped.
    pub async fn close(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.run_to_end("closing the channel", async move { shared.close().await })
            .await
    }

    /// One call to the broker that goes on when its future is dropped.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.connection.run_to_end(what, call).await
    }

    /// `basic.get`. A message that comes when this has been dropped goes back to its queue.
    pub(crate) async fn get_now(
        &self,
        mut queue: QueueName,
        no_ack: bool,
    ) -> Result<Option<(Deliver, Option<Unsettled>)>> {
        let shared = Arc::clone(&self.shared);
        // Outside of the task: one that is given up must not fetch when the connection is back.
        let generation = shared.generation().await?;
        self.run_to_end("basic.get", async move {
            shared.core().use_current_name(&mut queue);
            let fetched = generation.transport().get(queue.clone(), no_ack).await?;
            Ok(fetched.map(|fetched| {
                let unsettled = (!no_ack).then(|| {
                    let source = Arc::new(Source { generation, queue });
                    Unsettled::new(source, fetched.delivery_tag)
                });
                let deliver = Deliver {
                    consumer_tag: ConsumerTag::default(),
                    delivery_tag: fetched.delivery_tag,
                    redelivered: fetched.redelivered,
                    message: fetched.message,
                    in_flight: fetched.in_flight,
                };
                (deliver, unsettled)
            }))
        })
        .await
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.connection.deadline()
    }

    pub(crate) fn shared(&self) -> &Arc<ChannelShared> {
        &self.shared
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        self.connection.dispatch()
    }
}
