//! What is recorded.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{ConsumerTag, ExchangeName, Message, QueueName};

pub use crate::engine::dead_letter::Reason as DeadLetterReason;

/// A publish that the broker took. One that failed since its exchange is missing, or that a
/// transaction did not commit, is none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedPublish {
    /// When, since the broker was made, by tokio's clock.
    pub at: Duration,
    /// The message, with the exchange and the routing key that it was published to.
    pub message: Arc<Message>,
    /// The queues that it was routed to and that took it, in no order.
    pub queues: Vec<QueueName>,
    /// What became of it.
    pub outcome: PublishOutcome,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// It was routed, to queues or as a direct reply, and taken.
    Routed,
    /// It reached no queue, and is gone.
    Unroutable,
    /// It reached no queue, and went back to its publisher, since it was mandatory.
    Returned,
    /// A queue that was full refused it: a publisher with confirms got a nack.
    Refused,
}

/// A message that was sent to a consumer, or fetched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedDelivery {
    /// When, since the broker was made, by tokio's clock.
    pub at: Duration,
    /// The queue that it came from: `amq.rabbitmq.reply-to` for a direct reply, which comes from
    /// none.
    pub queue: QueueName,
    /// Whom it was sent to; none if it was fetched.
    pub consumer_tag: Option<ConsumerTag>,
    /// The message.
    pub message: Arc<Message>,
    /// It had been delivered before, and had come back.
    pub redelivered: bool,
    /// How it was settled; none as long as it is not.
    pub settled: Option<Settled>,
}

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// As it was sent, since its consumer wanted that.
    AutoAcked,
    /// Its consumer acknowledged it.
    Acked,
    /// Its consumer gave it back to the queue.
    Requeued,
    /// Its consumer rejected it: it went to the dead-letter exchange, or was dropped.
    Rejected,
    /// It went back to the queue with the end of its channel.
    ChannelClosed,
    /// It went back to the queue with the end of its connection.
    ConnectionClosed,
}

/// A message that left a queue without being consumed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedDeadLetter {
    /// When, since the broker was made, by tokio's clock.
    pub at: Duration,
    /// The queue that it left.
    pub queue: QueueName,
    /// Why.
    pub reason: DeadLetterReason,
    /// The dead-letter exchange that it went to; none if the queue has none or it is missing, and
    /// the message was dropped.
    pub exchange: Option<ExchangeName>,
    /// The message as it was published to that exchange, or as it was in the queue.
    pub message: Arc<Message>,
    /// The queues that it reached from there, in no order.
    pub queues: Vec<QueueName>,
}
