//! Entries of a recording.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{ConsumerTag, ExchangeName, Message, QueueName, ShortString};

pub use crate::dead_letters::dead_letter::Reason as DeadLetterReason;

/// A publish that the broker accepted. A publish that failed since its exchange is missing, or that
/// a transaction did not commit, is not recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedPublish {
    /// Time of the publish since the broker was created, by tokio's clock.
    pub at: Duration,
    /// Name of the publisher's connection, if it has one.
    pub connection: Option<ShortString>,
    /// The message, with the exchange and the routing key of its publish.
    pub message: Arc<Message>,
    /// The queues that the message was routed to and that accepted it, in no order.
    pub queues: Vec<QueueName>,
    /// Outcome of the publish.
    pub outcome: PublishOutcome,
}

/// Outcome of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// Routed to queues or as a direct reply, and accepted.
    Routed,
    /// Dropped, since it reached no queue.
    Unroutable,
    /// Returned to its publisher, since it was mandatory and reached no queue.
    Returned,
    /// Refused by a full queue: a publisher with confirms got a nack.
    Refused,
}

impl PublishOutcome {
    /// Returns the outcome as text for a failed assertion.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Unroutable => "unroutable",
            Self::Returned => "returned to its publisher",
            Self::Refused => "refused by a queue",
        }
    }
}

/// A message that was sent to a consumer, or fetched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedDelivery {
    /// Time of the delivery since the broker was created, by tokio's clock.
    pub at: Duration,
    /// The queue that the message came from: `amq.rabbitmq.reply-to` for a direct reply, which
    /// comes from no queue.
    pub queue: QueueName,
    /// Name of the connection that the message was sent to, if that connection has one.
    pub connection: Option<ShortString>,
    /// Tag of the consumer that the message was sent to; none if it was fetched.
    pub consumer_tag: Option<ConsumerTag>,
    /// The message.
    pub message: Arc<Message>,
    /// True if the message was delivered before and has been requeued.
    pub redelivered: bool,
    /// Outcome of the delivery; none while it is unacked.
    pub settled: Option<Settled>,
}

/// Outcome of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// Acked as it was sent, at the consumer's request.
    AutoAcked,
    /// Acked by its consumer.
    Acked,
    /// Requeued by its consumer.
    Requeued,
    /// Rejected by its consumer: it went to the dead-letter exchange, or was dropped.
    Rejected,
    /// Requeued when its channel ended.
    ChannelClosed,
    /// Requeued when its connection ended.
    ConnectionClosed,
}

impl Settled {
    /// Returns the outcome as text for a failed assertion.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AutoAcked => "auto-acked",
            Self::Acked => "acked",
            Self::Requeued => "requeued",
            Self::Rejected => "rejected",
            Self::ChannelClosed => "returned by the channel's end",
            Self::ConnectionClosed => "returned by the connection's end",
        }
    }
}

/// A message that left a queue without being consumed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedDeadLetter {
    /// Time of the message's death since the broker was created, by tokio's clock.
    pub at: Duration,
    /// The queue that the message left.
    pub queue: QueueName,
    /// Reason that the message left the queue.
    pub reason: DeadLetterReason,
    /// The dead-letter exchange that the message went to. None if the queue has no dead-letter
    /// exchange or that exchange is missing: the message was then dropped.
    pub exchange: Option<ExchangeName>,
    /// The message as it was published to that exchange, or as it was in the queue.
    pub message: Arc<Message>,
    /// The queues that the message reached from that exchange, in no order.
    pub queues: Vec<QueueName>,
}
