//! Inspection of queues.

use mooq_core::{QueueName, VirtualHost};

use crate::Engine;
use crate::queue::Queue;
use crate::queue::tally::QueueTally;

/// Snapshot of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Name of the queue.
    pub name: QueueName,
    /// Number of messages that are ready for delivery.
    pub ready: u64,
    /// Number of messages that were requeued to a quorum queue and wait before they are ready again
    /// ([delayed retry](https://www.rabbitmq.com/docs/quorum-queues#delayed-retry)).
    pub delayed: u64,
    /// Number of messages that died in a quorum queue which keeps its dead letters until they have
    /// arrived, and that have not arrived ([at-least-once dead
    /// lettering](https://www.rabbitmq.com/docs/quorum-queues#dead-lettering)).
    pub kept_dead_letters: u64,
    /// Number of unacked messages.
    pub unacked: u64,
    /// Number of messages that arrived, and the outcome of those that left.
    pub tally: QueueTally,
    /// Number of consumers.
    pub consumers: u32,
    /// True if the queue survives a restart.
    pub durable: bool,
    /// True if only one connection may use the queue.
    pub exclusive: bool,
    /// True if the queue is deleted when its last consumer goes.
    pub auto_delete: bool,
}

impl Engine {
    /// Returns the queues of a virtual host whose names match, sorted by name.
    #[must_use]
    pub fn queues(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueInfo> {
        let found = self.matching_queues(vhost, glob).into_iter();
        found.map(|(_, queue)| QueueInfo::of(queue)).collect()
    }
}

impl QueueInfo {
    fn of(queue: &Queue) -> Self {
        Self {
            name: queue.name.clone(),
            ready: queue.ready.len() as u64,
            delayed: queue.delayed() as u64,
            kept_dead_letters: queue.kept_dead_letters() as u64,
            unacked: queue.unacked,
            tally: queue.tally,
            consumers: queue.consumer_count(),
            durable: queue.durable,
            exclusive: queue.owner.is_some(),
            auto_delete: queue.auto_delete,
        }
    }
}
