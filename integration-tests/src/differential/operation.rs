//! Operations of a sequence: AMQP's methods on one of a few channels, and an administrator's
//! actions: policies, permissions, a second virtual host, alarms.

use mooq_core::{
    Binding, Consume, ConsumerTag, ExchangeDeclare, ExchangeName, FieldTable, Publish,
    QueueDeclare, QueueName, Settlement,
};
use mooq_memory::Alarm;

/// Number of connections in the first virtual host: one of `guest`, and one of a user of the
/// sequence's own.
pub(super) const CONNECTIONS: usize = 2;
/// The connection of the sequence's own user, whose permissions change.
pub(super) const USERS_CONNECTION: usize = 1;
/// Number of channels in all: two on each of those connections, and one in the second virtual host,
/// on a third connection.
pub(super) const CHANNELS: usize = 5;
/// The channel in the second virtual host, while that exists.
pub(super) const BEYOND_CHANNEL: usize = 4;
/// Prefix of the second virtual host's queues and exchanges, among those of both.
pub(super) const BEYOND: &str = "v:";
/// The queues of a sequence.
pub(super) const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];
/// Queues that the broker names.
pub(super) const SERVER_NAMED: [&str; 2] = ["s0", "s1"];
/// The policies of a sequence.
pub(super) const POLICIES: [&str; 2] = ["p0", "p1"];
/// The exchanges of a sequence.
pub(super) const EXCHANGES: [&str; 3] = ["x0", "x1", "x2"];

/// All alarms.
pub(super) const ALARMS: [Alarm; 2] = [Alarm::Memory, Alarm::Disk];

/// The pseudo-queue of direct replies.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// A routing key that stands for the reply address of the latest request.
pub(super) const REPLY_ADDRESS: &str = "reply-address";
/// Placeholder for the user of the second connection.
pub(super) const USER: &str = "user";

/// One action on one channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    /// Index of the channel.
    pub(super) channel: usize,
    /// The action on the channel.
    pub(super) action: Action,
    /// Performed even if it is known to close the channel or the connection. Not always, or a
    /// sequence would see little else.
    pub(super) daring: bool,
    /// Performed even if the user lacks a permission for it, which closes the channel too.
    pub(super) defiant: bool,
}

/// An action on a channel. The names of queues and exchanges are those of [`QUEUES`],
/// [`SERVER_NAMED`] and [`EXCHANGES`]: `Names::placed` turns them into a broker's.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "AMQP's methods and their fields")]
pub(super) enum Action {
    DeclareQueue(QueueDeclare),
    DeleteQueue {
        queue: QueueName,
        if_unused: bool,
        if_empty: bool,
    },
    Purge(QueueName),
    DeclareExchange(ExchangeDeclare),
    DeleteExchange {
        exchange: ExchangeName,
        if_unused: bool,
    },
    Bind(Binding),
    Unbind(Binding),
    Publish(Publish),
    Get {
        queue: QueueName,
        no_ack: bool,
    },
    Consume(Consume),
    Cancel(ConsumerTag),
    Settle {
        delivery: Pick,
        multiple: bool,
        settlement: Settlement,
    },
    Recover {
        requeue: bool,
    },
    Qos {
        count: u16,
        global: bool,
    },
    ConfirmSelect,
    TxSelect,
    TxCommit,
    TxRollback,
    CloseChannel,
    CloseConnection,
    SetPolicy(SetPolicy),
    ClearPolicy(&'static str),
    SetPermissions(Permissions),
    ClearPermissions,
    AddVhost,
    DeleteVhost,
    RaiseAlarm(Alarm),
    ClearAlarm(Alarm),
}

/// Names that the second connection's user may configure, write to and read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Permissions(pub(super) [Permitted; 3]);

/// Names that a permission is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Permitted {
    /// Every name.
    All,
    /// These names, where the first of [`SERVER_NAMED`] stands for all, and the empty one for the
    /// default exchange.
    Only(Vec<&'static str>),
}

/// A policy for one queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SetPolicy {
    /// Name of the policy, one of [`POLICIES`].
    pub(super) name: &'static str,
    /// The queue.
    pub(super) queue: QueueName,
    /// Priority: the highest of several policies counts.
    pub(super) priority: i64,
    /// Settings of the policy.
    pub(super) definition: FieldTable,
}

/// A delivery to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// One of the channel's unsettled deliveries, by an index that wraps around.
    Outstanding(usize),
    /// The delivery with this tag, which need not exist.
    Tag(u64),
}

impl Operation {
    /// The connection of the operation's channel.
    #[must_use]
    pub(super) fn connection(&self) -> usize {
        connection_of(self.channel)
    }

    /// Returns true if the broker does not answer the operation.
    #[must_use]
    pub(super) fn has_no_answer(&self) -> bool {
        matches!(self.action, Action::Publish(_) | Action::Settle { .. })
    }

    /// Returns true if effects may come after the answer.
    #[must_use]
    pub(super) fn takes_effect_later(&self) -> bool {
        self.action.is_by_administrator() || self.has_no_answer()
    }

    /// Returns true for operations on the second virtual host's queues and exchanges.
    #[must_use]
    pub(super) fn is_beyond(&self) -> bool {
        self.channel == BEYOND_CHANNEL && !self.action.is_by_administrator()
    }
}

/// The connection of a channel.
#[must_use]
pub(super) fn connection_of(channel: usize) -> usize {
    channel / 2
}

impl Action {
    /// Returns true for an administrator's action, outside of AMQP.
    #[must_use]
    pub(super) fn is_by_administrator(&self) -> bool {
        matches!(
            self,
            Self::SetPolicy(_)
                | Self::ClearPolicy(_)
                | Self::SetPermissions(_)
                | Self::ClearPermissions
                | Self::AddVhost
                | Self::DeleteVhost
                | Self::RaiseAlarm(_)
                | Self::ClearAlarm(_)
        )
    }
}

impl Permissions {
    /// The patterns for a broker's names.
    #[must_use]
    pub(super) fn patterns(&self, broker_name: impl Fn(&str) -> String) -> [String; 3] {
        self.0.each_ref().map(|permitted| match permitted {
            Permitted::All => ".*".to_owned(),
            Permitted::Only(names) if names.is_empty() => String::new(),
            Permitted::Only(names) => {
                let patterns = names.iter().map(|name| match *name {
                    "" => r"amq\.default".to_owned(),
                    name if SERVER_NAMED.contains(&name) => r"amq\.gen-.*".to_owned(),
                    name => broker_name(name),
                });
                format!("^({})$", patterns.collect::<Vec<_>>().join("|"))
            }
        })
    }
}

impl Permitted {
    /// Returns true if the permission is for this name.
    #[must_use]
    pub(super) fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) if SERVER_NAMED.contains(&name) => names.contains(&SERVER_NAMED[0]),
            Self::Only(names) => names.contains(&name),
        }
    }
}
