//! Exchanges, queues and bindings as they are declared.

use std::fmt;

use crate::error::Error;
use crate::name::{ExchangeName, QueueName, RoutingKey, ShortString};
use crate::value::FieldTable;

/// Type of an exchange, which decides how it routes. Text is taken wherever a kind is.
///
/// ```
/// use mooq_core::ExchangeKind;
///
/// let configured = String::from("topic");
/// assert_eq!(ExchangeKind::try_from(&configured)?, ExchangeKind::Topic);
/// assert_eq!(ExchangeKind::try_from(configured)?.as_str(), "topic");
/// # Ok::<(), mooq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExchangeKind {
    /// Routes to the queues whose binding key equals the routing key.
    Direct,
    /// Routes to the queues whose pattern matches: `*` is one word, `#` zero or more.
    Topic,
    /// Routes to every bound queue.
    Fanout,
    /// Routes to the queues whose binding arguments match the message's headers.
    Headers,
    /// `x-local-random`: to one bound classic queue, chosen at random. Part of RabbitMQ since 4.0.
    LocalRandom,
    /// `x-modulus-hash`: to one bound queue, chosen by a hash of the routing key. Part of RabbitMQ
    /// since 4.3; before, the plugin `rabbitmq_sharding` adds it.
    ModulusHash,
    /// `x-consistent-hash`: to one bound queue, chosen by a consistent hash of the routing key, a
    /// header or a property. Binding keys are weights. The plugin
    /// `rabbitmq_consistent_hash_exchange` adds it.
    ConsistentHash,
    /// `x-random`: to one bound queue, chosen at random. The plugin `rabbitmq_random_exchange`
    /// adds it.
    Random,
    /// `x-recent-history`: to every bound queue, and the latest messages to each new binding. The
    /// plugin `rabbitmq_recent_history_exchange` adds it.
    RecentHistory,
    /// `x-delayed-message`: routes like the kind that the argument `x-delayed-type` names, after
    /// the milliseconds in the message's header `x-delay`. The plugin
    /// `rabbitmq_delayed_message_exchange`, which is not shipped with RabbitMQ, adds it.
    DelayedMessage,
    /// Any other kind that a plugin of the broker adds. A broker without the plugin for an
    /// exchange's kind refuses the declare, and the error's kind is `ExchangeMismatch`.
    Other(ShortString),
}

impl ExchangeKind {
    /// The kind's name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
            Self::LocalRandom => "x-local-random",
            Self::ModulusHash => "x-modulus-hash",
            Self::ConsistentHash => "x-consistent-hash",
            Self::Random => "x-random",
            Self::RecentHistory => "x-recent-history",
            Self::DelayedMessage => "x-delayed-message",
            Self::Other(name) => name,
        }
    }
}

impl TryFrom<&str> for ExchangeKind {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "direct" => Self::Direct,
            "topic" => Self::Topic,
            "fanout" => Self::Fanout,
            "headers" => Self::Headers,
            "x-local-random" => Self::LocalRandom,
            "x-modulus-hash" => Self::ModulusHash,
            "x-consistent-hash" => Self::ConsistentHash,
            "x-random" => Self::Random,
            "x-recent-history" => Self::RecentHistory,
            "x-delayed-message" => Self::DelayedMessage,
            other => Self::Other(other.try_into()?),
        })
    }
}

impl TryFrom<&String> for ExchangeKind {
    type Error = Error;

    fn try_from(name: &String) -> Result<Self, Error> {
        name.as_str().try_into()
    }
}

impl TryFrom<String> for ExchangeKind {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.as_str().try_into()
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `exchange.declare`.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeDeclare {
    /// The exchange's name.
    pub name: ExchangeName,
    /// The exchange's kind.
    pub kind: ExchangeKind,
    /// True to only check that the exchange exists.
    pub passive: bool,
    /// True if the exchange survives a restart of the broker.
    pub durable: bool,
    /// True if the exchange is deleted when the last binding from it is removed.
    pub auto_delete: bool,
    /// True if only other exchanges may publish to the exchange.
    pub internal: bool,
    /// Extensions, for example `alternate-exchange`.
    pub arguments: FieldTable,
}

impl ExchangeDeclare {
    /// A durable exchange without extensions.
    #[must_use]
    pub fn new(name: ExchangeName, kind: ExchangeKind) -> Self {
        Self {
            name,
            kind,
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::new(),
        }
    }
}

/// `queue.declare`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueDeclare {
    /// The queue's name. If it is empty, the broker chooses one.
    pub name: QueueName,
    /// True to only check that the queue exists.
    pub passive: bool,
    /// True if the queue survives a restart of the broker.
    pub durable: bool,
    /// True if only this connection may use the queue, which is deleted with the connection.
    pub exclusive: bool,
    /// True if the queue is deleted when its last consumer goes.
    pub auto_delete: bool,
    /// Extensions, for example `x-max-length`.
    pub arguments: FieldTable,
}

impl QueueDeclare {
    /// A durable queue that every connection may use.
    #[must_use]
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: FieldTable::new(),
        }
    }

    /// A queue that the broker names, exclusive to this connection and deleted with it.
    #[must_use]
    pub fn server_named() -> Self {
        Self {
            durable: false,
            exclusive: true,
            ..Self::new(QueueName::default())
        }
    }
}

/// `queue.declare-ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDeclared {
    /// The queue's name: the broker's choice, if the request left the name empty.
    pub name: QueueName,
    /// Number of messages that are ready for delivery. Unacked deliveries are not counted.
    pub message_count: u32,
    /// Number of the queue's consumers.
    pub consumer_count: u32,
}

/// Destination of a binding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindingDestination {
    /// A queue. An empty name stands for the queue that the channel declared last.
    Queue(QueueName),
    /// An exchange ([exchange-to-exchange bindings](https://www.rabbitmq.com/docs/e2e)).
    Exchange(ExchangeName),
}

/// A binding, for binding and unbinding alike. All four fields together are the binding's identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The exchange that messages come from.
    pub source: ExchangeName,
    /// The queue or exchange that messages go to.
    pub destination: BindingDestination,
    /// The key or pattern.
    pub routing_key: RoutingKey,
    /// The headers to match, for headers exchanges.
    pub arguments: FieldTable,
}
