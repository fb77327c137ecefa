//! A look at queues.

use mooq_core::{QueueName, VirtualHost};

use crate::engine::Engine;
use crate::engine::queue::Queue;
use crate::engine::queue::tally::QueueTally;

/// A queue as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// How many messages are ready for delivery.
    pub ready: u64,
    /// How many are delivered and not settled.
    pub unacked: u64,
    /// How many came, and what has become of those that left.
    pub tally: QueueTally,
    /// How many consumers it has.
    pub consumers: u32,
    /// It survives a restart.
    pub durable: bool,
    /// Only one connection may use it.
    pub exclusive: bool,
    /// It goes when its last consumer goes.
    pub auto_delete: bool,
}

impl Engine {
    /// The queues of a virtual host whose names match, by name.
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
            unacked: queue.unacked,
            tally: queue.tally,
            consumers: queue.consumer_count(),
            durable: queue.durable,
            exclusive: queue.owner.is_some(),
            auto_delete: queue.auto_delete,
        }
    }
}
