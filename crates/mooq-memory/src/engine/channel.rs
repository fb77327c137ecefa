//! A channel: deliveries by tag, publishes by number, and the modes of both.

use std::collections::BTreeMap;

use mooq_core::{ConsumerTag, QueueName};

use super::arena::Key;
use super::command::ConnectionId;
use super::consumer::Consumer;
use super::direct_reply::ReplyConsumer;
use super::ledger::{Ledger, Unacked};
use super::limiter::Limiter;
use super::publishing::Routed;

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u16,
    /// The broker has closed it, and the client does not know that yet.
    pub(crate) closing: bool,
    next_delivery_tag: u64,
    /// What was delivered and not settled.
    pub(crate) ledger: Ledger,
    pub(crate) consumers: BTreeMap<ConsumerTag, Key<Consumer>>,
    /// Its consumer of direct replies, which is on no queue.
    pub(crate) reply_consumer: Option<ReplyConsumer>,
    /// How many unsettled deliveries each later consumer may have; 0 for no limit.
    pub(crate) prefetch: u16,
    /// The limit for all consumers of the channel together.
    pub(crate) limiter: Limiter,
    /// The queue that an empty name means.
    pub(crate) last_queue: QueueName,
    pub(crate) publishing: PublishingMode,
}

/// What a channel does with publishes, chosen once.
#[derive(Debug)]
pub(crate) enum PublishingMode {
    /// The broker says nothing.
    Plain,
    /// Each is confirmed ([publisher confirms](https://www.rabbitmq.com/docs/confirms)).
    Confirm {
        /// The number of the next publish.
        next: u64,
    },
    /// Each waits for the commit, as settlements do.
    Transaction(Transaction),
}

/// What a commit would do (AMQP 0-9-1, 1.9).
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) publishes: Vec<Routed>,
    pub(crate) settlements: Vec<(Fate, Vec<Unacked>)>,
}

/// What becomes of settled deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done with.
    Acked,
    /// Back to the queue.
    Requeued {
        /// As one whose delivery has failed, which a quorum queue counts.
        failed: bool,
    },
    /// To the dead-letter exchange, if the queue has one.
    Rejected {
        /// The same.
        failed: bool,
    },
}

impl Channel {
    pub(crate) fn new(connection: ConnectionId, number: u16) -> Self {
        Self {
            connection,
            number,
            closing: false,
            next_delivery_tag: 1,
            ledger: Ledger::default(),
            consumers: BTreeMap::new(),
            reply_consumer: None,
            prefetch: 0,
            limiter: Limiter::default(),
            last_queue: QueueName::default(),
            publishing: PublishingMode::Plain,
        }
    }

    /// The number of the next delivery.
    pub(crate) fn peek_delivery_tag(&self) -> u64 {
        self.next_delivery_tag
    }

    /// Numbers a delivery.
    pub(crate) fn next_delivery_tag(&mut self) -> u64 {
        let tag = self.next_delivery_tag;
        self.next_delivery_tag += 1;
        tag
    }
}
