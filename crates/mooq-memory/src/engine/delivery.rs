//! How messages go out: whose turn it is, who can take more, and what settling gives back.

use std::slice;
use std::sync::Arc;

use mooq_core::in_flight::InFlight;
use mooq_core::{ChannelEvent, Deliver, Message};

use super::Engine;
use super::arena::Key;
use super::channel::{Channel, Fate};
use super::command::Effect;
use super::consumer::Consumer;
use super::dead_letter::Reason;
use super::ledger::Unacked;
use super::queue::Queue;
use super::queue::quorum::with_delivery_count;
use super::queue::ready::QueuedMessage;
use super::transit::Parcel;

impl Engine {
    /// Delivers what is ready for as long as a consumer takes it.
    pub(super) fn pump(&mut self, key: Key<Queue>) {
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

    /// The consumer that the queue's next message goes to. What it may take is one less then, and
    /// it has gone to the end of the row.
    pub(super) fn next_consumer(&mut self, key: Key<Queue>) -> Option<Key<Consumer>> {
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

    /// Hands a delivery on to the client: it has arrived at its channel.
    pub(super) fn arrive_at_channel(
        &mut self,
        key: Key<Channel>,
        queue: Key<Queue>,
        parcel: Parcel,
    ) {
        if !self.recordings.is_empty() {
            self.record_delivery(key, queue, &parcel);
        }
        let message = self.as_delivered(queue, &parcel.queued);
        let message = self.perhaps_corrupted(message, queue, key);
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
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
        if !parcel.no_ack {
            channel.ledger.enter(Unacked {
                delivery_tag,
                queue,
                consumer: Some(parcel.consumer),
                queued: parcel.queued,
            });
        }
    }

    /// A message as whoever it is delivered to gets it.
    pub(super) fn as_delivered(&self, queue: Key<Queue>, queued: &QueuedMessage) -> Arc<Message> {
        if queued.is_redelivered() && self.queues.get(queue).is_some_and(Queue::is_quorum) {
            with_delivery_count(&queued.message, queued.returns, self.options.profile)
        } else {
            Arc::clone(&queued.message)
        }
    }

    /// A message as whoever fetches it gets it.
    pub(super) fn as_fetched(&self, queue: Key<Queue>, queued: &QueuedMessage) -> Arc<Message> {
        let profile = self.options.profile;
        if profile.tells_getters_of_no_return()
            && self.queues.get(queue).is_some_and(Queue::is_quorum)
        {
            with_delivery_count(&queued.message, queued.returns, profile)
        } else {
            self.as_delivered(queue, queued)
        }
    }

    /// Settles deliveries that were taken out of a channel's ledger, in the order of their tags.
    pub(super) fn settle(&mut self, channel: Key<Channel>, mut taken: Vec<Unacked>, fate: Fate) {
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
        for queue in resumed {
            self.resume(queue, channel);
        }
    }

    /// Takes settled deliveries off what counts for a channel's limit. Gives the queues to resume
    /// after the settling: RabbitMQ's queues settle and then ask whether the channel has room,
    /// which has room by then.
    fn make_room(&mut self, channel: Key<Channel>, deliveries: usize) -> Vec<Key<Queue>> {
        let channel = self.channels.get_mut(channel);
        channel.map_or_else(Vec::new, |channel| channel.limiter.settled(deliveries))
    }

    /// Settles one delivery.
    pub(super) fn settle_one(&mut self, channel: Key<Channel>, unacked: Unacked, fate: Fate) {
        let queue = self.queues.get_mut(unacked.queue);
        let Some(queue) = queue.filter(|queue| {
            fate == Fate::Acked && unacked.consumer.is_some() && !queue.is_quorum()
        }) else {
            self.settle(channel, vec![unacked], fate);
            return;
        };
        // By far the most frequent case, spared every allocation.
        queue.unacked = queue.unacked.saturating_sub(1);
        queue.tally.acked += 1;
        self.recordings
            .settled(channel, slice::from_ref(&unacked), fate);
        let resumed = self.make_room(channel, 1);
        if self.give_credit(unacked.consumer, 1) {
            self.pump(unacked.queue);
        }
        for queue in resumed {
            self.resume(queue, channel);
        }
    }

    /// As RabbitMQ does it, deliveries are settled queue by queue and consumer by consumer; those
    /// that were fetched each by itself, and first.
    fn group(&self, taken: &mut [Unacked]) {
        let tag = |unacked: &Unacked| {
            let consumer = unacked
                .consumer
                .and_then(|consumer| self.consumers.get(consumer));
            consumer.map(|consumer| consumer.tag.clone())
        };
        taken.sort_by_cached_key(|unacked| {
            (
                unacked.queue,
                tag(unacked),
                unacked.consumer,
                unacked.delivery_tag,
            )
        });
    }

    /// Settles deliveries from one queue to one consumer, or one that was fetched.
    fn settle_group(
        &mut self,
        queue: Key<Queue>,
        consumer: Option<Key<Consumer>>,
        mut group: Vec<Unacked>,
        fate: Fate,
    ) {
        let count = group.len();
        let fetched = if consumer.is_none() { count } else { 0 };
        self.count_settled(queue, count, fetched, fate);
        let unblocked = self.give_credit(consumer, count);
        match fate {
            Fate::Acked => {}
            Fate::Requeued { failed } => {
                if self.queues.get(queue).is_some_and(Queue::requeues_behind) {
                    self.put_last(queue, group);
                } else {
                    self.put_back(queue, group, failed);
                }
            }
            Fate::Rejected { failed } => {
                if let Some(queue) = self.queues.get(queue) {
                    queue.ready.sort_rejected(&mut group);
                }
                for Unacked { mut queued, .. } in group {
                    queued.returns.failed = queued.returns.failed.saturating_add(failed.into());
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

    /// Puts deliveries back to their places in the queue. Those that came back too often go to
    /// the dead-letter exchange.
    pub(super) fn put_back(&mut self, key: Key<Queue>, group: Vec<Unacked>, failed: bool) {
        for Unacked { queued, .. } in group {
            let Some(queue) = self.queues.get_mut(key) else {
                return;
            };
            if let Err(dead) = queue.put_back(queued, failed, self.options.profile) {
                self.bury_queued(key, &dead, Reason::DeliveryLimit);
            }
        }
    }

    /// Puts deliveries behind all that is in the queue.
    fn put_last(&mut self, key: Key<Queue>, group: Vec<Unacked>) {
        if let Some(queue) = self.queues.get_mut(key) {
            for Unacked { queued, .. } in group {
                queue.put_last(queued);
            }
        }
    }

    /// Delivers what has come back. A classic queue drops what is too much before that, a quorum
    /// queue after it.
    pub(super) fn deliver_returned(&mut self, key: Key<Queue>) {
        let is_quorum = self.queues.get(key).is_some_and(Queue::is_quorum);
        if !is_quorum {
            self.drop_over_limit(key);
        }
        self.drop_expired(key);
        self.pump(key);
        if is_quorum {
            self.drop_over_limit(key);
        }
    }

    /// Counts deliveries as settled, `fetched` of which were got by `basic.get`.
    pub(super) fn count_settled(
        &mut self,
        queue: Key<Queue>,
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

    /// Gives a consumer back what it may take. Says whether that puts it back into the row.
    fn give_credit(&mut self, consumer: Option<Key<Consumer>>, count: usize) -> bool {
        let Some(key) = consumer else {
            return false;
        };
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        consumer.unacked = consumer.unacked.saturating_sub(count);
        let Some(credit) = &mut consumer.credit else {
            return false;
        };
        let was_exhausted = *credit == 0;
        *credit = credit.saturating_add(count);
        was_exhausted && self.unpark(key)
    }

    /// Puts a consumer back into its queue's row. Says whether it was parked.
    fn unpark(&mut self, key: Key<Consumer>) -> bool {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        if consumer.parked.take().is_none() {
            return false;
        }
        let priority = consumer.priority;
        if let Some(queue) = self.queues.get_mut(consumer.queue) {
            queue.consumers.unpark(key, priority);
        }
        true
    }

    /// Asks a queue again to deliver to the consumers of a channel, which has been over its limit.
    pub(super) fn resume(&mut self, queue: Key<Queue>, channel: Key<Channel>) {
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

/// Takes one off what a consumer may get, its own limit first and then the channel's.
fn take_credit(consumer: &mut Consumer, channel: &mut Channel) -> bool {
    if consumer.credit == Some(0) || !channel.limiter.may_send(consumer.queue, !consumer.no_ack) {
        return false;
    }
    if let Some(credit) = &mut consumer.credit {
        *credit -= 1;
    }
    true
}
