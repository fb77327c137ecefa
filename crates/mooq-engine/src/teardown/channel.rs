//! Teardown of a channel with its consumers and deliveries, and of a connection with its channels
//! and exclusive queues.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::Engine;
use crate::channel::{Disposition, Ended, PublishingMode};
use crate::ids::{ChannelId, ConnectionId, ConsumerId, QueueId};
use crate::message::{Timed, Unacked};
use crate::queue::Queue;
use crate::recording::Settled;

impl Engine {
    /// Tears a channel down: cancels its consumers, requeues its unacked deliveries, which are
    /// recorded as `settled`. The channel itself is removed by the code that closes it. To quorum
    /// queues a channel that has failed ends only when its client has answered the close: they
    /// watch the channel's process.
    ///
    /// As in RabbitMQ, the channel's queues are notified one after another, and each queue acts at
    /// once. So a dead letter from one queue can still be delivered to a consumer of the channel on
    /// the next queue. The client no longer sees such a delivery.
    pub(crate) fn end_channel(&mut self, key: ChannelId, how: Ended, settled: Settled) {
        self.await_channel(key);
        self.finish();
        self.cancel_replies(key, None);
        self.record_end(key, settled);
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        channel.ended = Some(how);
        if let PublishingMode::Transaction(transaction) = &mut channel.publishing {
            // Deliveries that were acknowledged in the transaction and not committed are
            // outstanding as well.
            let settlements = std::mem::take(&mut transaction.settlements);
            let outstanding = settlements.into_iter().flat_map(|(_, unacked)| unacked);
            channel.unacked.restore(outstanding.collect());
        }
        let consumers = self.take_ending_consumers(key);
        let mut taken = self.take_ending_deliveries(key);
        taken.retain(|unacked| unacked.timed != Timed::Out);
        for queue in self.queues_by_turn(&consumers, &taken) {
            self.await_channel(key);
            taken.extend(self.take_ending_deliveries(key));
            let (mut group, others): (Vec<_>, _) = taken
                .into_iter()
                .partition(|unacked| unacked.queue == queue);
            taken = others;
            group.sort_by_cached_key(|unacked| self.order_of_return(unacked));
            for &consumer in &consumers {
                if self
                    .consumers
                    .get(consumer)
                    .is_some_and(|c| c.queue == queue)
                {
                    self.detach_consumer(consumer);
                }
            }
            self.end_channel_on(queue, key, group);
            self.finish();
        }
    }

    /// Takes the consumers of a channel for whose queues the channel ends now.
    fn take_ending_consumers(&mut self, key: ChannelId) -> Vec<ConsumerId> {
        let Some(channel) = self.channels.get_mut(key) else {
            return Vec::new();
        };
        let failed = channel.ended == Some(Ended::Failed);
        let all = std::mem::take(&mut channel.consumers);
        let stays = |consumer: &ConsumerId| {
            let queue = self.consumers.get(*consumer).map(|one| one.queue);
            failed && queue.is_some_and(|queue| self.is_quorum(queue))
        };
        let (staying, ending): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, consumer)| stays(consumer));
        if let Some(channel) = self.channels.get_mut(key) {
            channel.consumers = staying;
        }
        ending.into_values().collect()
    }

    /// Takes the unacked deliveries of a channel for whose queues the channel ends now.
    fn take_ending_deliveries(&mut self, key: ChannelId) -> Vec<Unacked> {
        let Some(channel) = self.channels.get_mut(key) else {
            return Vec::new();
        };
        let failed = channel.ended == Some(Ended::Failed);
        let all = channel.unacked.take_all();
        let (staying, ending): (Vec<_>, _) = all
            .into_iter()
            .partition(|unacked| failed && self.is_quorum(unacked.queue));
        if let Some(channel) = self.channels.get_mut(key) {
            channel.unacked.restore(staying);
        }
        ending
    }

    /// Returns the queues to notify of a channel's end, in their order: classic queues that the
    /// channel consumes from, the latest declared first, then the others.
    fn queues_by_turn(&self, consumers: &[ConsumerId], taken: &[Unacked]) -> Vec<QueueId> {
        let consumed = consumers.iter().filter_map(|key| self.consumers.get(*key));
        let consumed: Vec<_> = consumed.map(|consumer| consumer.queue).collect();
        let mut queues = consumed.clone();
        queues.extend(taken.iter().map(|unacked| unacked.queue));
        queues.sort_unstable();
        queues.dedup();
        queues.sort_by_key(|key| {
            let queue = self.queues.get(*key);
            let is_told = queue.is_some_and(|q| !q.is_quorum()) && consumed.contains(key);
            (!is_told, Reverse(queue.map(|queue| queue.number)))
        });
        queues
    }

    /// Ends a channel's use of a queue. The channel's consumers are already detached from the
    /// queue.
    fn end_channel_on(&mut self, queue: QueueId, channel: ChannelId, group: Vec<Unacked>) {
        if self.queues.get(queue).is_some_and(Queue::is_abandoned) {
            self.delete_queue(queue);
            return;
        }
        let failed = self.options.profile.counts_as_failed_at_end_of_channel();
        let fetched = group.iter().filter(|u| u.consumer.is_none()).count();
        self.count_settled(
            queue,
            group.len(),
            fetched,
            Disposition::Requeued { failed },
        );
        self.end_quorum_consumers(queue, channel);
        self.renew_lease(queue);
        self.put_back(queue, group, failed);
        self.deliver_returned(queue);
    }

    /// Tears a connection down: ends all its channels, then deletes its exclusive queues.
    pub(crate) fn end_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let channels: Vec<_> = connection.channels().collect();
        for channel in channels {
            self.end_channel(channel, Ended::Gone, Settled::ConnectionClosed);
            self.channels.remove(channel);
        }
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        for queue in connection.exclusive_queues {
            self.delete_queue(queue);
        }
    }
}
