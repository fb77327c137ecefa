//! A consumer: one channel's wish for the messages of one queue.

use mooq_core::ConsumerTag;

use super::arena::Key;
use super::channel::Channel;
use super::queue::Queue;

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) tag: ConsumerTag,
    pub(crate) channel: Key<Channel>,
    pub(crate) queue: Key<Queue>,
    /// Deliveries are settled as they are sent.
    pub(crate) no_ack: bool,
    /// Higher ones get everything until they can take no more.
    pub(crate) priority: i64,
    /// How many deliveries it may still get before it acknowledges one; none for no limit.
    pub(crate) credit: Option<u32>,
    /// Set while it waits for credit, out of its queue's row: when it began to wait.
    pub(crate) parked: Option<u64>,
    /// How many consumers there were before it.
    pub(crate) number: u64,
    /// How many deliveries it has to settle.
    pub(crate) unacked: u32,
    pub(crate) status: Status,
}

/// Whether a consumer gets messages when it is its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It does.
    Up,
    /// It has to give way to another one as soon as it has settled what it has (quorum queues
    /// with a single active consumer).
    Quiescing,
    /// It is cancelled, but has still something to settle (quorum queues).
    Cancelled,
}
