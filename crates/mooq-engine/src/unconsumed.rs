//! Dead-lettering. Messages leave a queue unconsumed if they are too many, too old or rejected:
//! they are dropped or go to the queue's dead-letter exchange.

use std::sync::Arc;

use mooq_core::{Message, QueueName};

use super::Engine;
use super::dead_letter::{Annotations, DeadLetter, Dying, Reason};
use super::ids::{ExchangeId, QueueId, VhostId};
use super::message::{Accepted, QueuedMessage};
use super::queue::Queue;
use super::queue::arguments::Overflow;

/// A dead letter on its way to its exchange.
#[derive(Debug)]
pub(crate) enum PendingDeadLetter {
    /// A dead letter that has left its queue.
    Sent(SentDeadLetter),
    /// A dead letter that its queue keeps until it has arrived elsewhere.
    Kept(QueueId),
}

/// A dead letter that has left its queue, even if it does not arrive elsewhere.
#[derive(Debug)]
pub(crate) struct SentDeadLetter {
    vhost: VhostId,
    /// The queue that the dead letter comes from.
    queue: QueueName,
    exchange: ExchangeId,
    letter: DeadLetter,
}

impl Engine {
    /// Drops messages from the head until the queue is within its limits. Returns true if any were
    /// dropped.
    pub(super) fn drop_over_limit(&mut self, key: QueueId) -> bool {
        let mut dropped = Vec::new();
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        while queue.is_over_limit(0, 0) {
            if queue.options.overflow != Overflow::DropHead {
                queue.close_gate();
                break;
            }
            let Some(head) = queue.pop() else {
                break;
            };
            queue.tally.dropped += 1;
            dropped.push(head);
        }
        if queue.is_quorum() && self.options.profile.buries_dropped_newest_first() {
            dropped.reverse();
        }
        for head in &dropped {
            self.bury_queued(key, head, Reason::MaxLen);
        }
        !dropped.is_empty()
    }

    /// Drops expired messages from the head, and sets a timer for the next one to expire.
    pub(super) fn drop_expired(&mut self, key: QueueId) {
        let now = self.now;
        while let Some(queue) = self.queues.get_mut(key) {
            let Some(expired) = queue.pop_expired(now) else {
                if let Some(expires) = queue.ready.next_expiry() {
                    self.timers.set(expires, key);
                }
                return;
            };
            queue.tally.expired += 1;
            self.bury_queued(key, &expired, Reason::Expired);
        }
    }

    /// Drops a message that no consumer takes on arrival, from a queue that keeps nothing.
    pub(super) fn drop_on_arrival(&mut self, key: QueueId, queued: &QueuedMessage) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.tally.expired += 1;
        }
        self.bury_queued(key, queued, Reason::Expired);
    }

    /// Dead-letters a message that was in a queue.
    pub(super) fn bury_queued(&mut self, queue: QueueId, queued: &QueuedMessage, reason: Reason) {
        let keeps = |queue: &Queue| queue.options.keeps_dead_letters();
        if self.queues.get(queue).is_some_and(keeps) {
            self.keep_dead_letter(queue, queued, reason);
            return;
        }
        let annotations = queued.annotations_at_death();
        self.bury(queue, &queued.message, annotations.as_deref(), reason);
    }

    /// Dead-letters a message that has left a queue, if the queue has a dead-letter exchange and
    /// that exchange exists.
    pub(super) fn bury(
        &mut self,
        queue: QueueId,
        message: &Message,
        annotations: Option<&Annotations>,
        reason: Reason,
    ) {
        let Some(queue) = self.queues.get_mut(queue) else {
            return;
        };
        let name = queue.options.dead_letter_exchange.as_ref();
        let exchange = name.and_then(|name| {
            let exchanges = &self.vhosts.get(queue.vhost)?.exchanges;
            Some((name, *exchanges.get(name)?))
        });
        let Some((name, exchange)) = exchange else {
            let from = queue.name.clone();
            self.record_drop(from, reason, message);
            return;
        };
        let time = self.options.started + self.now.since_start();
        let dying = Dying {
            message,
            annotations,
            queue: &queue.name,
            reason,
            time: time.as_secs(),
        };
        let key = queue.options.dead_letter_routing_key.as_ref();
        let letter = DeadLetter::new(&dying, name, key, self.options.profile);
        queue.tally.dead_lettered += 1;
        let sent = SentDeadLetter {
            vhost: queue.vhost,
            queue: queue.name.clone(),
            exchange,
            letter,
        };
        self.dead_letters.push_back(PendingDeadLetter::Sent(sent));
    }

    /// Carries out what follows from the last step, and what follows from that: publishes the
    /// pending dead letters, and has quorum queues take the acknowledgements of their channels.
    pub(super) fn finish(&mut self) {
        loop {
            if let Some(pending) = self.dead_letters.pop_front() {
                match pending {
                    PendingDeadLetter::Sent(sent) => self.publish_dead_letter(sent),
                    PendingDeadLetter::Kept(queue) => self.publish_kept_dead_letters(queue),
                }
            } else if !self.automatic_acks.is_empty() {
                self.take_automatic_acks();
            } else {
                return;
            }
        }
    }

    fn publish_dead_letter(&mut self, sent: SentDeadLetter) {
        let letter = sent.letter;
        let accepted = Accepted {
            message: Arc::clone(&letter.message),
            annotations: Some(Arc::clone(&letter.annotations)),
            ttl: None,
        };
        let Ok(queues) = self.route(sent.vhost, sent.exchange, &accepted) else {
            return;
        };
        let mut reached = Vec::new();
        for &key in &queues {
            let cycle = |queue: &Queue| letter.is_cycle(&queue.name);
            if !self.queues.get(key).is_some_and(cycle) && self.arrive(key, accepted.clone(), None)
            {
                reached.push(key);
            }
        }
        self.record_dead_letter(sent.queue, &letter, &reached);
        if self.options.profile.dead_letters_reach_addresses() {
            let requesters = self.requesters(sent.vhost, &accepted);
            self.send_replies(requesters, &letter.message);
        }
        self.router.put_back(queues);
    }
}
