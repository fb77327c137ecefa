//! Saying what consumer to register.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mooq_core::{
    ConsumerTag, Error, ErrorKind, ExchangeKind, ExchangeName, FieldValue, IntoChecked, QueueName,
    Result, RoutingKey, ShortString,
};

use super::handler::{AckMode, Handler, TypedHandler};
use super::outcome::{Callback, FailurePolicy};
use super::registered::Consumer;
use super::registration::Registration;
use crate::channel::{Channel, RegisterProducer};
use crate::codec::{Decode, Json};
use crate::deadline::within;

/// A consumer to be registered: made by
/// [`Channel::register_consumer`](crate::Channel::register_consumer). Give it a
/// [`callback`](Self::callback), and await it.
#[must_use = "the consumer is registered when this is awaited"]
pub struct RegisterConsumer<C = Json, K = NoCallback> {
    registration: Registration,
    codec: C,
    callback: K,
}

/// The state of a [`RegisterConsumer`] that has no callback yet.
#[derive(Debug)]
pub struct NoCallback(());

/// The state of a [`RegisterConsumer`] that has its callback and can be awaited.
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

impl RegisterConsumer {
    pub(crate) fn new(
        channel: &Channel,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> Self {
        let exchange = RegisterProducer::new(channel, exchange, kind);
        Self {
            registration: Registration::new(channel, exchange),
            codec: Json,
            callback: NoCallback(()),
        }
    }
}

impl<C> RegisterConsumer<C> {
    /// Decodes bodies by `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> RegisterConsumer<D> {
        RegisterConsumer {
            registration: self.registration,
            codec,
            callback: self.callback,
        }
    }

    /// Runs `callback` for each delivery, while
    /// [`process_events`](crate::Connection::process_events) runs.
    ///
    /// Deliveries of one consumer start in order; as many run at once as
    /// [`concurrency`](RegisterConsumer::concurrency) allows. What the callback returns settles
    /// the delivery: see [`IntoOutcome`](crate::IntoOutcome). An error or a panic is caught,
    /// traced, and handled by [`on_error`](RegisterConsumer::on_error).
    ///
    /// A callback that owns a [`Channel`](crate::Channel) or a connection keeps it open:
    /// [`Connection::close`](crate::Connection::close) ends it then, dropping the other handles
    /// does not.
    ///
    /// # Examples
    /// ```
    /// use mooq::{Channel, Delivery, Outcome};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # let broker = InMemoryBroker::start();
    /// # let conn = broker.connect().await?;
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
            callback: WithCallback(Arc::new(TypedHandler::new(self.codec, callback))),
        }
    }
}

impl<C, K> RegisterConsumer<C, K> {
    /// Consumes from the queue of this name, declared durable and open to every connection.
    /// Without a name, or with the empty one, the broker chooses it, for a queue that is only
    /// this connection's and gone with it.
    pub fn queue(mut self, name: impl IntoChecked<QueueName>) -> Self {
        if let Some(name) = self.registration.deferred.check(name) {
            self.registration.queue.name = name;
        }
        self
    }

    /// Binds the queue with one more key, or pattern for a topic exchange. With none, it is
    /// bound with the empty key.
    pub fn routing_key(mut self, key: impl IntoChecked<RoutingKey>) -> Self {
        self.registration
            .routing_keys
            .extend(self.registration.deferred.check(key));
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
        self.registration
            .deferred
            .insert(&mut self.registration.binding_arguments, key, value);
        self
    }

    /// Sets options of the exchange, which must be those that it has, for example
    /// `.exchange(|exchange| exchange.alternate_exchange("unrouted"))`; with
    /// [`passive`](RegisterProducer::passive) it must only be there.
    pub fn exchange(mut self, set: impl FnOnce(RegisterProducer) -> RegisterProducer) -> Self {
        self.registration.exchange = set(self.registration.exchange);
        self
    }

    /// Declares the exchange and the queue so that they go at a restart of the broker. RabbitMQ
    /// 4.3 refuses such queues unless they are exclusive.
    pub fn transient(mut self) -> Self {
        self.registration.queue.transient = true;
        self.exchange(RegisterProducer::transient)
    }

    /// Only this connection may use the queue, and it goes with the connection.
    pub fn exclusive(mut self) -> Self {
        self.registration.queue.exclusive = true;
        self
    }

    /// The queue goes when its last consumer goes.
    pub fn auto_delete(mut self) -> Self {
        self.registration.queue.auto_delete = true;
        self
    }

    /// Adds an argument to the queue's declaration, for example `x-dead-letter-exchange`.
    pub fn queue_argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.registration
            .deferred
            .insert(&mut self.registration.queue.arguments, key, value);
        self
    }

    /// Holds at most `n` deliveries unacknowledged, 1 to 65535; 256 unless said otherwise.
    pub fn prefetch(mut self, n: u16) -> Self {
        self.registration.prefetch = self.registration.deferred.prefetch(n);
        self
    }

    /// Runs at most `n` callbacks of this consumer at once; as many as its prefetch unless said
    /// otherwise. With 1, each callback ends before the next starts.
    pub fn concurrency(mut self, n: usize) -> Self {
        if n == 0 {
            self.registration.deferred.fail(Error::new(
                ErrorKind::InvalidArgument,
                "a concurrency of 0 would never run a callback",
            ));
        }
        self.registration.concurrency = Some(n);
        self
    }

    /// The broker counts each message as done as it sends it: fast, and lost if the callback
    /// fails, or if the channel, the connection or the process ends before. The prefetch has no
    /// effect then.
    pub fn auto_ack(mut self) -> Self {
        self.registration.settings.ack_mode = AckMode::Auto;
        self
    }

    /// The callback settles each delivery itself, by [`Delivery::ack`](crate::Delivery::ack) and
    /// its siblings. One that it drops unsettled goes back to its queue.
    pub fn manual_ack(mut self) -> Self {
        self.registration.settings.ack_mode = AckMode::Manual;
        self
    }

    /// What becomes of a delivery whose callback failed or panicked; requeued once, then
    /// rejected, unless said otherwise. Has no effect with automatic or manual acknowledgement.
    pub fn on_error(mut self, policy: FailurePolicy) -> Self {
        self.registration.settings.on_error = policy;
        self
    }

    /// What becomes of a delivery whose body does not decode; rejected unless said otherwise.
    pub fn on_decode_error(mut self, policy: FailurePolicy) -> Self {
        self.registration.settings.on_decode_error = policy;
        self
    }

    /// The consumer's tag. Without one mooq chooses it.
    pub fn tag(mut self, tag: impl IntoChecked<ConsumerTag>) -> Self {
        if let Some(tag) = self.registration.deferred.check(tag) {
            self.registration.consume.tag = tag;
        }
        self
    }

    /// No other consumer may be on the queue.
    pub fn exclusive_consumer(mut self) -> Self {
        self.registration.consume.exclusive = true;
        self
    }

    /// Adds an argument to the consumer, for example `x-priority`.
    pub fn consumer_argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.registration
            .deferred
            .insert(&mut self.registration.consume.arguments, key, value);
        self
    }
}

impl IntoFuture for RegisterConsumer<(), WithCallback> {
    type Output = Result<Consumer>;
    type IntoFuture = BoxFuture<'static, Result<Consumer>>;

    /// # Errors
    /// `BadExchange` if the exchange exists with another type or other options,
    /// `PreconditionFailed` if the queue does, `ResourceLocked` if the queue is exclusive to
    /// another connection; `InvalidName`, `InvalidArgument`; `ConnectionLost` if it is lost
    /// meanwhile; `DeadlineExceeded`; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// Dropped midway, exchange, queue and bindings may have been declared; no consumer stays.
    fn into_future(self) -> Self::IntoFuture {
        let WithCallback(handler) = self.callback;
        let limit = self.registration.deadline();
        let registering = self.registration.carry_out(handler);
        // All of its steps together, however long each of them takes.
        Box::pin(within(limit, "registering the consumer", registering))
    }
}
