//! Dead letters that a quorum queue keeps until all their targets have accepted them: the
//! dead-letter strategy `at-least-once`
//! ([at-least-once dead lettering](https://www.rabbitmq.com/docs/quorum-queues#dead-lettering)).
//!
//! RabbitMQ has a process for each such queue. The process takes dead messages from the queue,
//! publishes them with publisher confirms, and removes from the queue the messages that every
//! target has confirmed. A message that has no route, or that a target refuses, waits for the
//! process's timer.

use std::time::Duration;

use mooq_core::QueueName;

use super::PendingDeadLetter;
use super::dead_letter::{DeadLetter, Dying, Reason};
use crate::Engine;
use crate::ids::QueueId;
use crate::message::{Accepted, Publisher, QueuedMessage};
use crate::queue::kept_dead_letters::KeptDeadLetters;

/// Shortest time between two attempts: without an interval, the attempts would never end.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// An attempt to publish a dead letter to its targets.
#[derive(Debug)]
struct Attempt {
    /// The attempt is a retry.
    again: bool,
    /// Targets that have accepted the dead letter, on this attempt or earlier.
    taken_by: Vec<QueueName>,
    /// The dead letter's own queue has taken it and does not answer.
    is_unanswered: bool,
    /// The dead letter was offered to a target.
    is_offered: bool,
    /// A target has not accepted the dead letter.
    is_awaited: bool,
}

impl Attempt {
    /// True if the queue need not keep the dead letter any longer, which has these targets.
    ///
    /// A dead letter that some targets have accepted is done when it has no route left. While it has
    /// a route, it is done only once a target accepts it: not when the target that refused it goes
    /// away.
    fn is_done(&self, targets: &[QueueId]) -> bool {
        if targets.is_empty() {
            self.is_offered || !self.taken_by.is_empty()
        } else {
            self.is_offered && !self.is_awaited
        }
    }
}

impl Engine {
    /// Keeps a message that died in a queue until its targets accept it. The message is offered to
    /// its targets after the operation that killed it is done.
    pub(crate) fn keep_dead_letter(
        &mut self,
        key: QueueId,
        queued: &QueuedMessage,
        reason: Reason,
    ) {
        let annotations = queued.annotations_at_death();
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let measure = queue.measure();
        let Some(quorum) = &mut queue.quorum else {
            return;
        };
        let queued = QueuedMessage {
            annotations,
            ..queued.clone()
        };
        quorum.dead_letters.push(queued, reason, measure);
        self.dead_letters.push_back(PendingDeadLetter::Kept(key));
    }

    /// Publishes the dead letters that a queue keeps, as many as may be in flight at once.
    pub(crate) fn publish_kept_dead_letters(&mut self, key: QueueId) {
        let died = (self.options.started + self.now.since_start()).as_secs();
        while let Some(queue) = self.queues.get_mut(key)
            && let Some(quorum) = &mut queue.quorum
            && let Some(number) = quorum.dead_letters.begin(died)
        {
            self.try_dead_letter(key, number, false);
        }
        self.see_to_retry(key);
    }

    /// Retries the dead letters that have no route or were refused.
    pub(crate) fn retry_dead_letters(&mut self, key: QueueId) {
        let interval = self.retry_interval();
        let now = self.now;
        let Some(letters) = self.kept_dead_letters(key) else {
            return;
        };
        for number in letters.start_retry(now, interval) {
            self.try_dead_letter(key, number, true);
        }
        self.publish_kept_dead_letters(key);
    }

    /// Drops the kept dead letters of a queue that no longer keeps dead letters.
    pub(crate) fn drop_kept_dead_letters(&mut self, key: QueueId) {
        let Some(letters) = self.kept_dead_letters(key) else {
            return;
        };
        let letters = std::mem::take(letters);
        let Some(name) = self.queues.get(key).map(|queue| queue.name.clone()) else {
            return;
        };
        for (queued, reason) in letters.into_messages() {
            self.record_drop(name.clone(), reason, &queued.message);
        }
        if let Some(queue) = self.queues.get_mut(key) {
            queue.resume_publishers_if_low();
        }
    }

    fn kept_dead_letters(&mut self, key: QueueId) -> Option<&mut KeptDeadLetters> {
        let quorum = self.queues.get_mut(key)?.quorum.as_mut()?;
        Some(&mut quorum.dead_letters)
    }

    fn retry_interval(&self) -> Duration {
        let interval = self.options.dead_letter_retry_interval;
        interval.max(SHORTEST_INTERVAL)
    }

    /// Starts the retry timer of a queue if it is not running. The timer starts with the first dead
    /// letter that is not accepted, and then keeps running: dead letters have no timers of their
    /// own.
    fn see_to_retry(&mut self, key: QueueId) {
        let at = self.now.plus(self.retry_interval());
        let Some(letters) = self.kept_dead_letters(key) else {
            return;
        };
        if letters.schedule_retry(at) {
            self.timers.set(at, key);
        }
    }

    /// Publishes a dead letter to those of its targets that have not accepted it.
    fn try_dead_letter(&mut self, key: QueueId, number: u64, again: bool) {
        let now = self.now;
        let profile = self.options.profile;
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let vhost = queue.vhost;
        let Some(quorum) = &mut queue.quorum else {
            return;
        };
        let Some(tried) = quorum.dead_letters.find(number) else {
            return;
        };
        let Some(name) = queue.options.dead_letter_exchange.as_ref() else {
            return;
        };
        let exchanges = self.vhosts.get(vhost).map(|vhost| &vhost.exchanges);
        let Some(&exchange) = exchanges.and_then(|exchanges| exchanges.get(name)) else {
            return;
        };
        let dying = Dying {
            message: &tried.queued.message,
            annotations: tried.queued.annotations.as_deref(),
            queue: &queue.name,
            reason: tried.reason,
            time: tried.died,
        };
        let routing_key = queue.options.dead_letter_routing_key.as_ref();
        let letter = DeadLetter::new(&dying, name, routing_key, profile);
        let mut attempt = Attempt {
            again,
            taken_by: tried.taken_by.clone(),
            is_unanswered: tried.is_unanswered,
            is_offered: false,
            is_awaited: false,
        };
        let accepted = Accepted {
            message: letter.message.clone(),
            annotations: Some(letter.annotations.clone()),
            ttl: None,
        };
        let Ok(queues) = self.route(vhost, exchange, &accepted) else {
            return;
        };
        let requesters = if !again && profile.dead_letters_reach_addresses() {
            self.requesters(vhost, &accepted)
        } else {
            Vec::new()
        };
        attempt.is_offered = !requesters.is_empty();
        for &target in &queues {
            self.offer(key, target, &letter, &accepted, &mut attempt);
        }
        self.send_replies(requesters, &letter.message);
        let is_done = attempt.is_done(&queues);
        self.router.put_back(queues);

        let Some(queue) = self.queues.get_mut(key) else {
            return; // It was among its own targets, and has gone.
        };
        let measure = queue.measure();
        let from = queue.name.clone();
        let Some(quorum) = &mut queue.quorum else {
            return;
        };
        if is_done {
            quorum.dead_letters.remove(number, measure);
            queue.tally.dead_lettered += 1;
            queue.resume_publishers_if_low();
            self.record_moved_dead_letter(from, &letter, attempt.taken_by);
        } else if let Some(tried) = quorum.dead_letters.find(number) {
            tried.taken_by = attempt.taken_by;
            tried.is_unanswered = attempt.is_unanswered;
            if attempt.is_offered {
                tried.published = Some(now);
            }
        }
    }

    /// Offers a dead letter of the queue `from` to one of its targets.
    fn offer(
        &mut self,
        from: QueueId,
        target: QueueId,
        letter: &DeadLetter,
        accepted: &Accepted,
        attempt: &mut Attempt,
    ) {
        let Some(name) = self.queues.get(target).map(|target| target.name.clone()) else {
            return;
        };
        if attempt.taken_by.contains(&name) {
            return;
        }
        if letter.is_cycle(&name) {
            // This target is left out. On a retry, RabbitMQ waits for the target nonetheless.
            attempt.is_awaited |= attempt.again;
            return;
        }
        let is_own = target == from && self.options.profile.dead_letters_to_themselves_stay();
        if is_own && attempt.is_unanswered {
            attempt.is_awaited = true;
            return;
        }
        attempt.is_offered = true;
        let publisher = Publisher::DeadLetters(from);
        if !self.arrive(target, accepted.clone(), Some(publisher)) {
            attempt.is_awaited = true;
        } else if is_own {
            attempt.is_unanswered = true;
            attempt.is_awaited = true;
        } else {
            attempt.taken_by.push(name);
        }
    }
}
