//! What goes into the engine and what comes out: AMQP's methods, and their effects.

use mooq_core::{
    Binding, BindingDestination, ChannelEvent, ConnectionEvent, Consume, ConsumerTag, Credentials,
    ExchangeDeclare, ExchangeName, Fetched, Publish, QueueDeclare, QueueDeclared, QueueName,
    Settle, Settlement, ShortString, VirtualHost,
};

use super::arena::Key;
use super::connection::Connection;

/// A connection to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub(crate) Key<Connection>);

/// What a client says of itself before its connection is open: `connection.start-ok`,
/// `connection.tune-ok` and `connection.open` in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// Who logs in.
    pub credentials: Credentials,
    /// Where to.
    pub vhost: Option<VirtualHost>,
    /// What the client calls the connection.
    pub connection_name: Option<ShortString>,
    /// Which extensions the client understands.
    pub capabilities: Capabilities,
}

/// Which of the [extensions](https://www.rabbitmq.com/docs/consumers#capabilities) that change
/// what the broker sends a client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The broker may send `basic.cancel`.
    pub consumer_cancel_notify: bool,
    /// The broker may send `connection.blocked`.
    pub connection_blocked: bool,
}

impl Default for Capabilities {
    /// Both: every current client understands them.
    fn default() -> Self {
        Self {
            consumer_cancel_notify: true,
            connection_blocked: true,
        }
    }
}

/// A method that a client sends on one of its channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The client's connection.
    pub connection: ConnectionId,
    /// The number of the channel: 0 for the connection itself.
    pub channel: u16,
    /// What the client asks for.
    pub method: Method,
}

/// The methods of AMQP 0-9-1 and RabbitMQ's extensions that a client sends once its connection
/// is open. `nowait` is not here: a front that honours it drops the reply.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// `connection.close`.
    ConnectionClose,
    /// `channel.open`.
    ChannelOpen,
    /// `channel.close`.
    ChannelClose,
    /// `channel.close-ok`: the client knows that the broker closed the channel, whose number is
    /// then free again.
    ChannelCloseOk,
    /// `channel.flow`.
    ChannelFlow {
        /// Whether the broker shall send. It does not let itself be stopped.
        active: bool,
    },
    /// `exchange.declare`.
    ExchangeDeclare(ExchangeDeclare),
    /// `exchange.delete`.
    ExchangeDelete {
        /// The exchange.
        name: ExchangeName,
        /// Only if nothing is bound to it as source.
        if_unused: bool,
    },
    /// `queue.bind` or `exchange.bind`.
    Bind(Binding),
    /// `queue.unbind` or `exchange.unbind`.
    Unbind(Binding),
    /// `queue.declare`.
    QueueDeclare(QueueDeclare),
    /// `queue.purge`.
    QueuePurge {
        /// The queue.
        name: QueueName,
    },
    /// `queue.delete`.
    QueueDelete {
        /// The queue.
        name: QueueName,
        /// Only if it has no consumers.
        if_unused: bool,
        /// Only if nothing in it is ready.
        if_empty: bool,
    },
    /// `basic.qos`.
    BasicQos {
        /// A limit in bytes, which RabbitMQ does not know.
        prefetch_size: u32,
        /// How many deliveries may be unacknowledged; 0 for no limit.
        prefetch_count: u16,
        /// For the channel as a whole rather than for each later consumer.
        global: bool,
    },
    /// `basic.consume`.
    BasicConsume(Consume),
    /// `basic.cancel`.
    BasicCancel {
        /// The consumer.
        tag: ConsumerTag,
    },
    /// `basic.publish`.
    BasicPublish(Publish),
    /// `basic.get`.
    BasicGet {
        /// The queue.
        queue: QueueName,
        /// The message is settled as it is sent.
        no_ack: bool,
    },
    /// `basic.ack`, `basic.nack` or `basic.reject`.
    BasicSettle(Settle),
    /// `basic.recover`.
    BasicRecover {
        /// RabbitMQ refuses anything but true.
        requeue: bool,
    },
    /// `confirm.select`.
    ConfirmSelect,
    /// `tx.select`.
    TxSelect,
    /// `tx.commit`.
    TxCommit,
    /// `tx.rollback`.
    TxRollback,
}

/// A method's class and its number within the class, as they stand in a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MethodId {
    pub(crate) class: u16,
    pub(crate) method: u16,
}

impl MethodId {
    /// No method: what the broker does by itself.
    pub(crate) const NONE: Self = Self::new(0, 0);
    /// `connection.open`.
    pub(crate) const CONNECTION_OPEN: Self = Self::new(10, 40);

    const fn new(class: u16, method: u16) -> Self {
        Self { class, method }
    }
}

impl Method {
    pub(crate) fn id(&self) -> MethodId {
        let (class, method) = match self {
            Self::ConnectionClose => (10, 50),
            Self::ChannelOpen => (20, 10),
            Self::ChannelFlow { .. } => (20, 20),
            Self::ChannelClose => (20, 40),
            Self::ChannelCloseOk => (20, 41),
            Self::ExchangeDeclare(_) => (40, 10),
            Self::ExchangeDelete { .. } => (40, 20),
            Self::Bind(binding) => match binding.destination {
                BindingDestination::Exchange(_) => (40, 30),
                BindingDestination::Queue(_) => (50, 20),
            },
            Self::Unbind(binding) => match binding.destination {
                BindingDestination::Exchange(_) => (40, 40),
                BindingDestination::Queue(_) => (50, 50),
            },
            Self::QueueDeclare(_) => (50, 10),
            Self::QueuePurge { .. } => (50, 30),
            Self::QueueDelete { .. } => (50, 40),
            Self::BasicQos { .. } => (60, 10),
            Self::BasicConsume(_) => (60, 20),
            Self::BasicCancel { .. } => (60, 30),
            Self::BasicPublish(_) => (60, 40),
            Self::BasicGet { .. } => (60, 70),
            Self::BasicSettle(settle) => match settle.settlement {
                Settlement::Ack => (60, 80),
                Settlement::Reject { .. } => (60, 90),
                Settlement::Nack { .. } => (60, 120),
            },
            Self::BasicRecover { .. } => (60, 110),
            Self::ConfirmSelect => (85, 10),
            Self::TxSelect => (90, 10),
            Self::TxCommit => (90, 20),
            Self::TxRollback => (90, 30),
        };
        MethodId::new(class, method)
    }
}

/// What follows from a command, or from the passing of time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// The answer to the command, for methods that have one.
    Reply {
        /// The client's connection.
        connection: ConnectionId,
        /// The channel that the command came on.
        channel: u16,
        /// What the broker answers.
        reply: Reply,
    },
    /// The broker sends something on a channel.
    Channel {
        /// The client's connection.
        connection: ConnectionId,
        /// The channel.
        channel: u16,
        /// What it sends. After [`ChannelEvent::Closed`] the engine ignores the channel until
        /// the client's [`Method::ChannelCloseOk`] or, if the connection is closed as well, for
        /// good.
        event: ChannelEvent,
    },
    /// The broker sends something on a connection.
    Connection {
        /// The connection.
        connection: ConnectionId,
        /// What it sends. After [`ConnectionEvent::Closed`] the engine has forgotten it.
        event: ConnectionEvent,
    },
}

impl Effect {
    /// The connection that it goes to.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        match self {
            Self::Reply { connection, .. }
            | Self::Channel { connection, .. }
            | Self::Connection { connection, .. } => *connection,
        }
    }
}

/// What the broker answers a method that succeeds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// The method's `-ok` without anything in it.
    Done,
    /// `queue.declare-ok`.
    QueueDeclared(QueueDeclared),
    /// `queue.purge-ok` or `queue.delete-ok`: how many messages were ready.
    MessageCount(u32),
    /// `basic.consume-ok`.
    Consuming(ConsumerTag),
    /// `basic.get-ok`, or `basic.get-empty`.
    Fetched(Option<Fetched>),
}
