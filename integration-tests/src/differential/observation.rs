//! Observations of a broker, in a form that compares equal unless RabbitMQ leaves the outcome open.

use std::collections::BTreeMap;

use mooq_core::{
    ChannelEvent, CloseReason, ConnectionEvent, ConsumerTag, Error, ErrorKind, ErrorScope, Fetched,
    Message, QueueDeclared,
};

use super::names::Names;
use super::operation::REPLY_ADDRESS;

/// All effects of one operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    /// The answer to the call.
    pub(super) answer: Answer,
    /// Events by source, in order. RabbitMQ's queues and channels are processes of their own, so
    /// the order between sources is open.
    pub(super) events: BTreeMap<Source, Vec<Event>>,
    /// The state of each queue that exists or existed before.
    pub(super) queues: BTreeMap<String, QueueState>,
}

/// The source of an event.
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

/// The answer to a call.
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

/// The broker's part of an error.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    /// Kind of the error.
    pub(super) kind: ErrorKind,
    /// Scope of the error.
    pub(super) scope: ErrorScope,
    /// Close reason: code, text, class and method.
    pub(super) reason: Option<CloseReason>,
}

/// The state of a queue by a passive declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueState {
    /// The queue exists.
    There {
        /// Number of ready messages.
        ready: u32,
        /// Number of consumers.
        consumers: u32,
    },
    /// The queue does not exist.
    Missing,
    /// The declare is refused, with this code.
    Refused(u16),
    /// Not observed, because the connection was gone.
    Unknown,
}

impl Failure {
    pub(super) fn of(error: &Error, names: &Names) -> Self {
        let hidden = |reason: &CloseReason| {
            let mut text = names.hidden(&reason.text);
            // RabbitMQ stops the processes of a virtual host while it deletes it, and may answer
            // with that.
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
    /// A channel's event: its source, the event, and for a delivery the tag.
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

    /// Returns true for the delivery of a request for a direct reply.
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
            // No event of a broker's.
            ConnectionEvent::CredentialsRenewed | ConnectionEvent::CredentialsNotRenewed { .. } => {
                unreachable!("no transport renews credentials")
            }
        }
    }
}
