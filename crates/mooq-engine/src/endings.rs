//! Teardown: of a channel with its consumers and deliveries, of a connection with its channels and
//! exclusive queues, of a queue with its bindings, and of auto-delete exchanges without bindings.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mooq_core::{ChannelEvent, ConsumerTag};

use super::Engine;
use super::bindings::Destination;
use super::channel::{Ended, Fate, PublishingMode};
use super::command::Effect;
use super::exchange::Exchange;
use super::ids::{ChannelId, ConnectionId, ConsumerId, ExchangeId, QueueId};
use super::message::{Timed, Unacked};
use super::queue::Queue;
use super::queue::tally::QueueTally;
use super::recording::Settled;
use super::time::Time;

impl Engine {
    /// Tears a channel down: cancels its consumers, requeues its unacked deliveries, which are
    /// recorded as `settled`. The channel itself is removed by the code that closes it. To quorum
    /// queues a channel that has failed ends only when its client has answered the close: they watch
    /// the channel's process.
    ///
    /// As in RabbitMQ, the channel's queues are notified one after another, and each queue acts at
    /// once. So a dead letter from one queue can still be delivered to a consumer of the channel on
    /// the next queue. The client no longer sees such a delivery.
    pub(super) fn end_channel(&mut self, key: ChannelId, how: Ended, settled: Settled) {
        self.await_channel(key);
        self.finish();
        self.cancel_replies(key, None);
        self.recordings.ended(key, settled);
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        channel.ended = Some(how);
        if let PublishingMode::Transaction(transaction) = &mut channel.publishing {
            // Deliveries that were acknowledged in the transaction and not committed are
            // outstanding as well.
            let settlements = std::mem::take(&mut transaction.settlements);
            let outstanding = settlements.into_iter().flat_map(|(_, unacked)| unacked);
            channel.ledger.restore(outstanding.collect());
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
        let all = channel.ledger.take_all();
        let (staying, ending): (Vec<_>, _) = all
            .into_iter()
            .partition(|unacked| failed && self.is_quorum(unacked.queue));
        if let Some(channel) = self.channels.get_mut(key) {
            channel.ledger.restore(staying);
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
        let failed = self.options.profile.takes_for_failed_at_end_of_channel();
        let fetched = group.iter().filter(|u| u.consumer.is_none()).count();
        self.count_settled(queue, group.len(), fetched, Fate::Requeued { failed });
        self.end_quorum_consumers(queue, channel);
        self.renew_lease(queue);
        self.put_back(queue, group, failed);
        self.deliver_returned(queue);
    }

    /// Tears a connection down: ends all its channels, then deletes its exclusive queues.
    pub(super) fn end_connection(&mut self, id: ConnectionId) {
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

    /// Removes a consumer and returns its queue. The caller handles the consequences for the queue.
    pub(super) fn detach_consumer(&mut self, key: ConsumerId) -> Option<QueueId> {
        let consumer = self.consumers.remove(key)?;
        let queue = self.queues.get_mut(consumer.queue)?;
        let was_sole = queue.consumers.sole == Some(key);
        queue.consumers.remove(key, consumer.priority);
        if was_sole && queue.options.single_active_consumer && !queue.is_quorum() {
            queue.consumers.sole = queue.consumers.peek();
        }
        Some(consumer.queue)
    }

    /// Removes a queue and notifies its consumers. Returns the number of ready messages.
    pub(super) fn delete_queue(&mut self, key: QueueId) -> usize {
        self.await_queue(key);
        let Some(queue) = self.queues.remove(key) else {
            return 0;
        };
        if let Some(vhost) = self.vhosts.get_mut(queue.vhost) {
            vhost.queues.remove(&queue.name);
        }
        if let Some(owner) = queue
            .owner
            .and_then(|owner| self.connections.get_mut(owner))
        {
            owner.exclusive_queues.retain(|other| *other != key);
        }
        for (source, routing_key) in &queue.bound_to {
            if let Some(exchange) = self.exchanges.get_mut(*source) {
                exchange
                    .bindings
                    .remove_all(Destination::Queue(key), routing_key);
            }
        }
        for (source, _) in &queue.bound_to {
            self.delete_exchange_if_abandoned(*source);
        }
        self.forget_consumers(queue.consumers.into_all());
        for cancelled in queue
            .quorum
            .map(|quorum| quorum.lingering)
            .unwrap_or_default()
        {
            self.consumers.remove(cancelled);
        }
        queue.ready.len()
    }

    /// Notifies the consumers of a deleted queue, if their clients support that
    /// ([consumer cancellation](https://www.rabbitmq.com/docs/consumer-cancel)).
    fn forget_consumers(&mut self, consumers: Vec<ConsumerId>) {
        for key in consumers {
            let Some(consumer) = self.consumers.remove(key) else {
                continue;
            };
            self.tell_cancelled(consumer.channel, consumer.tag);
        }
    }

    /// Removes a consumer from its channel and notifies its client, if the client supports that.
    pub(super) fn tell_cancelled(&mut self, channel: ChannelId, tag: ConsumerTag) {
        self.rouse(channel);
        let Some(channel) = self.channels.get_mut(channel) else {
            return;
        };
        channel.consumers.remove(&tag);
        if channel.has_ended() {
            return;
        }
        let connection = self.connections.get(channel.connection);
        if connection.is_some_and(|c| c.capabilities.consumer_cancel_notify) {
            self.effects.push_back(Effect::Channel {
                connection: channel.connection,
                channel: channel.number,
                event: ChannelEvent::ConsumerCancelled(tag),
            });
        }
    }

    /// Removes an exchange with all its bindings.
    pub(super) fn delete_exchange(&mut self, key: ExchangeId) {
        let mut going = vec![key];
        while let Some(key) = going.pop() {
            let Some(exchange) = self.exchanges.remove(key) else {
                continue;
            };
            if let Some(vhost) = self.vhosts.get_mut(exchange.vhost) {
                vhost.exchanges.remove(&exchange.name);
            }
            for (destination, routing_key) in exchange.bindings.iter() {
                self.note_unbound(key, destination, routing_key);
            }
            for (source, routing_key) in exchange.bound_to {
                if let Some(exchange) = self.exchanges.get_mut(source) {
                    exchange
                        .bindings
                        .remove_all(Destination::Exchange(key), &routing_key);
                    if exchange.is_abandoned() {
                        going.push(source);
                    }
                }
            }
        }
    }

    /// Removes everything that does not survive a restart: transient messages and queues, and in
    /// versions that do not keep them transient exchanges.
    pub fn forget_transient(&mut self) {
        let transient = |queue: &Queue| !queue.durable;
        let queues: Vec<_> = self
            .queues
            .iter()
            .map(|(key, queue)| (key, transient(queue)))
            .collect();
        for (key, transient) in queues {
            if transient {
                self.delete_queue(key);
                continue;
            }
            // The queue has not been used since the start.
            self.renew_lease(key);
            if let Some(queue) = self.queues.get_mut(key) {
                queue.ready.forget_transient();
                queue.forget_returns();
                if let Some(quorum) = &mut queue.quorum {
                    quorum.dead_letters.restart();
                }
                queue.tally = QueueTally {
                    arrived: (queue.ready.len() + queue.delayed()) as u64,
                    ..QueueTally::default()
                };
            }
        }
        let queues: Vec<_> = self.queues.iter().map(|(key, _)| key).collect();
        let keeps_all = self.options.profile.keeps_transient_exchanges();
        let exchanges = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| !exchange.durable && !keeps_all);
        let transient: Vec<_> = exchanges.map(|(key, _)| key).collect();
        for key in transient {
            self.delete_exchange(key);
        }
        if !self.options.profile.keeps_state_of_exchanges() {
            self.forget_state_of_exchanges();
        }
        for queue in queues {
            self.publish_kept_dead_letters(queue);
        }
        self.finish();
    }

    /// Empties the histories of exchanges, and reorders the bindings whose order counts. The new
    /// order is the one in which RabbitMQ finds bindings again: by key, then exchanges before
    /// queues, then by name.
    fn forget_state_of_exchanges(&mut self) {
        let mut orders = Vec::new();
        for (key, exchange) in &self.exchanges {
            if exchange.bindings.are_ordered() {
                let bindings = exchange.bindings.iter();
                let named = bindings.filter_map(|(destination, routing_key)| {
                    let place = match destination {
                        Destination::Exchange(key) => {
                            (false, self.exchanges.get(key)?.name.to_string())
                        }
                        Destination::Queue(key) => (true, self.queues.get(key)?.name.to_string()),
                    };
                    Some((routing_key.clone(), place, destination))
                });
                let mut order: Vec<_> = named.collect();
                order.sort_by(|a, b| (a.0.as_str(), &a.1).cmp(&(b.0.as_str(), &b.1)));
                let order = order
                    .into_iter()
                    .map(|(key, _, destination)| (destination, key));
                orders.push((key, order.collect::<Vec<_>>()));
            }
        }
        for (key, order) in orders {
            if let Some(exchange) = self.exchanges.get_mut(key) {
                exchange.bindings.reorder(&order);
            }
        }
        let keys: Vec<_> = self.exchanges.iter().map(|(key, _)| key).collect();
        for key in keys {
            let exchange = self.exchanges.get_mut(key);
            if let Some(history) = exchange.and_then(|exchange| exchange.history.as_mut()) {
                history.clear();
            }
        }
    }

    /// Removes an auto-delete exchange whose last binding has just been removed.
    pub(super) fn delete_exchange_if_abandoned(&mut self, key: ExchangeId) {
        if self.exchanges.get(key).is_some_and(Exchange::is_abandoned) {
            self.delete_exchange(key);
        }
    }

    /// Removes a binding from its destination's own list of bindings.
    pub(super) fn note_unbound(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &mooq_core::RoutingKey,
    ) {
        let binding = (source, routing_key.clone());
        match destination {
            Destination::Queue(queue) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.bound_to.remove(&binding);
                }
            }
            Destination::Exchange(exchange) => {
                if let Some(exchange) = self.exchanges.get_mut(exchange) {
                    exchange.bound_to.remove(&binding);
                }
            }
        }
    }

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
