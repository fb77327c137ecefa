//! What a sequence is made of: AMQP's methods on one of a few channels.

use mooq_core::{
    Binding, BindingDestination, Consume, ConsumerTag, ExchangeDeclare, ExchangeName, FieldTable,
    FieldValue, Publish, QueueDeclare, QueueName, RoutingKey, Settlement,
};

/// How many connections a sequence has.
pub(super) const CONNECTIONS: usize = 2;
/// How many channels it has, the first half of them on the first connection.
pub(super) const CHANNELS: usize = 4;
/// The queues of a sequence.
pub(super) const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];
/// The exchanges of a sequence.
pub(super) const EXCHANGES: [&str; 3] = ["x0", "x1", "x2"];

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
}

/// What is done on a channel. The names of queues and exchanges are those of [`QUEUES`] and
/// [`EXCHANGES`]: [`Action::placed`] makes them the sequence's own.
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
}

/// The connection that a channel is on.
#[must_use]
pub(super) fn connection_of(channel: usize) -> usize {
    channel / (CHANNELS / CONNECTIONS)
}

impl Action {
    /// The same action on queues and exchanges whose names begin with `prefix`.
    #[must_use]
    pub(super) fn placed(self, prefix: &str) -> Self {
        let name = |text: &str| place(prefix, text);
        match self {
            Self::DeclareQueue(declare) => Self::DeclareQueue(QueueDeclare {
                name: queue(prefix, &declare.name),
                arguments: table(prefix, declare.arguments),
                ..declare
            }),
            Self::DeleteQueue {
                queue: of,
                if_unused,
                if_empty,
            } => Self::DeleteQueue {
                queue: queue(prefix, &of),
                if_unused,
                if_empty,
            },
            Self::Purge(of) => Self::Purge(queue(prefix, &of)),
            Self::DeclareExchange(declare) => Self::DeclareExchange(ExchangeDeclare {
                name: exchange(prefix, &declare.name),
                arguments: table(prefix, declare.arguments),
                ..declare
            }),
            Self::DeleteExchange {
                exchange: of,
                if_unused,
            } => Self::DeleteExchange {
                exchange: exchange(prefix, &of),
                if_unused,
            },
            Self::Bind(of) => Self::Bind(binding(prefix, of)),
            Self::Unbind(of) => Self::Unbind(binding(prefix, of)),
            Self::Publish(mut publish) => {
                let message = &mut publish.message;
                message.exchange = exchange(prefix, &message.exchange);
                message.routing_key = key(prefix, &message.routing_key);
                let mut properties = (*message.properties).clone();
                properties.headers = table(prefix, properties.headers);
                if let Some(reply_to) = &properties.reply_to {
                    properties.reply_to = name(reply_to).try_into().ok();
                }
                message.properties = properties.into();
                Self::Publish(publish)
            }
            Self::Get { queue: of, no_ack } => Self::Get {
                queue: queue(prefix, &of),
                no_ack,
            },
            Self::Consume(consume) => Self::Consume(Consume {
                queue: queue(prefix, &consume.queue),
                ..consume
            }),
            other => other,
        }
    }
}

fn place(prefix: &str, text: &str) -> String {
    if QUEUES.contains(&text) || EXCHANGES.contains(&text) {
        format!("{prefix}/{text}")
    } else {
        text.to_owned()
    }
}

fn queue(prefix: &str, name: &QueueName) -> QueueName {
    place(prefix, name).try_into().expect("a short name")
}

fn exchange(prefix: &str, name: &ExchangeName) -> ExchangeName {
    place(prefix, name).try_into().expect("a short name")
}

fn key(prefix: &str, key: &RoutingKey) -> RoutingKey {
    place(prefix, key).try_into().expect("a short key")
}

fn binding(prefix: &str, binding: Binding) -> Binding {
    Binding {
        source: exchange(prefix, &binding.source),
        destination: match &binding.destination {
            BindingDestination::Queue(name) => BindingDestination::Queue(queue(prefix, name)),
            BindingDestination::Exchange(name) => {
                BindingDestination::Exchange(exchange(prefix, name))
            }
        },
        routing_key: key(prefix, &binding.routing_key),
        arguments: binding.arguments,
    }
}

fn table(prefix: &str, table: FieldTable) -> FieldTable {
    let placed = table
        .into_iter()
        .map(|(key, field)| (key, value(prefix, field)));
    placed.collect()
}

fn value(prefix: &str, field: FieldValue) -> FieldValue {
    match field {
        FieldValue::String(text) => FieldValue::String(place(prefix, &text)),
        FieldValue::Array(values) => {
            FieldValue::Array(values.into_iter().map(|v| value(prefix, v)).collect())
        }
        other => other,
    }
}
