//! Inspection of consumers.

use std::time::Duration;

use mooq_core::{ConsumerTag, FieldTable, QueueName, VirtualHost};

use crate::Engine;
use crate::ids::ConsumerId;
use crate::queue::Queue;

/// Snapshot of a consumer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// The consumer's tag.
    pub tag: ConsumerTag,
    /// The queue that the consumer consumes from.
    pub queue: QueueName,
    /// Number of the consumer's connection: see [`ConnectionInfo`](super::ConnectionInfo).
    pub connection: u64,
    /// Number of the consumer's channel on that connection.
    pub channel: u16,
    /// True if deliveries are settled as they are sent.
    pub auto_ack: bool,
    /// True if the consumer asked for exclusive use of its queue.
    pub exclusive: bool,
    /// Arguments of the consume.
    pub arguments: FieldTable,
    /// Prefetch of the consumer; 0 for no limit.
    pub prefetch: u16,
    /// Longest time that a delivery may stay unacked; a day if no other limit is set.
    pub timeout: Duration,
    /// Priority: consumers with a higher one get every message until they can take no more.
    pub priority: i64,
    /// Number of unacked deliveries.
    pub unacked: u32,
    /// Number of deliveries that the consumer may still get before it settles one, by its own
    /// prefetch; none for no limit.
    pub credit: Option<u32>,
    /// True if the consumer gets messages; false if it waits behind a single active consumer.
    pub active: bool,
    /// True if the queue has a single active consumer, which is this one if `active` is true.
    pub single_active: bool,
}

impl Engine {
    /// Returns the consumers of those queues of a virtual host whose names match. The consumers are
    /// sorted by queue and, for one queue, in the order in which they subscribed. A consumer of
    /// direct replies is on no queue and is not included.
    #[must_use]
    pub fn consumers(&self, vhost: &VirtualHost, queue: &str) -> Vec<ConsumerInfo> {
        let mut found = Vec::new();
        for (_, queue) in self.matching_queues(vhost, queue) {
            let keys = queue.consumers.iter();
            found.extend(keys.filter_map(|key| self.consumer_info(queue, key)));
        }
        found
    }

    fn consumer_info(&self, queue: &Queue, key: ConsumerId) -> Option<ConsumerInfo> {
        let consumer = self.consumers.get(key)?;
        let channel = self.channels.get(consumer.channel)?;
        let waits = queue.options.single_active_consumer && queue.consumers.active != Some(key);
        Some(ConsumerInfo {
            tag: consumer.tag.clone(),
            queue: queue.name.clone(),
            connection: self.connections.get(channel.connection)?.number,
            channel: channel.number,
            auto_ack: consumer.no_ack,
            exclusive: consumer.exclusive,
            arguments: consumer.arguments.clone(),
            prefetch: consumer.prefetch,
            timeout: Duration::from_millis(consumer.timeout),
            priority: consumer.priority,
            unacked: consumer.unacked,
            credit: consumer.credit,
            active: !waits,
            single_active: queue.options.single_active_consumer,
        })
    }
}
