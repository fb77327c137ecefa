//! The engine's input and output: AMQP's methods, and their effects.

use std::fmt;

use crate::client::ClientDetails;
use crate::ids::{ConnectionId, MethodId};
use mooq_core::{
    Binding, BindingDestination, ChannelEvent, CloseReason, ConnectionEvent, Consume, ConsumerTag,
    Credentials, ExchangeDeclare, ExchangeName, Fetched, Publish, QueueDeclare, QueueDeclared,
    QueueName, Settle, Settlement, ShortString, VirtualHost,
};

/// A client's details before its connection is open: `connection.start-ok`, `connection.tune-ok`
/// and `connection.open` in one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Login {
    /// The credentials to log in with.
    pub credentials: Credentials,
    /// The virtual host to log in to.
    pub vhost: Option<VirtualHost>,
    /// The client's name for the connection.
    pub connection_name: Option<ShortString>,
    /// Extensions that the client understands.
    pub capabilities: Capabilities,
    /// The largest number of open channels that client and broker agreed on. None stands for the
    /// broker's own limit, [`Options::channel_max`](crate::Options::channel_max).
    pub channel_max: Option<u16>,
    /// Details for listings.
    pub client: ClientDetails,
}

/// A mechanism by which a client passes its credentials. The refusal of a login names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// `PLAIN`, which nearly every client uses.
    #[default]
    Plain,
    /// `AMQPLAIN`, of RabbitMQ's own.
    Amqplain,
    /// `ANONYMOUS`, which RabbitMQ takes for its user `guest` since 4.0.
    Anonymous,
    /// `EXTERNAL`: the user is the one that the client's certificate names, and has no password to
    /// give.
    External,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "PLAIN",
            Self::Amqplain => "AMQPLAIN",
            Self::Anonymous => "ANONYMOUS",
            Self::External => "EXTERNAL",
        })
    }
}

/// The [extensions](https://www.rabbitmq.com/docs/consumers#capabilities) that a client
/// understands, of those that change what the broker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// True if the broker may send `basic.cancel`.
    pub consumer_cancel_notify: bool,
    /// True if the broker may send `connection.blocked`.
    pub connection_blocked: bool,
}

impl Default for Capabilities {
    /// Enables both: every current client understands them.
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
    /// The client's method.
    pub method: Method,
}

/// A method of AMQP 0-9-1 or of RabbitMQ's extensions that a client sends once its connection is
/// open. `nowait` is not part of a method: a server that honours `nowait` drops the reply.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// `connection.close`.
    ConnectionClose,
    /// `connection.update-secret`, which changes no user's password.
    UpdateSecret,
    /// Bytes that are no method, a malformed frame for example, which mooq-server refuses in order
    /// with the client's methods. The broker closes the connection, once everything that the client sent
    /// before has been handled.
    Refuse {
        /// The reason that the client is sent. None ends the connection without a close, as where
        /// RabbitMQ's reader crashes.
        reason: Option<CloseReason>,
    },
    /// `access.request`, which is obsolete: the broker grants everything.
    AccessRequest,
    /// `channel.open`.
    ChannelOpen,
    /// `channel.close`.
    ChannelClose,
    /// `channel.close-ok`: the client knows that the broker closed the channel, whose number is
    /// then free again.
    ChannelCloseOk,
    /// `channel.flow`.
    ChannelFlow {
        /// True to let the broker send. RabbitMQ refuses false (540).
        active: bool,
    },
    /// `exchange.declare`.
    ExchangeDeclare(ExchangeDeclare),
    /// `exchange.delete`.
    ExchangeDelete {
        /// The exchange.
        name: ExchangeName,
        /// Deletes the exchange only if it is the source of no binding.
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
        /// Deletes the queue only if it has no consumers.
        if_unused: bool,
        /// Deletes the queue only if it has no ready messages.
        if_empty: bool,
    },
    /// `basic.qos`.
    BasicQos {
        /// Limit in bytes, which RabbitMQ does not support.
        prefetch_size: u32,
        /// Number of deliveries that may be unacked; 0 for no limit.
        prefetch_count: u16,
        /// Limits the channel as a whole rather than each later consumer.
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
    /// `basic.publish` of a message whose header announces a body over
    /// [`Options::message_size_limit`](crate::Options::message_size_limit): for fronts that do not
    /// keep a body that the broker refuses.
    PublishTooLarge {
        /// The size that the header announces, in bytes.
        size: u64,
    },
    /// `basic.get`.
    BasicGet {
        /// The queue.
        queue: QueueName,
        /// True if the message is settled as it is sent.
        no_ack: bool,
    },
    /// `basic.ack`, `basic.nack` or `basic.reject`.
    BasicSettle(Settle),
    /// `basic.recover`.
    BasicRecover {
        /// Must be true: RabbitMQ refuses anything else.
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

impl Method {
    pub(crate) fn id(&self) -> MethodId {
        let (class, method) = match self {
            Self::ConnectionClose => (10, 50),
            Self::UpdateSecret => (10, 70),
            Self::Refuse { .. } => (0, 0),
            Self::AccessRequest => (30, 10),
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
            Self::BasicPublish(_) | Self::PublishTooLarge { .. } => (60, 40),
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

/// An effect of a command, or of the passing of time.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The answer to the command, for methods that have one.
    Reply {
        /// The client's connection.
        connection: ConnectionId,
        /// The channel that the command came on.
        channel: u16,
        /// The broker's answer.
        reply: Reply,
    },
    /// An event that the broker sends on a channel.
    Channel {
        /// The client's connection.
        connection: ConnectionId,
        /// The channel.
        channel: u16,
        /// The event that the broker sends. After [`ChannelEvent::Closed`] the engine ignores the
        /// channel until the client's [`Method::ChannelCloseOk`] or, if the connection is closed as
        /// well, for good.
        event: ChannelEvent,
    },
    /// An event that the broker sends on a connection.
    Connection {
        /// The connection.
        connection: ConnectionId,
        /// The event that the broker sends. After [`ConnectionEvent::Closed`] the engine has
        /// forgotten the connection.
        event: ConnectionEvent,
    },
}

impl Effect {
    /// Returns the connection that the effect goes to.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        match self {
            Self::Reply { connection, .. }
            | Self::Channel { connection, .. }
            | Self::Connection { connection, .. } => *connection,
        }
    }
}

/// The broker's answer to a method that succeeds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// The method's `-ok`, without content.
    Done,
    /// `queue.declare-ok`.
    QueueDeclared(QueueDeclared),
    /// `queue.purge-ok` or `queue.delete-ok`: the number of messages that were ready.
    MessageCount(u32),
    /// `basic.consume-ok`.
    Consuming(ConsumerTag),
    /// `basic.get-ok`, or `basic.get-empty`.
    Fetched(Option<Fetched>),
}
