//! Exchanges, queues and bindings as they are declared.

use std::fmt;

use crate::error::Error;
use crate::name::{ExchangeName, QueueName, RoutingKey, ShortString};
use crate::value::FieldTable;

/// How an exchange routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExchangeKind {
    /// To the queues whose binding key equals the routing key.
    Direct,
    /// To the queues whose pattern matches: `*` is one word, `#` zero or more.
    Topic,
    /// To every bound queue.
    Fanout,
    /// To the queues whose binding arguments match the message's headers.
    Headers,
    /// A kind that a broker plugin adds. A broker that lacks it refuses the declare, and the
    /// error's kind is `BadExchange`.
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
            other => Self::Other(other.try_into()?),
        })
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
    /// How it routes.
    pub kind: ExchangeKind,
    /// Only ask whether it exists.
    pub passive: bool,
    /// It survives a restart of the broker.
    pub durable: bool,
    /// It goes when its last binding as source goes.
    pub auto_delete: bool,
    /// Only other exchanges may publish to it.
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
    /// The queue's name. Empty: the broker chooses one.
    pub name: QueueName,
    /// Only ask whether it exists.
    pub passive: bool,
    /// It survives a restart of the broker.
    pub durable: bool,
    /// Only this connection may use it, and it goes with the connection.
    pub exclusive: bool,
    /// It goes when its last consumer goes.
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

    /// A queue that the broker names, only for this connection and gone with it.
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
    /// The queue's name: the broker's choice, if it was asked to choose.
    pub name: QueueName,
    /// How many messages are ready for delivery. Those delivered and not yet acknowledged do
    /// not count.
    pub message_count: u32,
    /// How many consumers it has.
    pub consumer_count: u32,
}

/// What a binding leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindingDestination {
    /// A queue. Empty: the queue that the channel declared last.
    Queue(QueueName),
    /// An exchange ([exchange-to-exchange bindings](https://www.rabbitmq.com/docs/e2e)).
    Exchange(ExchangeName),
}

/// A binding, for binding and unbinding alike. All four fields together are its identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The exchange that messages come from.
    pub source: ExchangeName,
    /// Where they go.
    pub destination: BindingDestination,
    /// The key or pattern.
    pub routing_key: RoutingKey,
    /// For headers exchanges, what to match.
    pub arguments: FieldTable,
}
