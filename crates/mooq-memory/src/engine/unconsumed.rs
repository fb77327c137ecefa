//! What leaves a queue without being consumed: too many, too old, or rejected. It is dropped, or
//! goes to the queue's dead-letter exchange.

use std::sync::Arc;

use mooq_core::{Message, QueueName};

use super::Engine;
use super::acceptance::Accepted;
use super::arena::Key;
use super::dead_letter::{Annotations, DeadLetter, Dying, Reason};
use super::exchange::Exchange;
use super::queue::Queue;
use super::queue::arguments::Overflow;
use super::queue::ready::QueuedMessage;
use super::vhost::VirtualHost;

/// A dead letter on its way to its exchange.
#[derive(Debug)]
pub(crate) struct PendingDeadLetter {
    vhost: Key<VirtualHost>,
    /// The queue that it comes from.
    queue: QueueName,
    exchange: Key<Exchange>,
    letter: DeadLetter,
}

impl Engine {
    /// Drops from the head what is too much. Says whether that was anything.
    pub(super) fn drop_over_limit(&mut self, key: Key<Queue>) -> bool {
        let mut any = false;
        while let Some(queue) = self.queues.get_mut(key) {
            if !queue.is_over_limit(0, 0) {
                break;
            }
            if queue.options.overflow != Overflow::DropHead {
                queue.close_gate();
                break;
            }
            let Some(dropped) = queue.pop() else {
                break;
            };
            queue.tally.dropped += 1;
            self.bury_queued(key, &dropped, Reason::MaxLen);
            any = true;
        }
        any
    }

    /// Drops from the head what has expired, and sees to it that the next one is looked at in
    /// time.
    pub(super) fn drop_expired(&mut self, key: Key<Queue>) {
        while let Some(queue) = self.queues.get_mut(key) {
            let Some(expires) = queue.ready.front().and_then(|head| head.expires) else {
                return;
            };
            if expires > self.now {
                self.timers.set(expires, key);
                return;
            }
            let Some(expired) = queue.pop() else {
                return;
            };
            queue.tally.expired += 1;
            self.bury_queued(key, &expired, Reason::Expired);
        }
    }

    /// Makes a dead letter of a message that was in a queue.
    pub(super) fn bury_queued(
        &mut self,
        queue: Key<Queue>,
        queued: &QueuedMessage,
        reason: Reason,
    ) {
        let annotations = queued.annotations_at_death();
        self.bury(queue, &queued.message, annotations.as_deref(), reason);
    }

    /// Makes a dead letter of a message that has left a queue, if the queue has a dead-letter
    /// exchange and that exists.
    pub(super) fn bury(
        &mut self,
        queue: Key<Queue>,
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
        self.dead_letters.push_back(PendingDeadLetter {
            vhost: queue.vhost,
            queue: queue.name.clone(),
            exchange,
            letter,
        });
    }

    /// Publishes the dead letters on their way, and those that come of it.
    pub(super) fn finish_dead_letters(&mut self) {
        while let Some(pending) = self.dead_letters.pop_front() {
            let letter = pending.letter;
            let accepted = Accepted {
                message: Arc::clone(&letter.message),
                annotations: Some(Arc::clone(&letter.annotations)),
                ttl: None,
            };
            let Ok(queues) = self.route(pending.vhost, pending.exchange, &accepted) else {
                continue;
            };
            let mut reached = Vec::new();
            for &key in &queues {
                let cycle = |queue: &Queue| letter.is_cycle(&queue.name);
                if !self.queues.get(key).is_some_and(cycle)
                    && self.arrive(key, accepted.clone(), None)
                {
                    reached.push(key);
                }
            }
            self.record_dead_letter(pending.queue, &letter, &reached);
            self.router.put_back(queues);
        }
    }
}
