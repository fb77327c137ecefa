//! A look at consumers.

use mooq_core::{ConsumerTag, QueueName, VirtualHost};

use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::consumer::Consumer;
use crate::engine::queue::Queue;

/// A consumer as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its tag.
    pub tag: ConsumerTag,
    /// The queue that it consumes from.
    pub queue: QueueName,
    /// The number of its connection: see [`ConnectionInfo`](super::ConnectionInfo).
    pub connection: u64,
    /// The number of its channel on that connection.
    pub channel: u16,
    /// Deliveries are settled as they are sent.
    pub auto_ack: bool,
    /// Consumers with a higher priority get everything until they can take no more.
    pub priority: i64,
    /// How many deliveries it has not settled.
    pub unacked: u32,
    /// How many more it may get before it settles one, by its own prefetch; none for no limit.
    pub credit: Option<u32>,
    /// It gets messages: false for one that waits behind a single active consumer.
    pub active: bool,
}

impl Engine {
    /// The consumers of the queues of a virtual host whose names match, by queue, and of one
    /// queue in the order in which they came. One of direct replies is on no queue, and not
    /// here.
    #[must_use]
    pub fn consumers(&self, vhost: &VirtualHost, queue: &str) -> Vec<ConsumerInfo> {
        let mut found = Vec::new();
        for (_, queue) in self.matching_queues(vhost, queue) {
            let keys = queue.consumers.iter();
            found.extend(keys.filter_map(|key| self.consumer_info(queue, key)));
        }
        found
    }

    fn consumer_info(&self, queue: &Queue, key: Key<Consumer>) -> Option<ConsumerInfo> {
        let consumer = self.consumers.get(key)?;
        let channel = self.channels.get(consumer.channel)?;
        let waits = queue.options.single_active_consumer && queue.consumers.sole != Some(key);
        Some(ConsumerInfo {
            tag: consumer.tag.clone(),
            queue: queue.name.clone(),
            connection: self.connections.get(channel.connection.0)?.number,
            channel: channel.number,
            auto_ack: consumer.no_ack,
            priority: consumer.priority,
            unacked: consumer.unacked,
            credit: consumer.credit,
            active: !waits,
        })
    }
}
