//! Dead letters that a quorum queue keeps until their targets have accepted them.

use std::collections::VecDeque;
use std::time::Duration;

use mooq_core::QueueName;

use crate::dead_letters::dead_letter::Reason;
use crate::message::QueuedMessage;
use crate::queue::measure::Measure;
use crate::time::Time;

/// Number of dead letters that a queue publishes before it waits for the first of them to be
/// accepted: RabbitMQ's `dead_letter_worker_consumer_prefetch`. Later ones wait, even those without
/// a route.
const WINDOW: usize = 32;

/// The kept dead letters of a queue, in the order in which they died.
#[derive(Debug, Default)]
pub(crate) struct KeptDeadLetters {
    /// Dead letters that were tried, the oldest first.
    tried: VecDeque<Tried>,
    /// Later dead letters, which wait.
    waiting: VecDeque<(QueuedMessage, Reason)>,
    /// Number of tried dead letters that are still in the queue.
    tried_in_queue: usize,
    /// Size of all dead letters in the queue, in bytes.
    bytes: u64,
    /// Number of dead letters tried so far, by which they are numbered.
    count: u64,
    /// Time at which the dead letters that have no route or were refused are retried.
    retry_at: Option<Time>,
}

/// A dead letter that was tried, and that not all its targets have accepted.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    number: u64,
    pub(crate) queued: QueuedMessage,
    pub(crate) reason: Reason,
    /// Time of the first try, in seconds since the Unix epoch. The headers give this as the time of
    /// death.
    pub(crate) died: u64,
    /// Time of the last publish, if the dead letter ever had a route.
    pub(crate) published: Option<Time>,
    /// The targets that have accepted the dead letter.
    pub(crate) taken_by: Vec<QueueName>,
    /// True if the dead letter was returned to its own queue: RabbitMQ ignores that confirm.
    pub(crate) is_unanswered: bool,
    /// False after a purge, which removes the dead letter from the queue but does not stop its
    /// retries.
    in_queue: bool,
}

impl KeptDeadLetters {
    /// Number of dead letters that count as messages of the queue.
    pub(crate) fn len(&self) -> usize {
        self.tried_in_queue + self.waiting.len()
    }

    /// Size of the dead letters that count as messages of the queue, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn push(&mut self, queued: QueuedMessage, reason: Reason, measure: Measure) {
        self.bytes += measure.of(&queued.message);
        self.waiting.push_back((queued, reason));
    }

    /// Starts the first try of the next dead letter, unless too many are being tried. Returns its
    /// number.
    pub(crate) fn begin(&mut self, died: u64) -> Option<u64> {
        if self.tried_in_queue >= WINDOW {
            return None;
        }
        let (queued, reason) = self.waiting.pop_front()?;
        self.tried_in_queue += 1;
        self.count += 1;
        self.tried.push_back(Tried {
            number: self.count,
            queued,
            reason,
            died,
            published: None,
            taken_by: Vec::new(),
            is_unanswered: false,
            in_queue: true,
        });
        Some(self.count)
    }

    pub(crate) fn find(&mut self, number: u64) -> Option<&mut Tried> {
        self.tried.iter_mut().find(|tried| tried.number == number)
    }

    pub(crate) fn remove(&mut self, number: u64, measure: Measure) {
        let Some(at) = self.tried.iter().position(|tried| tried.number == number) else {
            return;
        };
        if let Some(tried) = self.tried.remove(at)
            && tried.in_queue
        {
            self.tried_in_queue -= 1;
            self.bytes -= measure.of(&tried.queued.message);
        }
        if self.tried.is_empty() {
            self.retry_at = None;
        }
    }

    /// Starts a retry if it is due. Returns the numbers of the dead letters to try again: those
    /// that never had a route, and those that were refused long enough ago.
    pub(crate) fn start_retry(&mut self, now: Time, interval: Duration) -> Vec<u64> {
        if self.is_due(now) {
            self.retry_at = None;
        }
        let due = |tried: &&Tried| tried.published.is_none_or(|at| at.plus(interval) <= now);
        let tried = self.tried.iter().filter(due);
        tried.map(|tried| tried.number).collect()
    }

    /// Removes all dead letters from the queue, and returns their number. The tried ones are still
    /// retried.
    pub(crate) fn purge(&mut self) -> usize {
        let purged = self.len();
        self.waiting.clear();
        for tried in &mut self.tried {
            tried.in_queue = false;
        }
        self.tried_in_queue = 0;
        self.bytes = 0;
        purged
    }

    /// Forgets all tries, as a restart does: the dead letters are as if they had just died.
    pub(crate) fn restart(&mut self) {
        for tried in std::mem::take(&mut self.tried).into_iter().rev() {
            if tried.in_queue {
                self.waiting.push_front((tried.queued, tried.reason));
            }
        }
        self.tried_in_queue = 0;
        self.retry_at = None;
    }

    /// Schedules the next retry for `at`, unless one is scheduled already or there is nothing to
    /// retry. Returns true if it did.
    pub(crate) fn schedule_retry(&mut self, at: Time) -> bool {
        let needs = self.retry_at.is_none() && !self.tried.is_empty();
        if needs {
            self.retry_at = Some(at);
        }
        needs
    }

    /// Returns all dead letters in the order in which they died.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = (QueuedMessage, Reason)> {
        let tried = self.tried.into_iter();
        let tried = tried.map(|tried| (tried.queued, tried.reason));
        tried.chain(self.waiting)
    }

    /// True if a retry is due.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }
}
