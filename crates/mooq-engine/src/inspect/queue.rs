//! Inspection of queues.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use mooq_core::{ConsumerTag, DeliveryMode, FieldTable, Message, QueueName, VirtualHost};

use super::policy::merged;
use super::unsettled;
use crate::Engine;
use crate::ids::QueueId;
use crate::queue::Queue;
use crate::queue::delivery_limit::DeliveryLimit;
use crate::queue::kind::QueueType;
use crate::queue::tally::QueueTally;

/// Snapshot of a queue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Name of the queue.
    pub name: QueueName,
    /// Type of the queue.
    pub kind: QueueType,
    /// Arguments of the queue's declare. Since RabbitMQ 4.0 they name the queue's type, even if the
    /// declare did not.
    pub arguments: FieldTable,
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

/// Snapshot of a queue with what takes longer to find out than a [`QueueInfo`]: sizes, policies and
/// consumers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueueDetails {
    /// The queue.
    pub info: QueueInfo,
    /// Number of consumers, with those that wait behind a single active consumer.
    pub consumers: u32,
    /// Size of the bodies of the ready messages, in bytes.
    pub ready_bytes: u64,
    /// Size of the bodies of the unacked messages, in bytes.
    pub unacked_bytes: u64,
    /// Number of persistent messages, ready and unacked.
    pub persistent: u64,
    /// Size of their bodies, in bytes.
    pub persistent_bytes: u64,
    /// Timestamp of the message that leaves next, in seconds since the Unix epoch, if it has one.
    pub head_timestamp: Option<u64>,
    /// Name of the policy that applies.
    pub policy: Option<String>,
    /// Name of the operator policy that applies.
    pub operator_policy: Option<String>,
    /// Combined definition of the two policies.
    pub effective_policy: FieldTable,
    /// Number of times that a message may return to the queue. None for no limit.
    pub delivery_limit: Option<u64>,
    /// Number of the connection that alone may use the queue: see
    /// [`ConnectionInfo`](super::ConnectionInfo).
    pub owner: Option<u64>,
    /// Tag of the consumer with exclusive use of the queue.
    pub exclusive_consumer: Option<ConsumerTag>,
    /// Tag of the single active consumer.
    pub single_active_consumer: Option<ConsumerTag>,
}

impl Engine {
    /// Returns the queues of a virtual host whose names match, sorted by name.
    #[must_use]
    pub fn queues(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueInfo> {
        let found = self.matching_queues(vhost, glob).into_iter();
        found.map(|(_, queue)| QueueInfo::of(queue)).collect()
    }

    /// Returns the queues of a virtual host whose names match, sorted by name, with their details.
    /// Takes time in proportion to the number of messages.
    #[must_use]
    pub fn queue_details(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueDetails> {
        let mut unacked: HashMap<QueueId, Sizes, RandomState> = HashMap::default();
        for (_, channel) in &self.channels {
            for of in unsettled(channel) {
                unacked.entry(of.queue).or_default().add(&of.queued.message);
            }
        }
        let found = self.matching_queues(vhost, glob).into_iter();
        found
            .map(|(key, queue)| {
                self.details_of(queue, unacked.get(&key).copied().unwrap_or_default())
            })
            .collect()
    }

    fn details_of(&self, queue: &Queue, unacked: Sizes) -> QueueDetails {
        let mut ready = Sizes::default();
        for queued in queue.ready.iter() {
            ready.add(&queued.message);
        }
        let kind = queue.options.kind;
        let vhost = self.vhosts.get(queue.vhost);
        let policy = vhost.and_then(|vhost| vhost.policies.for_queue(kind, &queue.name));
        let operators = vhost.and_then(|v| v.operator_policies.for_queue(kind, &queue.name));
        let active = queue.consumers.active;
        let active = active.and_then(|key| Some(self.consumers.get(key)?.tag.clone()));
        let (exclusive_consumer, single_active_consumer) =
            match queue.options.single_active_consumer {
                true => (None, active),
                false => (active, None),
            };
        let head = queue.ready.iter().next();
        let owner = queue.owner.and_then(|key| self.connections.get(key));
        QueueDetails {
            info: QueueInfo::of(queue),
            consumers: queue.consumers.count(),
            ready_bytes: ready.bytes,
            unacked_bytes: unacked.bytes,
            persistent: ready.persistent + unacked.persistent,
            persistent_bytes: ready.persistent_bytes + unacked.persistent_bytes,
            head_timestamp: head.and_then(|queued| queued.message.properties.timestamp),
            policy: policy.map(|(name, _)| name.to_owned()),
            operator_policy: operators.map(|(name, _)| name.to_owned()),
            effective_policy: merged(
                policy.map(|(_, policy)| policy),
                operators.map(|(_, policy)| policy),
            ),
            delivery_limit: match queue.options.delivery_limit {
                DeliveryLimit::None => None,
                DeliveryLimit::AtMost(limit) => Some(limit),
            },
            owner: owner.map(|connection| connection.number),
            exclusive_consumer,
            single_active_consumer,
        }
    }
}

impl QueueInfo {
    fn of(queue: &Queue) -> Self {
        Self {
            name: queue.name.clone(),
            kind: queue.options.kind,
            arguments: queue.arguments.clone(),
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

/// Sizes of messages.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    bytes: u64,
    persistent: u64,
    persistent_bytes: u64,
}

impl Sizes {
    fn add(&mut self, message: &Message) {
        let bytes = message.body.len() as u64;
        self.bytes += bytes;
        if message.properties.delivery_mode == Some(DeliveryMode::Persistent) {
            self.persistent += 1;
            self.persistent_bytes += bytes;
        }
    }
}
