//! What a sequence is made of: AMQP's methods on one of a few channels, and what an administrator
//! does: policies, permissions, a second virtual host, alarms.

use mooq_core::{
    Binding, Consume, ConsumerTag, ExchangeDeclare, ExchangeName, FieldTable, Publish,
    QueueDeclare, QueueName, Settlement,
};
use mooq_memory::Alarm;

/// How many connections a sequence has in the first virtual host: one of `guest`, and one of a user
/// of its own.
pub(super) const CONNECTIONS: usize = 2;
/// The connection whose user is the sequence's own, whose permissions come and go.
pub(super) const USERS_CONNECTION: usize = 1;
/// How many channels it has in all: two on each of those connections, and one in the second
/// virtual host, on a third connection.
pub(super) const CHANNELS: usize = 5;
/// The channel in the second virtual host, while there is one.
pub(super) const BEYOND_CHANNEL: usize = 4;
/// What the second virtual host's queues and exchanges begin with, among those of both.
pub(super) const BEYOND: &str = "v:";
/// The queues of a sequence.
pub(super) const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];
/// Those that the broker names.
pub(super) const SERVER_NAMED: [&str; 2] = ["s0", "s1"];
/// The policies of a sequence.
pub(super) const POLICIES: [&str; 2] = ["p0", "p1"];
/// The exchanges of a sequence.
pub(super) const EXCHANGES: [&str; 3] = ["x0", "x1", "x2"];

/// The alarms that there are.
pub(super) const ALARMS: [Alarm; 2] = [Alarm::Memory, Alarm::Disk];

/// The pseudo-queue of direct replies.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// A routing key that stands for the address in the latest request that has come.
pub(super) const REPLY_ADDRESS: &str = "reply-address";
/// What stands for the user of the second connection.
pub(super) const USER: &str = "user";

/// One method on one channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    /// Which of the channels.
    pub(super) channel: usize,
    /// What is done on it.
    pub(super) action: Action,
    /// Done even if it is known to close the channel or the connection: a sequence whose channels
    /// closed all the time would see little else.
    pub(super) daring: bool,
    /// Done even if the user lacks a permission for it, which closes the channel too.
    pub(super) defiant: bool,
}

/// What is done on a channel. The names of queues and exchanges are those of [`QUEUES`],
/// [`SERVER_NAMED`] and [`EXCHANGES`]: `Names::placed` makes them those of a broker.
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

/// The names that the second connection's user may configure, write to and read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Permissions(pub(super) [Permitted; 3]);

/// Names that a permission is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Permitted {
    /// Every one.
    All,
    /// These, where the first of [`SERVER_NAMED`] stands for all, and the empty one for the default
    /// exchange.
    Only(Vec<&'static str>),
}

/// A policy for one queue, which an administrator sets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SetPolicy {
    /// One of [`POLICIES`].
    pub(super) name: &'static str,
    /// The queue.
    pub(super) queue: QueueName,
    /// Which of several policies counts.
    pub(super) priority: i64,
    /// What it sets.
    pub(super) definition: FieldTable,
}

/// A delivery to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// One of those that are outstanding on the channel, counted around.
    Outstanding(usize),
    /// The one with this tag, whether or not there is one.
    Tag(u64),
}

impl Operation {
    /// The connection that its channel is on.
    #[must_use]
    pub(super) fn connection(&self) -> usize {
        connection_of(self.channel)
    }

    /// Whether the broker does not answer it.
    #[must_use]
    pub(super) fn has_no_answer(&self) -> bool {
        matches!(self.action, Action::Publish(_) | Action::Settle { .. })
    }

    /// Whether what it changes may come later than its answer.
    #[must_use]
    pub(super) fn takes_effect_later(&self) -> bool {
        self.action.is_by_administrator() || self.has_no_answer()
    }

    /// Whether it is about the second virtual host's queues and exchanges.
    #[must_use]
    pub(super) fn is_beyond(&self) -> bool {
        self.channel == BEYOND_CHANNEL && !self.action.is_by_administrator()
    }
}

/// The connection that a channel is on.
#[must_use]
pub(super) fn connection_of(channel: usize) -> usize {
    channel / 2
}

impl Action {
    /// Whether an administrator does it, from outside of AMQP.
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
    /// The patterns for names as a broker has them.
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
    /// Whether it is for this name.
    #[must_use]
    pub(super) fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) if SERVER_NAMED.contains(&name) => names.contains(&SERVER_NAMED[0]),
            Self::Only(names) => names.contains(&name),
        }
    }
}
