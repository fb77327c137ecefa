//! Messages that leave a queue unconsumed because they are too many or too old.

use super::dead_letter::Reason;
use crate::Engine;
use crate::ids::QueueId;
use crate::message::QueuedMessage;
use crate::queue::arguments::Overflow;

impl Engine {
    /// Drops messages from the head until the queue is within its limits. Returns true if any were
    /// dropped.
    pub(crate) fn drop_over_limit(&mut self, key: QueueId) -> bool {
        let mut dropped = Vec::new();
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        while queue.is_over_limit(0, 0) {
            if queue.options.overflow != Overflow::DropHead {
                queue.stop_publishers();
                break;
            }
            let Some(head) = queue.pop() else {
                break;
            };
            queue.tally.dropped += 1;
            dropped.push(head);
        }
        if queue.is_quorum() && self.options.profile.dead_letters_dropped_newest_first() {
            dropped.reverse();
        }
        for head in &dropped {
            self.dead_letter_queued(key, head, Reason::MaxLen);
        }
        !dropped.is_empty()
    }

    /// Drops expired messages from the head, and sets a timer for the next one to expire.
    pub(crate) fn drop_expired(&mut self, key: QueueId) {
        let now = self.now;
        while let Some(queue) = self.queues.get_mut(key) {
            let Some(expired) = queue.pop_expired(now) else {
                if let Some(expires) = queue.ready.next_expiry() {
                    self.timers.set(expires, key);
                }
                return;
            };
            queue.tally.expired += 1;
            self.dead_letter_queued(key, &expired, Reason::Expired);
        }
    }

    /// Drops a message that no consumer takes on arrival, from a queue that keeps nothing.
    pub(crate) fn drop_on_arrival(&mut self, key: QueueId, queued: &QueuedMessage) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.tally.expired += 1;
        }
        self.dead_letter_queued(key, queued, Reason::Expired);
    }
}
