//! A queue's timer: its lease, its overdue deliveries, its expired and delayed messages, and the
//! retries of its dead letters.

use super::Engine;
use super::ids::QueueId;
use super::time::Time;

impl Engine {
    /// Restarts the time for which a queue may stay unused, if the queue expires.
    pub(super) fn renew_lease(&mut self, key: QueueId) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        if let Some(millis) = queue.options.expires
            && queue.consumer_count() == 0
        {
            let until = self.now.plus_millis(millis);
            queue.unused_until = Some(until);
            self.timers.set(until, key);
        }
    }

    /// Handles a queue whose timer is due.
    pub(super) fn wake_queue(&mut self, key: QueueId, at: Time) {
        self.take_back_overdue(key, at);
        let Some(queue) = self.queues.get(key) else {
            return;
        };
        let unused = queue.unused_until.is_some_and(|until| until <= at);
        if unused && queue.consumer_count() == 0 {
            self.delete_queue(key);
            return;
        }
        let quorum = queue.quorum.as_ref();
        if quorum.is_some_and(|quorum| quorum.dead_letters.is_due(at)) {
            self.retry_dead_letters(key);
        }
        let returned = self.queues.get_mut(key).is_some_and(|q| q.end_delays(at));
        if returned {
            self.deliver_returned(key);
        } else {
            self.drop_expired(key);
        }
    }
}
