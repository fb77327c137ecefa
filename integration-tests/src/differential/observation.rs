//! What can be observed of a broker, in a form that compares equal where RabbitMQ leaves nothing
//! open.

use std::collections::BTreeMap;

use mooq_core::{
    ChannelEvent, CloseReason, ConnectionEvent, ConsumerTag, Error, ErrorKind, ErrorScope, Fetched,
    Message, QueueDeclared,
};

use super::names::Names;
use super::operation::REPLY_ADDRESS;

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

impl Failure {
    pub(super) fn of(error: &Error, names: &Names) -> Self {
        let hidden = |reason: &CloseReason| {
            let mut text = names.hidden(&reason.text);
            // RabbitMQ stops what runs for a virtual host while it deletes it, and may be seen to.
            if let Some(vhost) = text.strip_suffix("' is down") {
                text = format!("{vhost}' is deleted");
            }
            CloseReason {
                text,
                ..reason.clone()
            }
        };
        Self {
            kind: error.kind(),
            scope: error.scope(),
            reason: error.reason().map(hidden),
        }
    }
}

impl Reply {
    pub(super) fn fetched(fetched: Option<&Fetched>, names: &Names) -> Self {
        match fetched {
            None => Self::Empty,
            Some(fetched) => Self::Fetched {
                redelivered: fetched.redelivered,
                message_count: fetched.message_count,
                message: names.comparable(&fetched.message),
            },
        }
    }
}

impl Event {
    /// A channel's event: from where, what, and for a delivery its tag.
    pub(super) fn on_channel(
        channel: usize,
        event: ChannelEvent,
        names: &Names,
    ) -> (Source, Self, Option<u64>) {
        let said = |event| (Source::Channel(channel), event, None);
        match event {
            ChannelEvent::Deliver(deliver) => (
                Source::Consumer(channel, deliver.consumer_tag),
                Self::Deliver {
                    redelivered: deliver.redelivered,
                    message: names.comparable(&deliver.message),
                },
                Some(deliver.delivery_tag),
            ),
            ChannelEvent::ConsumerCancelled(tag) => {
                (Source::Consumer(channel, tag), Self::Cancelled, None)
            }
            ChannelEvent::Return(returned) => said(Self::Return {
                code: returned.reply_code,
                text: returned.reply_text,
                message: names.comparable(&returned.message),
            }),
            ChannelEvent::Confirm { sequence, .. } => said(Self::Confirm(sequence)),
            ChannelEvent::Nack { sequence, .. } => said(Self::Nack(sequence)),
            ChannelEvent::Closed(error) => said(Self::Closed(Failure::of(&error, names))),
        }
    }

    /// Whether it is the delivery of a request that asks for a direct reply.
    pub(super) fn is_request(&self) -> bool {
        let Self::Deliver { message, .. } = self else {
            return false;
        };
        message.properties.reply_to.as_deref() == Some(REPLY_ADDRESS)
    }

    pub(super) fn on_connection(event: ConnectionEvent, names: &Names) -> Self {
        match event {
            ConnectionEvent::Blocked(_) | ConnectionEvent::Unblocked => Self::Blocked,
            ConnectionEvent::Closed(error) => Self::Closed(Failure::of(&error, names)),
        }
    }
}
