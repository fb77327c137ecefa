//! Builder of a consumer to register.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mooq_codecs::{Decode, Json};
use mooq_core::{
    ExchangeKind, ExchangeName, FieldValue, FirstError, IntoChecked, QueueName, Result, RoutingKey,
    ShortString, queue_arguments,
};

use super::channel::Channel;
use super::consumer::Consumer;
use super::consumer_options::{ConsumerOptions, callback_options, consumer_options};
use super::exchange::DeclareExchange;
use super::outcome::Callback;
use super::registration::Registration;
use crate::runtime::handler::{Handler, TypedCallback};
use crate::runtime::timeout::within;

/// A consumer to register: made by
/// [`Channel::register_consumer`](crate::Channel::register_consumer). Give it a
/// [`callback`](Self::callback), and await it.
#[must_use = "the consumer is registered when this is awaited"]
pub struct RegisterConsumer<C, K> {
    registration: Registration,
    codec: C,
    callback: K,
}

/// State of a [`RegisterConsumer`] that has no callback yet: it cannot be awaited before
/// [`callback`](RegisterConsumer::callback) is called.
#[derive(Debug)]
pub struct NoCallback(());

/// State of a [`RegisterConsumer`] that has its callback and can be awaited.
pub struct WithCallback(Arc<dyn Handler>);

impl fmt::Debug for WithCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithCallback")
    }
}

impl<C: fmt::Debug, K: fmt::Debug> fmt::Debug for RegisterConsumer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterConsumer")
            .field("registration", &self.registration)
            .field("codec", &self.codec)
            .field("callback", &self.callback)
            .finish()
    }
}

impl Channel {
    /// Declares an exchange and a queue, binds them, and runs a callback for each message that
    /// arrives, while [`process_events`](crate::Connection::process_events) runs.
    ///
    /// `kind` is an [`ExchangeKind`] or its name.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Delivery, ExchangeKind::Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
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
    ) -> RegisterConsumer<Json, NoCallback> {
        RegisterConsumer::new(self, exchange, kind)
    }
}

impl RegisterConsumer<Json, NoCallback> {
    pub(crate) fn new(
        channel: &Channel,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> Self {
        let exchange = DeclareExchange::new(channel, exchange, kind);
        Self {
            registration: Registration::declaring(channel, exchange),
            codec: Json,
            callback: NoCallback(()),
        }
    }
}

impl RegisterConsumer<Json, NoCallback> {
    /// A consumer that declares nothing.
    pub(super) fn on_queue(channel: &Channel, queue: impl IntoChecked<QueueName>) -> Self {
        Self {
            registration: Registration::on_queue(channel, queue),
            codec: Json,
            callback: NoCallback(()),
        }
    }
}

impl<C> RegisterConsumer<C, NoCallback> {
    /// Decodes bodies with `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> RegisterConsumer<D, NoCallback> {
        RegisterConsumer {
            registration: self.registration,
            codec,
            callback: self.callback,
        }
    }

    /// Runs `callback` for each delivery, while
    /// [`process_events`](crate::Connection::process_events) runs.
    ///
    /// Callbacks of one consumer start in the order of its deliveries; as many run at once as
    /// [`concurrency`](RegisterConsumer::concurrency) allows. The callback's return value settles
    /// the delivery: see [`IntoOutcome`](crate::IntoOutcome). An error or a panic is caught,
    /// logged, and handled by the policy of
    /// [`retry`](RegisterConsumer::retry).
    ///
    /// A closure that uses `?` has to name its error type at its end, because Rust cannot infer it:
    /// `Ok::<(), mooq::Error>(())`.
    ///
    /// A callback that owns a [`Channel`](crate::Channel) or a connection keeps the connection
    /// open: then [`Connection::close`](crate::Connection::close) ends it, and dropping the other
    /// handles does not.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Channel, Delivery, Outcome};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// // An async function; its error is anything that a `Box<dyn Error + Send + Sync>` can hold.
    /// async fn parse(text: Delivery<String>) -> Result<(), std::num::ParseIntError> {
    ///     println!("{}", text.msg.parse::<i32>()?);
    ///     Ok(())
    /// }
    /// chan.register_consumer("numbers", "direct").callback(parse).await?;
    ///
    /// // A closure that shares something, here a channel to publish on: each call has a clone.
    /// let answers = chan.clone();
    /// chan.register_consumer("questions", "direct")
    ///     .callback(move |question: Delivery<String>| {
    ///         let answers = answers.clone();
    ///         async move { answers.publish("numbers", "42").await }
    ///     })
    ///     .await?;
    ///
    /// // One that decides itself.
    /// chan.register_consumer("jobs", "direct")
    ///     .callback(|job: Delivery<u64>| async move {
    ///         if job.msg < 10 { Outcome::Ack } else { Outcome::Reject }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn callback<T, F>(self, callback: F) -> RegisterConsumer<(), WithCallback>
    where
        T: Send + 'static,
        C: Decode<T> + Send + Sync + 'static,
        F: Callback<T>,
    {
        RegisterConsumer {
            registration: self.registration,
            codec: (),
            callback: WithCallback(Arc::new(TypedCallback::new(self.codec, callback))),
        }
    }
}

impl<C, K> RegisterConsumer<C, K> {
    /// Consumes from the queue of this name, declared durable and open to every connection. Without
    /// a name, or with the empty one, the broker chooses the name. Such a queue belongs to this
    /// connection alone, and is deleted with its consumer: when that is cancelled or its channel
    /// closed. The messages in it are then lost.
    pub fn queue(mut self, name: impl IntoChecked<QueueName>) -> Self {
        if let Some(name) = self.registration.options.deferred.check(name) {
            self.registration.queue.set_name(name);
        }
        self
    }

    /// Binds the queue with one more key, or pattern for a topic exchange. Without any key, the
    /// queue is bound with the empty key.
    pub fn routing_key(mut self, key: impl IntoChecked<RoutingKey>) -> Self {
        self.registration
            .routing_keys
            .extend(self.registration.options.deferred.check(key));
        self
    }

    /// Binds the queue with each of these keys.
    pub fn routing_keys<I>(mut self, keys: I) -> Self
    where
        I: IntoIterator<Item: IntoChecked<RoutingKey>>,
    {
        for key in keys {
            self = self.routing_key(key);
        }
        self
    }

    /// Adds an argument to the bindings: for a headers exchange, a header to match, or
    /// `x-match`.
    pub fn header(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.registration.options.deferred.insert(
            &mut self.registration.binding_arguments,
            key,
            value,
        );
        self
    }

    /// Sets options of the exchange, for example
    /// `.exchange(|exchange| exchange.alternate_exchange("unrouted"))`. If the exchange exists,
    /// they must be the options that it has; with [`passive`](DeclareExchange::passive) it only
    /// has to exist.
    pub fn exchange(mut self, set: impl FnOnce(DeclareExchange) -> DeclareExchange) -> Self {
        self.registration.exchange = self.registration.exchange.map(set);
        self
    }

    /// Declares the exchange and the queue so that a restart of the broker deletes them. RabbitMQ
    /// 4.3 refuses such queues unless they are exclusive.
    pub fn transient(mut self) -> Self {
        self.registration.queue = self.registration.queue.transient();
        self.exchange(DeclareExchange::transient)
    }

    /// Makes the queue exclusive: only this connection may use it, and it is deleted when the
    /// connection closes.
    pub fn exclusive(mut self) -> Self {
        self.registration.queue = self.registration.queue.exclusive();
        self
    }

    /// Makes the queue auto-delete: it is deleted when its last consumer ends.
    pub fn auto_delete(mut self) -> Self {
        self.registration.queue = self.registration.queue.auto_delete();
        self
    }

    queue_arguments!(queue_argument);

    fn deferred(&mut self) -> &mut FirstError {
        &mut self.registration.options.deferred
    }

    /// Adds an argument to the queue's declaration, one that has no setter of its own.
    pub fn queue_argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.registration.queue = self.registration.queue.argument(key, value);
        self
    }

    callback_options!();
    consumer_options!();

    fn options(&mut self) -> &mut ConsumerOptions {
        &mut self.registration.options
    }

    pub(super) fn registration(&mut self) -> &mut Registration {
        &mut self.registration
    }
}

impl IntoFuture for RegisterConsumer<(), WithCallback> {
    type Output = Result<Consumer>;
    type IntoFuture = BoxFuture<'static, Result<Consumer>>;

    /// # Errors
    /// `ExchangeMismatch` if the exchange exists with another type or other options,
    /// `PreconditionFailed` if the queue does, `ResourceLocked` if the queue is exclusive to
    /// another connection; `NotAllowed` if the broker allows no further channel for
    /// [`own_channel`](Self::own_channel) or to declare delay queues; `NotImplemented` if the broker
    /// does not know what [`Retry::by_broker`](crate::Retry::by_broker) needs; `InvalidName`,
    /// `InvalidArgument`; `ConnectionLost` if the connection is lost meanwhile; `TimedOut`; the
    /// channel's close if the channel is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, exchange, queue and bindings may have been declared; no
    /// consumer stays registered.
    fn into_future(self) -> Self::IntoFuture {
        let WithCallback(handler) = self.callback;
        let limit = self.registration.channel.timeout();
        let registering = self.registration.carry_out(handler);
        // Limits all steps together, regardless of the time that each of them takes.
        Box::pin(within(limit, "registering the consumer", registering))
    }
}
