//! Consumers of quorum queues: turns, the single active consumer, and the end of consumers.

use std::cmp::Reverse;

use mooq_core::ConsumerTag;

use super::Engine;
use super::channel::Disposition;
use super::consumer::{Consumer, Status};
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::message::Unacked;
use super::queue::quorum::UNLIMITED_PREFETCH;

impl Engine {
    /// Returns the consumer for the queue's next message. The consumer's credit falls by one. The
    /// consumer also moves to the end of the rotation, or is blocked if it has no credit left:
    /// unlike a classic queue, a quorum queue does not wait for the consumer's turn to notice this.
    pub(super) fn next_quorum_consumer(&mut self, key: QueueId) -> Option<ConsumerId> {
        let queue = self.queues.get_mut(key)?;
        let single_active = queue.options.single_active_consumer;
        let candidate = if single_active {
            queue.consumers.active?
        } else {
            queue.consumers.next()?
        };
        let consumer = self.consumers.get_mut(candidate)?;
        if consumer.blocked.is_some() || consumer.status != Status::Up {
            // Only the single active consumer is asked without being in the rotation.
            return None;
        }
        if let Some(credit) = &mut consumer.credit {
            *credit = credit.saturating_sub(1);
        }
        let priority = consumer.priority;
        if consumer.credit == Some(0) {
            self.times_blocked += 1;
            consumer.blocked = Some(self.times_blocked);
            queue.consumers.block(candidate, priority);
        } else if !single_active {
            queue.consumers.unblock(candidate, priority);
        }
        Some(candidate)
    }

    /// Adds a consumer. A consumer that was cancelled on the same channel under the same tag, and
    /// still has unacked deliveries, is revived.
    pub(super) fn attach_quorum_consumer(&mut self, mut new: Consumer) -> ConsumerId {
        let queue = new.queue;
        new.credit = Some(new.credit.unwrap_or(UNLIMITED_PREFETCH));
        let priority = new.priority;
        let cancelled = self.take_cancelled(queue, |consumer| {
            consumer.channel == new.channel && consumer.tag == new.tag
        });
        let key = match cancelled {
            Some(key) => {
                if let Some(consumer) = self.consumers.get_mut(key) {
                    new.number = consumer.number;
                    new.unacked = consumer.unacked;
                    new.credit = new.credit.map(|credit| credit.saturating_sub(new.unacked));
                    *consumer = new;
                }
                key
            }
            None => self.consumers.insert(new),
        };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.consumers.add(key, priority);
            self.in_transit.place_newest(queue, priority);
            if let Some(consumer) = self.consumers.get_mut(key)
                && consumer.credit == Some(0)
            {
                self.times_blocked += 1;
                consumer.blocked = Some(self.times_blocked);
                queue.consumers.block(key, priority);
            }
        }
        self.activate_consumer(queue);
        key
    }

    /// Has quorum queues take the acknowledgements that channels have made for consumers without
    /// acknowledgements. They reach a queue after all that it did when it made the deliveries, so
    /// that the prefetch count limits such a consumer too.
    pub(super) fn take_automatic_acks(&mut self) {
        for key in std::mem::take(&mut self.automatic_acks) {
            let queue = self.consumers.get(key).map(|consumer| consumer.queue);
            if !self.holds_credit(key, 1)
                && self.add_credit(key, 1)
                && let Some(queue) = queue
            {
                self.deliver_ready(queue);
            }
        }
    }

    /// Cancels a consumer of a quorum queue. The queue still counts the consumer while it has
    /// unacked deliveries. Returns false if the consumer is not one of a quorum queue.
    pub(super) fn cancel_quorum_consumer(&mut self, key: ConsumerId) -> bool {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        let queue_key = consumer.queue;
        let Some(queue) = self.queues.get_mut(queue_key) else {
            return false;
        };
        let Some(quorum) = &mut queue.quorum else {
            return false;
        };
        queue.consumers.remove(key, consumer.priority);
        if consumer.unacked > 0 {
            consumer.status = Status::Cancelled;
            consumer.credit = None;
            consumer.blocked = None;
            quorum.cancelled.push(key);
        } else {
            self.consumers.remove(key);
            self.renew_lease(queue_key);
        }
        self.activate_consumer(queue_key);
        self.deliver_ready(queue_key);
        true
    }

    /// Updates a quorum queue after a settlement by one of its consumers. None stands for a fetch.
    /// Returns true if another consumer may be served now.
    pub(super) fn settled_by_quorum_consumer(
        &mut self,
        queue_key: QueueId,
        key: Option<ConsumerId>,
        disposition: Disposition,
    ) -> bool {
        let Some(queue) = self.queues.get_mut(queue_key) else {
            return false;
        };
        let Some(quorum) = &mut queue.quorum else {
            return false;
        };
        let consumer = key.and_then(|key| Some((key, self.consumers.get_mut(key)?)));
        match consumer {
            Some((_, consumer)) if consumer.unacked > 0 => {}
            Some((key, consumer)) if consumer.status == Status::Cancelled => {
                quorum.cancelled.retain(|other| *other != key);
                self.consumers.remove(key);
                self.renew_lease(queue_key);
            }
            Some((_, consumer)) if consumer.status == Status::Quiescing => {
                consumer.status = Status::Up;
                queue.consumers.active = None;
            }
            Some(_) => {}
            None => self.renew_lease(queue_key),
        }
        let requeued = matches!(disposition, Disposition::Requeued { .. });
        if !requeued || self.options.profile.replaces_consumer_that_requeues() {
            self.activate_consumer(queue_key)
        } else {
            false
        }
    }

    /// Drops the cancelled consumers of an ending channel from a queue, and elects a new single
    /// active consumer.
    pub(super) fn end_quorum_consumers(&mut self, queue: QueueId, channel: ChannelId) {
        while let Some(cancelled) = self.take_cancelled(queue, |other| other.channel == channel) {
            self.consumers.remove(cancelled);
        }
        self.activate_consumer(queue);
    }

    /// Returns the sort key of a delivery among all that are requeued when a channel ends: queue by
    /// queue, in a classic queue in the order of delivery, in a quorum queue consumer by consumer.
    pub(super) fn order_of_return(
        &self,
        unacked: &Unacked,
    ) -> (QueueId, u64, Option<ConsumerTag>, u64) {
        let is_quorum = self.is_quorum(unacked.queue);
        let consumer = unacked.consumer.and_then(|key| self.consumers.get(key));
        let by_age = self.options.profile.returns_by_age_of_consumers();
        let (age, tag) = match consumer {
            _ if !is_quorum => (0, None),
            Some(consumer) if by_age => (consumer.number, None),
            Some(consumer) => (0, Some(consumer.tag.clone())),
            None if by_age => (u64::MAX, None),
            None => (0, None),
        };
        (unacked.queue, age, tag, unacked.delivery_tag)
    }

    /// Finds a cancelled consumer of a queue that still has unacked deliveries, and removes it from
    /// the queue's list.
    fn take_cancelled(
        &mut self,
        queue: QueueId,
        is_it: impl Fn(&Consumer) -> bool,
    ) -> Option<ConsumerId> {
        let cancelled = &mut self.queues.get_mut(queue)?.quorum.as_mut()?.cancelled;
        let at = cancelled
            .iter()
            .position(|key| self.consumers.get(*key).is_some_and(&is_it))?;
        Some(cancelled.remove(at))
    }

    /// Makes the best of a quorum queue's consumers the single active one, if the queue is to have
    /// one
    /// ([single active consumer](https://www.rabbitmq.com/docs/consumers#single-active-consumer)).
    /// An active consumer that has unacked deliveries gives way only when it has settled them.
    /// Returns true if there is a new active consumer.
    pub(super) fn activate_consumer(&mut self, key: QueueId) -> bool {
        let gives_way = self.options.profile.single_active_consumer_gives_way();
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        if !queue.is_quorum() || !queue.options.single_active_consumer {
            return false;
        }
        let active = queue.consumers.active;
        let waiting = queue.consumers.iter().filter(|key| Some(*key) != active);
        let ranked = waiting.filter_map(|key| Some((self.consumers.get(key)?, key)));
        let ranked = ranked.filter(|(consumer, _)| consumer.overdue == 0);
        let Some((best, best_key)) = ranked.max_by_key(|(consumer, _)| {
            let credit = consumer.credit.unwrap_or(UNLIMITED_PREFETCH);
            let merit = gives_way.then_some((consumer.priority, credit));
            (merit, Reverse(consumer.number))
        }) else {
            return false;
        };
        let priority = best.priority;
        match active.and_then(|key| self.consumers.get_mut(key)) {
            None => {}
            Some(active) if !gives_way || active.priority >= priority => return false,
            Some(active) if active.unacked > 0 => {
                active.status = Status::Quiescing;
                return false;
            }
            Some(active) => active.status = Status::Up,
        }
        queue.consumers.active = Some(best_key);
        true
    }
}
