//! A consumer's credit: the number of deliveries that it may still get before it settles one.

use super::Engine;
use super::channel::Disposition;
use super::ids::ConsumerId;

impl Engine {
    /// Gives a consumer credit for settled deliveries, now or later. Returns true if that puts the
    /// consumer back into the rotation.
    pub(super) fn give_credit(
        &mut self,
        consumer: Option<ConsumerId>,
        count: usize,
        disposition: Disposition,
    ) -> bool {
        let Some(key) = consumer else {
            return false;
        };
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        consumer.unacked = consumer.unacked.saturating_sub(count);
        if disposition == Disposition::Acked && self.holds_credit(key, count) {
            return false;
        }
        self.add_credit(key, count)
    }

    /// Adds to a consumer's credit. Returns true if that puts the consumer back into the rotation.
    pub(super) fn add_credit(&mut self, key: ConsumerId, count: u32) -> bool {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        let Some(credit) = &mut consumer.credit else {
            return false;
        };
        let was_exhausted = *credit == 0;
        *credit = credit.saturating_add(count);
        was_exhausted && *credit > 0 && self.unblock(key)
    }

    /// Puts a consumer back into its queue's rotation. Returns true if the consumer was blocked.
    pub(super) fn unblock(&mut self, key: ConsumerId) -> bool {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        if consumer.overdue > 0 || consumer.blocked.take().is_none() {
            return false;
        }
        let priority = consumer.priority;
        if let Some(queue) = self.queues.get_mut(consumer.queue) {
            queue.consumers.unblock(key, priority);
        }
        true
    }
}
