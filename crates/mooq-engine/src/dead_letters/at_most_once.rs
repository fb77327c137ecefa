//! Dead letters that a queue publishes once and then forgets: the dead-letter strategy
//! `at-most-once`, which every queue has unless it asks for another
//! ([dead letter exchanges](https://www.rabbitmq.com/docs/dlx)).

use std::sync::Arc;

use mooq_core::{Message, QueueName};

use super::PendingDeadLetter;
use super::dead_letter::{Annotations, DeadLetter, Dying, Reason};
use crate::Engine;
use crate::ids::{ExchangeId, QueueId, VhostId};
use crate::message::Accepted;
use crate::queue::Queue;

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
    /// Dead-letters a message that has left a queue, if the queue has a dead-letter exchange and
    /// that exchange exists.
    pub(crate) fn dead_letter(
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

    /// Publishes a dead letter to its exchange.
    pub(super) fn publish_dead_letter(&mut self, sent: SentDeadLetter) {
        let letter = sent.letter;
        let accepted = Accepted {
            message: Arc::clone(&letter.message),
            annotations: Some(Arc::clone(&letter.annotations)),
            ttl: None,
        };
        let Ok(queues) = self.route(sent.vhost, sent.exchange, &accepted) else {
            return;
        };
        self.note_dead_letter(&sent.queue, &letter, &queues);
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
