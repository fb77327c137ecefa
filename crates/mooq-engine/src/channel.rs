//! A channel: deliveries by tag, publishes by number, and the modes of both.

use std::collections::BTreeMap;

use super::direct_reply::ReplyConsumer;
use super::ids::{ConnectionId, ConsumerId};
use super::limiter::Limiter;
use super::message::Unacked;
use super::permission_cache::PermissionCache;
use super::routed::Routed;
use super::unacked::UnackedDeliveries;
use mooq_core::{ConsumerTag, QueueName};

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u16,
    /// The way in which the channel has ended, if the client may not know of its end yet. Nothing
    /// more is sent on such a channel.
    pub(crate) ended: Option<Ended>,
    next_delivery_tag: u64,
    /// Unacked deliveries of the channel.
    pub(crate) unacked: UnackedDeliveries,
    pub(crate) consumers: BTreeMap<ConsumerTag, ConsumerId>,
    /// The channel's consumer of direct replies, which is on no queue.
    pub(crate) reply_consumer: Option<ReplyConsumer>,
    /// Number of unacked deliveries that each later consumer may have; 0 for no limit.
    pub(crate) prefetch: u16,
    /// Prefetch limit for all consumers of the channel together.
    pub(crate) limiter: Limiter,
    /// The queue that an empty queue name stands for.
    pub(crate) last_queue: QueueName,
    pub(crate) publishing: PublishingMode,
    /// Permissions that the channel was granted since it last hibernated.
    pub(crate) permission_cache: PermissionCache,
    /// True if the channel is checked once a minute for overdue deliveries.
    pub(crate) ticks: bool,
}

/// A way in which a channel has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its client has closed it, or its connection is gone.
    Gone,
    /// The broker has closed it for an error: it is there until the client has answered.
    Failed,
}

/// A channel's mode of handling publishes, chosen once.
#[derive(Debug)]
pub(crate) enum PublishingMode {
    /// The broker does not respond to publishes.
    Plain,
    /// Each publish is confirmed ([publisher confirms](https://www.rabbitmq.com/docs/confirms)).
    Confirm {
        /// Number of the next publish.
        next: u64,
    },
    /// Each publish waits for the commit, as settlements do.
    Transaction(Transaction),
}

/// Publishes and settlements that a commit would carry out (AMQP 0-9-1, 1.9).
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) publishes: Vec<Routed>,
    pub(crate) settlements: Vec<(Disposition, Vec<Unacked>)>,
}

/// Outcome of settled deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The message is acked and done with.
    Acked,
    /// The message is requeued.
    Requeued {
        /// True if the delivery counts as failed. A quorum queue counts failed deliveries.
        failed: bool,
    },
    /// The message goes to the dead-letter exchange, if the queue has one.
    Rejected {
        /// True if the delivery counts as failed, as for `Requeued`.
        failed: bool,
    },
}

impl Channel {
    /// Returns true if the channel has ended.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub(crate) fn new(connection: ConnectionId, number: u16) -> Self {
        Self {
            connection,
            number,
            ended: None,
            next_delivery_tag: 1,
            unacked: UnackedDeliveries::default(),
            consumers: BTreeMap::new(),
            reply_consumer: None,
            prefetch: 0,
            limiter: Limiter::default(),
            last_queue: QueueName::default(),
            publishing: PublishingMode::Plain,
            permission_cache: PermissionCache::default(),
            ticks: false,
        }
    }

    /// Returns all unacked deliveries, those whose settlement waits for a commit included.
    pub(crate) fn unsettled_mut(&mut self) -> impl Iterator<Item = &mut Unacked> {
        let held_back = match &mut self.publishing {
            PublishingMode::Transaction(transaction) => transaction.settlements.as_mut_slice(),
            _ => &mut [],
        };
        let held_back = held_back.iter_mut().flat_map(|(_, unacked)| unacked);
        self.unacked.iter_mut().chain(held_back)
    }

    /// Returns the next delivery tag without advancing it.
    pub(crate) fn peek_delivery_tag(&self) -> u64 {
        self.next_delivery_tag
    }

    /// Returns the next delivery tag and advances it.
    pub(crate) fn next_delivery_tag(&mut self) -> u64 {
        let tag = self.next_delivery_tag;
        self.next_delivery_tag += 1;
        tag
    }
}
