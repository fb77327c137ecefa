//! Requeueing of deliveries: their places in the queue, and the delivery of what was requeued.

use super::Engine;
use super::dead_letters::dead_letter::Reason;
use super::ids::QueueId;
use super::message::Unacked;
use super::queue::Queue;

impl Engine {
    /// Requeues deliveries at the place to which a consumer's requeued deliveries return.
    pub(super) fn return_to_queue(&mut self, key: QueueId, group: Vec<Unacked>, failed: bool) {
        let profile = self.options.profile;
        let behind = |queue: &Queue| queue.requeues_behind(profile);
        if self.queues.get(key).is_some_and(behind) {
            self.put_last(key, group);
        } else {
            self.put_back(key, group, failed);
        }
    }

    /// Requeues deliveries at their places in the queue. Messages that were requeued too often go
    /// to the dead-letter exchange.
    pub(super) fn put_back(&mut self, key: QueueId, group: Vec<Unacked>, failed: bool) {
        for Unacked { queued, .. } in group {
            let Some(queue) = self.queues.get_mut(key) else {
                return;
            };
            match queue.put_back(queued, failed, self.now, self.options.profile) {
                Ok(None) => {}
                Ok(Some(until)) => self.timers.set(until, key),
                Err(dead) => self.dead_letter_queued(key, &dead, Reason::DeliveryLimit),
            }
        }
    }

    /// Requeues deliveries behind all messages in the queue.
    fn put_last(&mut self, key: QueueId, group: Vec<Unacked>) {
        if let Some(queue) = self.queues.get_mut(key) {
            for Unacked { queued, .. } in group {
                queue.put_last(queued);
            }
        }
    }

    /// Delivers requeued messages. A classic queue drops messages over its limits before that, a
    /// quorum queue after it.
    pub(super) fn deliver_returned(&mut self, key: QueueId) {
        let is_quorum = self.is_quorum(key);
        if !is_quorum {
            self.drop_over_limit(key);
        }
        self.drop_expired(key);
        self.deliver_ready(key);
        if is_quorum {
            self.drop_over_limit(key);
        }
    }
}
