//! Deliveries: the next consumer of a queue, the consumer's credit, and the settling of its
//! deliveries.

use std::slice;
use std::sync::Arc;

use mooq_core::in_flight::InFlight;
use mooq_core::{ChannelEvent, Deliver, Message};

use super::Engine;
use super::channel::{Channel, Ended, Fate};
use super::command::Effect;
use super::consumer::Consumer;
use super::dead_letter::Reason;
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::message::{QueuedMessage, Timed, Unacked};
use super::queue::Queue;
use super::queue::quorum::with_delivery_count;
use super::transit::Parcel;

impl Engine {
    /// Delivers ready messages for as long as a consumer takes them.
    pub(super) fn pump(&mut self, key: QueueId) {
        while self
            .queues
            .get(key)
            .is_some_and(|queue| !queue.ready.is_empty())
        {
            let Some(consumer) = self.next_consumer(key) else {
                return;
            };
            let Some(queued) = self.queues.get_mut(key).and_then(Queue::pop) else {
                return;
            };
            self.deliver(key, consumer, queued);
            self.drop_expired(key);
        }
    }

    /// Returns the consumer that the queue's next message goes to. The consumer's credit is reduced
    /// by one, and the consumer moves to the end of the rotation.
    pub(super) fn next_consumer(&mut self, key: QueueId) -> Option<ConsumerId> {
        loop {
            if self.is_held(key) {
                return None;
            }
            let queue = self.queues.get_mut(key)?;
            if queue.is_quorum() {
                return self.next_quorum_consumer(key);
            }
            let single_active = queue.options.single_active_consumer;
            let candidate = if single_active {
                queue.consumers.sole?
            } else {
                queue.consumers.next()?
            };
            let consumer = self.consumers.get_mut(candidate)?;
            if consumer.parked.is_some() {
                return None; // Only the single active consumer is asked without being in the row.
            }
            let channel = self.channels.get_mut(consumer.channel)?;
            let priority = consumer.priority;
            if take_credit(consumer, channel) {
                if !single_active {
                    queue.consumers.unpark(candidate, priority);
                }
                return Some(candidate);
            }
            self.parkings += 1;
            consumer.parked = Some(self.parkings);
            if single_active {
                queue.consumers.park(candidate, priority);
                return None;
            }
        }
    }

    /// Passes a delivery that has arrived at its channel on to the client.
    pub(super) fn arrive_at_channel(&mut self, key: ChannelId, queue: QueueId, parcel: Parcel) {
        if self.channels.get(key).is_none_or(Channel::has_ended) {
            self.arrive_at_ended_channel(key, queue, parcel);
            return;
        }
        if !self.recordings.is_empty() {
            self.record_delivery(key, queue, &parcel);
        }
        let message = self.as_delivered(queue, &parcel.queued);
        let message = self.perhaps_corrupted(message, queue, key);
        let timed = (!parcel.no_ack).then(|| self.time_delivery(key, queue, Some(parcel.consumer)));
        if parcel.no_ack && self.is_quorum(queue) {
            self.automatic_acks.push(parcel.consumer);
        }
        let stamp = self.stamp();
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        channel.granted.rouse(stamp);
        let delivery_tag = channel.next_delivery_tag();
        self.effects.push_back(Effect::Channel {
            connection: channel.connection,
            channel: channel.number,
            event: ChannelEvent::Deliver(Deliver {
                consumer_tag: parcel.tag,
                delivery_tag,
                redelivered: parcel.queued.is_redelivered(),
                message,
                in_flight: InFlight::default(),
            }),
        });
        if let Some(timed) = timed {
            channel.ledger.enter(Unacked {
                delivery_tag,
                queue,
                consumer: Some(parcel.consumer),
                queued: parcel.queued,
                timed,
            });
        }
    }

    /// Handles a delivery that arrives at a channel that has ended: the client does not see the
    /// delivery, and it is requeued. One that needs no ack is lost, as in RabbitMQ, unless its
    /// queue is a quorum queue and the channel is gone: there, the channel is what acknowledges it.
    /// A channel that has failed still does.
    fn arrive_at_ended_channel(&mut self, key: ChannelId, queue: QueueId, parcel: Parcel) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let delivery_tag = channel.next_delivery_tag();
        if parcel.no_ack {
            let queue = self.queues.get_mut(queue).filter(|queue| queue.is_quorum());
            let Some(queue) = queue else {
                return;
            };
            if channel.ended != Some(Ended::Gone) {
                self.automatic_acks.push(parcel.consumer);
                return;
            }
            queue.tally.acked = queue.tally.acked.saturating_sub(1);
            queue.unacked += 1;
            if let Some(consumer) = self.consumers.get_mut(parcel.consumer) {
                consumer.unacked += 1;
            }
        }
        channel.ledger.enter(Unacked {
            delivery_tag,
            queue,
            consumer: Some(parcel.consumer),
            queued: parcel.queued,
            timed: Timed::Since(self.now),
        });
    }

    /// Returns a message as a consumer gets it.
    pub(super) fn as_delivered(&self, queue: QueueId, queued: &QueuedMessage) -> Arc<Message> {
        if queued.is_redelivered() && self.is_quorum(queue) {
            with_delivery_count(&queued.message, queued.returns, self.options.profile)
        } else {
            Arc::clone(&queued.message)
        }
    }

    /// Returns a message as `basic.get` gets it.
    pub(super) fn as_fetched(&self, queue: QueueId, queued: &QueuedMessage) -> Arc<Message> {
        let profile = self.options.profile;
        if profile.tells_getters_of_no_return() && self.is_quorum(queue) {
            with_delivery_count(&queued.message, queued.returns, profile)
        } else {
            self.as_delivered(queue, queued)
        }
    }

    /// Settles deliveries that were taken out of a channel's ledger, in the order of their tags.
    pub(super) fn settle(&mut self, channel: ChannelId, mut taken: Vec<Unacked>, fate: Fate) {
        self.drop_overdue(&mut taken);
        if taken.is_empty() {
            return;
        }
        self.recordings.settled(channel, &taken, fate);
        let to_consumers = taken
            .iter()
            .filter(|unacked| unacked.consumer.is_some())
            .count();
        let resumed = self.make_room(channel, to_consumers);
        if taken.len() > 1 {
            self.group(&mut taken);
        }
        let mut taken = taken.into_iter().peekable();
        while let Some(unacked) = taken.next() {
            let (queue, consumer) = (unacked.queue, unacked.consumer);
            let mut group = vec![unacked];
            let same = |next: &Unacked| (next.queue, next.consumer) == (queue, consumer);
            while let Some(next) = taken.next_if(|next| consumer.is_some() && same(next)) {
                group.push(next);
            }
            self.settle_group(queue, consumer, group, fate);
        }
        if !resumed.is_empty() {
            // A dead letter is usually in its queue before the limiter wakes that queue.
            self.finish();
        }
        for queue in resumed {
            self.resume(queue, channel);
        }
    }

    /// Subtracts settled deliveries from the count for a channel's limit. Returns the queues to
    /// resume after the settling. A queue of RabbitMQ settles first and then asks if the channel
    /// has room, and by then the channel has room.
    fn make_room(&mut self, channel: ChannelId, deliveries: usize) -> Vec<QueueId> {
        let channel = self.channels.get_mut(channel);
        channel.map_or_else(Vec::new, |channel| channel.limiter.settled(deliveries))
    }

    /// Settles one delivery.
    pub(super) fn settle_one(&mut self, channel: ChannelId, unacked: Unacked, fate: Fate) {
        let queue = self.queues.get_mut(unacked.queue);
        let Some(queue) = queue.filter(|queue| {
            fate == Fate::Acked && unacked.consumer.is_some() && !queue.is_quorum()
        }) else {
            self.settle(channel, vec![unacked], fate);
            return;
        };
        // By far the most frequent case, so every allocation is avoided.
        queue.unacked = queue.unacked.saturating_sub(1);
        queue.tally.acked += 1;
        self.recordings
            .settled(channel, slice::from_ref(&unacked), fate);
        let resumed = self.make_room(channel, 1);
        if self.give_credit(unacked.consumer, 1, fate) {
            self.pump(unacked.queue);
        }
        for queue in resumed {
            self.resume(queue, channel);
        }
    }

    /// Sorts deliveries into the order in which RabbitMQ settles them: queue by queue, the one that
    /// was declared first before the others, and consumer by consumer. Fetched deliveries come
    /// first, each by itself.
    fn group(&self, taken: &mut [Unacked]) {
        let tag = |unacked: &Unacked| {
            let consumer = unacked
                .consumer
                .and_then(|consumer| self.consumers.get(consumer));
            consumer.map(|consumer| consumer.tag.clone())
        };
        taken.sort_by_cached_key(|unacked| {
            (
                self.queues.get(unacked.queue).map(|queue| queue.number),
                tag(unacked),
                unacked.consumer,
                unacked.delivery_tag,
            )
        });
    }

    /// Settles deliveries from one queue to one consumer, or one fetched message.
    fn settle_group(
        &mut self,
        queue: QueueId,
        consumer: Option<ConsumerId>,
        mut group: Vec<Unacked>,
        fate: Fate,
    ) {
        let count = group.len();
        let fetched = if consumer.is_none() { count } else { 0 };
        self.count_settled(queue, count, fetched, fate);
        let unblocked = self.give_credit(consumer, count, fate);
        match fate {
            Fate::Acked => {}
            Fate::Requeued { failed } => self.return_to_queue(queue, group, failed),
            Fate::Rejected { failed } => {
                if let Some(queue) = self.queues.get(queue) {
                    queue.ready.sort_rejected(&mut group);
                }
                for Unacked { mut queued, .. } in group {
                    if let Some(queue) = self.queues.get(queue) {
                        queue.count_failure(&mut queued, failed);
                    }
                    self.bury_queued(queue, &queued, Reason::Rejected);
                }
            }
        }
        let handed_on = self.settled_by_quorum_consumer(queue, consumer, fate);
        if matches!(fate, Fate::Requeued { .. }) {
            self.deliver_returned(queue);
        } else if unblocked || handed_on {
            self.pump(queue);
        }
    }

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
                Err(dead) => self.bury_queued(key, &dead, Reason::DeliveryLimit),
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
        self.pump(key);
        if is_quorum {
            self.drop_over_limit(key);
        }
    }

    /// Counts deliveries as settled; `fetched` of them were fetched by `basic.get`.
    pub(super) fn count_settled(
        &mut self,
        queue: QueueId,
        count: usize,
        fetched: usize,
        fate: Fate,
    ) {
        let Some(queue) = self.queues.get_mut(queue) else {
            return;
        };
        if let Some(quorum) = &mut queue.quorum {
            let fetched = u32::try_from(fetched).unwrap_or(u32::MAX);
            quorum.fetched = quorum.fetched.saturating_sub(fetched);
        }
        let count = count as u64;
        queue.unacked = queue.unacked.saturating_sub(count);
        match fate {
            Fate::Acked => queue.tally.acked += count,
            Fate::Rejected { .. } => queue.tally.rejected += count,
            Fate::Requeued { .. } => {}
        }
    }

    /// Gives a consumer credit for settled deliveries, now or later. Returns true if that puts the
    /// consumer back into the rotation.
    pub(super) fn give_credit(
        &mut self,
        consumer: Option<ConsumerId>,
        count: usize,
        fate: Fate,
    ) -> bool {
        let Some(key) = consumer else {
            return false;
        };
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        consumer.unacked = consumer.unacked.saturating_sub(count);
        if fate == Fate::Acked && self.holds_credit(key, count) {
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
        was_exhausted && *credit > 0 && self.unpark(key)
    }

    /// Puts a consumer back into its queue's rotation. Returns true if the consumer was parked.
    pub(super) fn unpark(&mut self, key: ConsumerId) -> bool {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        if consumer.overdue > 0 || consumer.parked.take().is_none() {
            return false;
        }
        let priority = consumer.priority;
        if let Some(queue) = self.queues.get_mut(consumer.queue) {
            queue.consumers.unpark(key, priority);
        }
        true
    }

    /// Asks a queue again to deliver to the consumers of a channel that has been over its limit.
    pub(super) fn resume(&mut self, queue: QueueId, channel: ChannelId) {
        let Some(channel) = self.channels.get(channel) else {
            return;
        };
        let mut parked: Vec<_> = channel
            .consumers
            .values()
            .filter_map(|key| Some((self.consumers.get(*key)?, *key)))
            .filter(|(consumer, _)| consumer.queue == queue && consumer.credit != Some(0))
            .filter_map(|(consumer, key)| Some((consumer.parked?, key)))
            .collect();
        parked.sort_unstable();
        for (_, consumer) in parked {
            self.unpark(consumer);
        }
        self.pump(queue);
    }
}

/// Takes one off the credit of a consumer, and then off the limit of its channel.
fn take_credit(consumer: &mut Consumer, channel: &mut Channel) -> bool {
    if consumer.credit == Some(0) || !channel.limiter.may_send(consumer.queue, !consumer.no_ack) {
        return false;
    }
    if let Some(credit) = &mut consumer.credit {
        *credit -= 1;
    }
    true
}
