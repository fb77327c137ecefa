//! Queues, bindings and their removal.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_core::{
    Binding, BindingDestination, ExchangeName, FieldTable, FieldValue, FirstError, IntoChecked,
    QueueDeclare, QueueDeclared, QueueName, Result, RoutingKey, ShortString, queue_arguments,
};

use super::channel::Channel;

impl Channel {
    /// Declares a queue, durable and open to every connection by default. The empty name asks the
    /// broker to choose one.
    pub fn declare_queue(&self, name: impl IntoChecked<QueueName>) -> DeclareQueue {
        let mut deferred = FirstError::default();
        let name = deferred.check(name).unwrap_or_default();
        DeclareQueue {
            channel: self.clone(),
            declare: QueueDeclare::new(name),
            deferred,
        }
    }

    /// Deletes a queue with its messages; a missing one is no error.
    pub fn delete_queue(&self, name: impl IntoChecked<QueueName>) -> DeleteQueue {
        let mut deferred = FirstError::default();
        DeleteQueue {
            channel: self.clone(),
            name: deferred.check(name).unwrap_or_default(),
            if_unused: false,
            if_empty: false,
            deferred,
        }
    }

    /// Deletes an exchange with its bindings; a missing one is no error.
    pub fn delete_exchange(&self, name: impl IntoChecked<ExchangeName>) -> DeleteExchange {
        let mut deferred = FirstError::default();
        DeleteExchange {
            channel: self.clone(),
            name: deferred.check(name).unwrap_or_default(),
            if_unused: false,
            deferred,
        }
    }

    /// Purges a queue of its ready messages, and returns their number. Unacked messages stay.
    ///
    /// # Errors
    /// `QueueNotFound`, `ResourceLocked`; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the queue may or may not be purged.
    pub async fn purge_queue(&self, name: impl IntoChecked<QueueName>) -> Result<u32> {
        self.queue_purge(name.into_checked()?).await
    }

    /// Binds a queue to an exchange.
    pub fn bind_queue(
        &self,
        queue: impl IntoChecked<QueueName>,
        exchange: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Bind {
        Bind::new(
            self,
            Change::Add,
            queue,
            BindingDestination::Queue,
            exchange,
            routing_key,
        )
    }

    /// Removes a binding of a queue; a missing one is no error.
    pub fn unbind_queue(
        &self,
        queue: impl IntoChecked<QueueName>,
        exchange: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Bind {
        Bind::new(
            self,
            Change::Remove,
            queue,
            BindingDestination::Queue,
            exchange,
            routing_key,
        )
    }

    /// Binds an exchange to another, the source: messages that the source routes by this binding go
    /// on to the destination ([exchange-to-exchange bindings](https://www.rabbitmq.com/docs/e2e)).
    pub fn bind_exchange(
        &self,
        destination: impl IntoChecked<ExchangeName>,
        source: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Bind {
        Bind::new(
            self,
            Change::Add,
            destination,
            BindingDestination::Exchange,
            source,
            routing_key,
        )
    }

    /// Removes a binding between exchanges; a missing one is no error.
    pub fn unbind_exchange(
        &self,
        destination: impl IntoChecked<ExchangeName>,
        source: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Bind {
        Bind::new(
            self,
            Change::Remove,
            destination,
            BindingDestination::Exchange,
            source,
            routing_key,
        )
    }
}

/// A queue to declare: made by [`Channel::declare_queue`], declared by awaiting it.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use mooq::topology::Overflow;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// // What is rejected waits here for a minute, and goes back.
/// chan.declare_queue("orders-later")
///     .message_ttl(Duration::from_secs(60))
///     .dead_letter("", "orders")
///     .await?;
/// chan.declare_queue("orders")
///     .quorum()
///     .delivery_limit(5)
///     .dead_letter("", "orders-later")
///     .await?;
/// // At most a thousand, and whoever publishes more is told.
/// chan.declare_queue("clicks")
///     .max_length(1_000)
///     .overflow(Overflow::RejectPublish)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the queue is declared when this is awaited"]
pub struct DeclareQueue {
    channel: Channel,
    declare: QueueDeclare,
    deferred: FirstError,
}

impl DeclareQueue {
    pub(super) fn set_name(&mut self, name: QueueName) {
        self.declare.name = name;
    }

    pub(super) fn is_single_active(&self) -> bool {
        let single = self.declare.arguments.get("x-single-active-consumer");
        matches!(single, Some(FieldValue::Bool(true)))
    }

    pub(super) fn is_quorum(&self) -> bool {
        let kind = self.declare.arguments.get("x-queue-type");
        kind.and_then(FieldValue::as_str) == Some("quorum")
    }

    pub(super) fn name(&self) -> &QueueName {
        &self.declare.name
    }

    /// Sets those of these arguments that the user has not set.
    pub(super) fn or_arguments(mut self, arguments: Vec<(&str, FieldValue)>) -> Self {
        for (key, value) in arguments {
            if self.declare.arguments.get(key).is_none() {
                self = self.argument(key, value);
            }
        }
        self
    }

    /// Returns the declaration of a queue that a consumer is registered with. Without a name, the
    /// queue belongs to the connection, and is deleted with the consumer.
    pub(super) fn for_consumer(self) -> Result<QueueDeclare> {
        self.deferred.finish()?;
        let mut declare = self.declare;
        if declare.name.is_empty() {
            declare.durable = false;
            declare.exclusive = true;
            // Without auto-delete the queue would stay until the connection closes.
            declare.auto_delete = true;
        }
        Ok(declare)
    }

    /// Makes the queue transient: it is deleted when the broker restarts. RabbitMQ 4.3 refuses such
    /// queues unless they are exclusive.
    pub fn transient(mut self) -> Self {
        self.declare.durable = false;
        self
    }

    /// Makes the queue exclusive: only this connection may use it, and it is deleted when the
    /// connection closes.
    pub fn exclusive(mut self) -> Self {
        self.declare.exclusive = true;
        self
    }

    /// Makes the queue auto-delete: it is deleted when its last consumer ends.
    pub fn auto_delete(mut self) -> Self {
        self.declare.auto_delete = true;
        self
    }

    /// Only checks that the queue exists, and returns its counts: fails with
    /// `QueueNotFound` if it does not exist.
    pub fn passive(mut self) -> Self {
        self.declare.passive = true;
        self
    }

    queue_arguments!(argument);

    fn deferred(&mut self) -> &mut FirstError {
        &mut self.deferred
    }

    /// Adds an argument that has no setter of its own.
    pub fn argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.deferred
            .insert(&mut self.declare.arguments, key, value);
        self
    }
}

impl IntoFuture for DeclareQueue {
    type Output = Result<QueueDeclared>;
    type IntoFuture = BoxFuture<'static, Result<QueueDeclared>>;

    /// # Errors
    /// `PreconditionFailed` if the queue exists with other options or an argument is invalid,
    /// `ResourceLocked` if it is exclusive to another connection, `AccessRefused` for a reserved
    /// name, `InvalidName`; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the queue may or may not be declared.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            self.channel.queue_declare(self.declare).await
        })
    }
}

/// A queue to delete: made by [`Channel::delete_queue`], deleted by awaiting it, which returns the
/// number of messages that were ready.
#[derive(Debug)]
#[must_use = "the queue is deleted when this is awaited"]
pub struct DeleteQueue {
    channel: Channel,
    name: QueueName,
    if_unused: bool,
    if_empty: bool,
    deferred: FirstError,
}

impl DeleteQueue {
    /// Fails with `PreconditionFailed` if the queue has consumers.
    pub fn if_unused(mut self) -> Self {
        self.if_unused = true;
        self
    }

    /// Fails with `PreconditionFailed` if the queue has ready messages.
    pub fn if_empty(mut self) -> Self {
        self.if_empty = true;
        self
    }
}

impl IntoFuture for DeleteQueue {
    type Output = Result<u32>;
    type IntoFuture = BoxFuture<'static, Result<u32>>;

    /// # Errors
    /// `PreconditionFailed`, `ResourceLocked`, `InvalidName`; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the queue may or may not be deleted.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            let Self {
                channel,
                name,
                if_unused,
                if_empty,
                ..
            } = self;
            channel.queue_delete(name, if_unused, if_empty).await
        })
    }
}

/// An exchange to delete: made by [`Channel::delete_exchange`], deleted by awaiting it.
#[derive(Debug)]
#[must_use = "the exchange is deleted when this is awaited"]
pub struct DeleteExchange {
    channel: Channel,
    name: ExchangeName,
    if_unused: bool,
    deferred: FirstError,
}

impl DeleteExchange {
    /// Fails with `PreconditionFailed` if the exchange is the source of a binding.
    pub fn if_unused(mut self) -> Self {
        self.if_unused = true;
        self
    }
}

impl IntoFuture for DeleteExchange {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// `PreconditionFailed`, `AccessRefused` for an exchange of the broker's own, `InvalidName`;
    /// the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the exchange may or may not be deleted.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            self.channel
                .exchange_delete(self.name, self.if_unused)
                .await
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Add,
    Remove,
}

/// A binding to add or remove, by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is bound or unbound until this is awaited"]
pub struct Bind {
    channel: Channel,
    change: Change,
    binding: Binding,
    deferred: FirstError,
}

impl Bind {
    fn new<N: Default>(
        channel: &Channel,
        change: Change,
        destination: impl IntoChecked<N>,
        kind: impl FnOnce(N) -> BindingDestination,
        source: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Self {
        let mut deferred = FirstError::default();
        let destination = kind(deferred.check(destination).unwrap_or_default());
        Self {
            channel: channel.clone(),
            change,
            binding: Binding {
                source: deferred.check(source).unwrap_or_default(),
                destination,
                routing_key: deferred.check(routing_key).unwrap_or_default(),
                arguments: FieldTable::new(),
            },
            deferred,
        }
    }

    /// Adds an argument: for a headers exchange, a header to match, or `x-match`. Bindings with
    /// different arguments are different bindings.
    pub fn argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.deferred
            .insert(&mut self.binding.arguments, key, value);
        self
    }
}

impl IntoFuture for Bind {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// For binding: `ExchangeNotFound`, `QueueNotFound`, `ResourceLocked`,
    /// `AccessRefused` for the default exchange, `PreconditionFailed` for an invalid `x-match`.
    /// For both: `InvalidName`; the channel's close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the binding may or may not be changed.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            match self.change {
                Change::Add => self.channel.bind(self.binding).await,
                Change::Remove => self.channel.unbind(self.binding).await,
            }
        })
    }
}
