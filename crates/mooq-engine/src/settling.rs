//! Settling of deliveries: the message is done with, requeued or dead-lettered, and its consumer
//! and its channel may get more.

use std::slice;

use super::Engine;
use super::channel::Disposition;
use super::dead_letters::dead_letter::Reason;
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::message::Unacked;

impl Engine {
    /// Settles deliveries that were taken from a channel's unacked ones, in the order of their
    /// tags.
    pub(super) fn settle(
        &mut self,
        channel: ChannelId,
        mut taken: Vec<Unacked>,
        disposition: Disposition,
    ) {
        self.drop_overdue(&mut taken);
        if taken.is_empty() {
            return;
        }
        self.record_settled(channel, &taken, disposition);
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
            self.settle_group(queue, consumer, group, disposition);
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
    pub(super) fn settle_one(
        &mut self,
        channel: ChannelId,
        unacked: Unacked,
        disposition: Disposition,
    ) {
        let queue = self.queues.get_mut(unacked.queue);
        let Some(queue) = queue.filter(|queue| {
            disposition == Disposition::Acked && unacked.consumer.is_some() && !queue.is_quorum()
        }) else {
            self.settle(channel, vec![unacked], disposition);
            return;
        };
        // By far the most frequent case, so every allocation is avoided.
        queue.unacked = queue.unacked.saturating_sub(1);
        queue.tally.acked += 1;
        self.record_settled(channel, slice::from_ref(&unacked), disposition);
        let resumed = self.make_room(channel, 1);
        if self.give_credit(unacked.consumer, 1, disposition) {
            self.deliver_ready(unacked.queue);
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
        disposition: Disposition,
    ) {
        let count = group.len();
        let fetched = if consumer.is_none() { count } else { 0 };
        self.count_settled(queue, count, fetched, disposition);
        let unblocked = self.give_credit(consumer, count, disposition);
        match disposition {
            Disposition::Acked => {}
            Disposition::Requeued { failed } => self.return_to_queue(queue, group, failed),
            Disposition::Rejected { failed } => {
                if let Some(queue) = self.queues.get(queue) {
                    queue.ready.sort_rejected(&mut group);
                }
                for Unacked { mut queued, .. } in group {
                    if let Some(queue) = self.queues.get(queue) {
                        queue.count_failure(&mut queued, failed);
                    }
                    self.dead_letter_queued(queue, &queued, Reason::Rejected);
                }
            }
        }
        let handed_on = self.settled_by_quorum_consumer(queue, consumer, disposition);
        if matches!(disposition, Disposition::Requeued { .. }) {
            self.deliver_returned(queue);
        } else if unblocked || handed_on {
            self.deliver_ready(queue);
        }
    }

    /// Counts deliveries as settled; `fetched` of them were fetched by `basic.get`.
    pub(super) fn count_settled(
        &mut self,
        queue: QueueId,
        count: usize,
        fetched: usize,
        disposition: Disposition,
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
        match disposition {
            Disposition::Acked => queue.tally.acked += count,
            Disposition::Rejected { .. } => queue.tally.rejected += count,
            Disposition::Requeued { .. } => {}
        }
    }
}
