//! A consumer: the subscription of one channel to one queue.

use crate::ids::{ChannelId, QueueId};
use mooq_core::{ConsumerTag, FieldTable};

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) tag: ConsumerTag,
    pub(crate) channel: ChannelId,
    pub(crate) queue: QueueId,
    /// True if deliveries are settled as they are sent.
    pub(crate) no_ack: bool,
    /// True if the consumer asked for exclusive use of its queue.
    pub(crate) exclusive: bool,
    /// Arguments of the consume.
    pub(crate) arguments: FieldTable,
    /// Prefetch of the consumer; 0 for no limit.
    pub(crate) prefetch: u16,
    /// Priority: consumers with a higher one get every message until they can take no more.
    pub(crate) priority: i64,
    /// Number of deliveries that the consumer may still get before it acknowledges one; none for no
    /// limit.
    pub(crate) credit: Option<u32>,
    /// Set while the consumer waits for credit, outside its queue's rotation. The number orders
    /// consumers by the time at which they began to wait.
    pub(crate) blocked: Option<u64>,
    /// Number of consumers that there were before this one.
    pub(crate) number: u64,
    /// Number of deliveries that the consumer has to settle.
    pub(crate) unacked: u32,
    /// Time that the consumer has for each delivery, in milliseconds, if its queue enforces the
    /// timeout.
    pub(crate) timeout: u64,
    /// Number of deliveries that the queue has requeued and the consumer has not settled. Until the
    /// consumer has settled them, it gets nothing.
    pub(crate) overdue: u32,
    pub(crate) status: Status,
}

/// State of a consumer, which decides if the consumer gets messages when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The consumer gets messages.
    Up,
    /// The consumer has to give way to another one as soon as it has settled its deliveries (quorum
    /// queues with a single active consumer).
    Quiescing,
    /// The consumer is cancelled, but still has deliveries to settle (quorum queues).
    Cancelled,
}
