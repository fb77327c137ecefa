//! What can be observed of a broker, in a form that compares equal where RabbitMQ leaves nothing
//! open.

use std::collections::BTreeMap;

use mooq_core::{
    ChannelEvent, CloseReason, ConnectionEvent, ConsumerTag, Error, ErrorKind, ErrorScope, Fetched,
    FieldTable, FieldValue, Message, QueueDeclared,
};

/// All that one operation brought about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    /// What the call came to.
    pub(super) answer: Answer,
    /// What the broker said unasked, from each source in its order. RabbitMQ's queues and channels
    /// are processes of their own: it leaves open in which order what they say comes together.
    pub(super) events: BTreeMap<Source, Vec<Event>>,
    /// The state of each queue that there is or was before.
    pub(super) queues: BTreeMap<String, QueueState>,
}

/// Where an event comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A connection.
    Connection(usize),
    /// A channel.
    Channel(usize),
    /// A consumer on a channel. Its deliveries come from one queue, so in one order.
    Consumer(usize, ConsumerTag),
}

/// An event, without the tags that depend on the order in which sources come together.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "named after the methods")]
pub(super) enum Event {
    Deliver {
        redelivered: bool,
        message: Message,
    },
    Cancelled,
    Return {
        code: u16,
        text: String,
        message: Message,
    },
    Confirm(u64),
    Nack(u64),
    Closed(Failure),
    Blocked,
}

/// What a call came to.
pub(super) type Answer = Result<Reply, Failure>;

/// A call's success.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "named after the methods")]
pub(super) enum Reply {
    Done,
    Declared(QueueDeclared),
    Count(u32),
    Consuming(ConsumerTag),
    Empty,
    Fetched {
        redelivered: bool,
        message_count: u32,
        message: Message,
    },
}

/// An error as far as it is the broker's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    /// Its kind.
    pub(super) kind: ErrorKind,
    /// How far it reaches.
    pub(super) scope: ErrorScope,
    /// Code, text, class and method.
    pub(super) reason: Option<CloseReason>,
}

/// What a passive declare says of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueState {
    /// It is there.
    There {
        /// How many messages are ready.
        ready: u32,
        /// How many consumers it has.
        consumers: u32,
    },
    /// There is no such queue.
    Missing,
    /// The declare is refused, with this code.
    Refused(u16),
    /// Not asked, since the connection to ask on was gone.
    Unknown,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind(),
            scope: error.scope(),
            reason: error.reason().cloned(),
        }
    }
}

impl Reply {
    pub(super) fn fetched(fetched: Option<&Fetched>) -> Self {
        match fetched {
            None => Self::Empty,
            Some(fetched) => Self::Fetched {
                redelivered: fetched.redelivered,
                message_count: fetched.message_count,
                message: timeless(&fetched.message),
            },
        }
    }
}

impl Event {
    /// A channel's event: from where, what, and for a delivery its tag.
    pub(super) fn on_channel(channel: usize, event: ChannelEvent) -> (Source, Self, Option<u64>) {
        let said = |event| (Source::Channel(channel), event, None);
        match event {
            ChannelEvent::Deliver(deliver) => (
                Source::Consumer(channel, deliver.consumer_tag),
                Self::Deliver {
                    redelivered: deliver.redelivered,
                    message: timeless(&deliver.message),
                },
                Some(deliver.delivery_tag),
            ),
            ChannelEvent::ConsumerCancelled(tag) => {
                (Source::Consumer(channel, tag), Self::Cancelled, None)
            }
            ChannelEvent::Return(returned) => said(Self::Return {
                code: returned.reply_code,
                text: returned.reply_text,
                message: timeless(&returned.message),
            }),
            // Whether a confirm means those before as well is open; here each is waited for
            // before the next publish, so that it never matters.
            ChannelEvent::Confirm { sequence, .. } => said(Self::Confirm(sequence)),
            ChannelEvent::Nack { sequence, .. } => said(Self::Nack(sequence)),
            ChannelEvent::Closed(error) => said(Self::Closed(error.into())),
        }
    }

    pub(super) fn on_connection(event: ConnectionEvent) -> Self {
        match event {
            ConnectionEvent::Blocked(_) | ConnectionEvent::Unblocked => Self::Blocked,
            ConnectionEvent::Closed(error) => Self::Closed(error.into()),
        }
    }
}

/// The message without the times in `x-death`, which are the brokers' clocks'.
fn timeless(message: &Message) -> Message {
    let mut message = message.clone();
    if message.properties.headers.get("x-death").is_some() {
        let mut properties = (*message.properties).clone();
        properties.headers = without_times(properties.headers);
        message.properties = properties.into();
    }
    message
}

fn without_times(mut headers: FieldTable) -> FieldTable {
    let Some(FieldValue::Array(mut deaths)) = headers.remove("x-death") else {
        return headers;
    };
    for death in &mut deaths {
        if let FieldValue::Table(death) = death
            && let Some(FieldValue::Timestamp(_)) = death.get("time")
        {
            let key = "time".try_into().expect("a short key");
            death.insert(key, FieldValue::Timestamp(0));
        }
    }
    let key = "x-death".try_into().expect("a short key");
    headers.insert(key, FieldValue::Array(deaths));
    headers
}
