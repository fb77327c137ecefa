//! Registering a consumer with a callback.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mooq_core::{
    Binding, BindingDestination, Consume, ConsumerTag, Error, ErrorKind, ExchangeKind,
    ExchangeName, FieldTable, FieldValue, IntoChecked, QueueDeclare, QueueName, Result, RoutingKey,
    ShortString,
};

use super::handler::{AckMode, CallbackConsumer, Handler, Settings, TypedHandler};
use super::outcome::{Callback, FailurePolicy};
use super::registered::Consumer;
use crate::channel::{Channel, Inbox, RegisterProducer};
use crate::codec::{Decode, Json};
use crate::deferred::Deferred;

/// How many deliveries a consumer may hold unacknowledged, unless said otherwise.
pub(crate) const DEFAULT_PREFETCH: u16 = 256;

/// A consumer to be registered: made by
/// [`Channel::register_consumer`](crate::Channel::register_consumer). Give it a
/// [`callback`](Self::callback), and await it.
#[must_use = "the consumer is registered when this is awaited"]
pub struct RegisterConsumer<C = Json, K = NoCallback> {
    channel: Channel,
    exchange: RegisterProducer,
    queue: QueueDeclare,
    routing_keys: Vec<RoutingKey>,
    binding_arguments: FieldTable,
    consume: Consume,
    prefetch: u16,
    settings: Settings,
    concurrency: Option<usize>,
    codec: C,
    callback: K,
    deferred: Deferred,
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
            .field("exchange", &self.exchange)
            .field("queue", &self.queue)
            .field("routing_keys", &self.routing_keys)
            .field("codec", &self.codec)
            .field("callback", &self.callback)
            .finish_non_exhaustive()
    }
}

impl RegisterConsumer {
    pub(crate) fn new(
        channel: &Channel,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> Self {
        Self {
            channel: channel.clone(),
            exchange: RegisterProducer::new(channel, exchange, kind),
            queue: QueueDeclare::server_named(),
            routing_keys: Vec::new(),
            binding_arguments: FieldTable::new(),
            consume: Consume::new(QueueName::default()),
            prefetch: DEFAULT_PREFETCH,
            settings: Settings {
                ack_mode: AckMode::ByOutcome,
                concurrency: DEFAULT_PREFETCH.into(),
                on_error: FailurePolicy::RequeueOnce,
                on_decode_error: FailurePolicy::Reject,
            },
            concurrency: None,
            codec: Json,
            callback: NoCallback(()),
            deferred: Deferred::default(),
        }
    }
}

impl<C> RegisterConsumer<C> {
    /// Decodes bodies by `codec` instead of as JSON.
    pub fn codec<D>(self, codec: D) -> RegisterConsumer<D> {
        self.with(codec, NoCallback(()))
    }

    /// Runs `callback` for each delivery, while
    /// [`process_events`](crate::Connection::process_events) runs.
    ///
    /// Deliveries of one consumer start in order; as many run at once as
    /// [`concurrency`](RegisterConsumer::concurrency) allows. What the callback returns settles
    /// the delivery: see [`IntoOutcome`](crate::IntoOutcome). An error or a panic is caught,
    /// traced, and handled by [`on_error`](RegisterConsumer::on_error).
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
        let (codec, builder) = self.split();
        let handler = Arc::new(TypedHandler::new(codec, callback));
        builder.with((), WithCallback(handler))
    }

    fn split(self) -> (C, RegisterConsumer<()>) {
        let Self {
            channel,
            exchange,
            queue,
            routing_keys,
            binding_arguments,
            consume,
            prefetch,
            settings,
            concurrency,
            codec,
            callback,
            deferred,
        } = self;
        let rest = RegisterConsumer {
            channel,
            exchange,
            queue,
            routing_keys,
            binding_arguments,
            consume,
            prefetch,
            settings,
            concurrency,
            codec: (),
            callback,
            deferred,
        };
        (codec, rest)
    }
}

impl<C, K> RegisterConsumer<C, K> {
    fn with<D, L>(self, codec: D, callback: L) -> RegisterConsumer<D, L> {
        RegisterConsumer {
            channel: self.channel,
            exchange: self.exchange,
            queue: self.queue,
            routing_keys: self.routing_keys,
            binding_arguments: self.binding_arguments,
            consume: self.consume,
            prefetch: self.prefetch,
            settings: self.settings,
            concurrency: self.concurrency,
            codec,
            callback,
            deferred: self.deferred,
        }
    }

    /// Consumes from the queue of this name, declared durable and open to every connection.
    /// Without a name the broker chooses one, for a queue that is only this connection's and
    /// gone with it.
    pub fn queue(mut self, name: impl IntoChecked<QueueName>) -> Self {
        if let Some(name) = self.deferred.check(name) {
            let arguments = std::mem::take(&mut self.queue.arguments);
            self.queue = QueueDeclare {
                arguments,
                ..QueueDeclare::new(name)
            };
        }
        self
    }

    /// Binds the queue with one more key, or pattern for a topic exchange. With none, it is
    /// bound with the empty key.
    pub fn routing_key(mut self, key: impl IntoChecked<RoutingKey>) -> Self {
        self.routing_keys.extend(self.deferred.check(key));
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
        self.deferred
            .insert(&mut self.binding_arguments, key, value);
        self
    }

    /// Declares the exchange and a named queue so that they go at a restart of the broker.
    /// RabbitMQ 4.3 refuses such queues unless they are exclusive.
    pub fn transient(mut self) -> Self {
        self.exchange = self.exchange.transient();
        self.queue.durable = false;
        self
    }

    /// Only this connection may use the queue, and it goes with the connection.
    pub fn exclusive(mut self) -> Self {
        self.queue.exclusive = true;
        self
    }

    /// The queue goes when its last consumer goes.
    pub fn auto_delete(mut self) -> Self {
        self.queue.auto_delete = true;
        self
    }

    /// Adds an argument to the queue's declaration, for example `x-dead-letter-exchange`.
    pub fn queue_argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.deferred.insert(&mut self.queue.arguments, key, value);
        self
    }

    /// Holds at most `n` deliveries unacknowledged, 1 to 65535; 256 unless said otherwise.
    pub fn prefetch(mut self, n: u16) -> Self {
        self.prefetch = self.deferred.prefetch(n);
        self
    }

    /// Runs at most `n` callbacks of this consumer at once; as many as its prefetch unless said
    /// otherwise. With 1, each callback ends before the next starts.
    pub fn concurrency(mut self, n: usize) -> Self {
        if n == 0 {
            self.deferred.fail(Error::new(
                ErrorKind::InvalidArgument,
                "a concurrency of 0 would never run a callback",
            ));
        }
        self.concurrency = Some(n);
        self
    }

    /// The broker counts each message as done as it sends it: fast, and lost if the callback
    /// fails or the process ends. The prefetch has no effect then.
    pub fn auto_ack(mut self) -> Self {
        self.settings.ack_mode = AckMode::Auto;
        self
    }

    /// The callback settles each delivery itself, by [`Delivery::ack`](crate::Delivery::ack) and
    /// its siblings. One that it drops unsettled goes back to its queue.
    pub fn manual_ack(mut self) -> Self {
        self.settings.ack_mode = AckMode::Manual;
        self
    }

    /// What becomes of a delivery whose callback failed or panicked; requeued once, then
    /// rejected, unless said otherwise. Has no effect with automatic or manual acknowledgement.
    pub fn on_error(mut self, policy: FailurePolicy) -> Self {
        self.settings.on_error = policy;
        self
    }

    /// What becomes of a delivery whose body does not decode; rejected unless said otherwise.
    pub fn on_decode_error(mut self, policy: FailurePolicy) -> Self {
        self.settings.on_decode_error = policy;
        self
    }

    /// The consumer's tag. Without one mooq chooses it.
    pub fn tag(mut self, tag: impl IntoChecked<ConsumerTag>) -> Self {
        if let Some(tag) = self.deferred.check(tag) {
            self.consume.tag = tag;
        }
        self
    }

    /// No other consumer may be on the queue.
    pub fn exclusive_consumer(mut self) -> Self {
        self.consume.exclusive = true;
        self
    }

    /// Adds an argument to the consumer, for example `x-priority`.
    pub fn consumer_argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.deferred
            .insert(&mut self.consume.arguments, key, value);
        self
    }
}

impl IntoFuture for RegisterConsumer<(), WithCallback> {
    type Output = Result<Consumer>;
    type IntoFuture = BoxFuture<'static, Result<Consumer>>;

    /// # Errors
    /// `BadExchange` if the exchange exists with another type or other options,
    /// `PreconditionFailed` if the queue does, `ResourceLocked` if the queue is exclusive to
    /// another connection; `InvalidName`, `InvalidArgument`; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// Dropped midway, exchange, queue and bindings may have been declared; no consumer stays.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.register())
    }
}

impl RegisterConsumer<(), WithCallback> {
    async fn register(self) -> Result<Consumer> {
        let Self {
            channel,
            exchange,
            queue,
            mut routing_keys,
            binding_arguments,
            mut consume,
            prefetch,
            mut settings,
            concurrency,
            codec: (),
            callback: WithCallback(handler),
            deferred,
        } = self;
        deferred.finish()?;
        settings.concurrency = concurrency.unwrap_or_else(|| prefetch.into());
        let source = exchange.name().clone();
        exchange.await?;
        let queue = channel
            .rpc("declaring the queue", |c| c.declare_queue(queue))
            .await?
            .name;
        if routing_keys.is_empty() {
            routing_keys.push(RoutingKey::default());
        }
        for routing_key in routing_keys {
            let binding = Binding {
                source: source.clone(),
                destination: BindingDestination::Queue(queue.clone()),
                routing_key,
                arguments: binding_arguments.clone(),
            };
            channel
                .rpc("binding the queue", |c| c.bind(binding))
                .await?;
        }
        consume.queue = queue.clone();
        consume.no_ack = settings.ack_mode == AckMode::Auto;

        let dispatch = channel.dispatch();
        let id = dispatch.reserve();
        let inbox = Arc::new(Inbox::for_callback(Arc::downgrade(dispatch), id));
        let subscription = channel
            .subscribe(consume, prefetch, Arc::clone(&inbox))
            .await?;
        let shared = Arc::clone(channel.shared());
        dispatch.add(
            id,
            Arc::new(CallbackConsumer {
                channel: shared,
                queue: queue.clone(),
                inbox,
                settings,
                handler,
            }),
        );
        Ok(Consumer {
            tag: subscription.keep(),
            channel,
            id,
            queue,
            no_ack: settings.ack_mode == AckMode::Auto,
        })
    }
}
