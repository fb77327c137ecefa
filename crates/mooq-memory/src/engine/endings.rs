//! What goes when something else goes: the consumers and deliveries of a channel, the channels
//! and exclusive queues of a connection, the bindings of a queue, the exchanges without bindings.

use mooq_core::{ChannelEvent, ConsumerTag};

use super::Engine;
use super::arena::Key;
use super::bindings::Destination;
use super::channel::{Channel, Fate};
use super::command::{ConnectionId, Effect};
use super::consumer::Consumer;
use super::exchange::Exchange;
use super::queue::Queue;
use super::queue::tally::QueueTally;
use super::recording::Settled;
use super::time::Time;

impl Engine {
    /// Takes a channel's part in everything away: its consumers go, its deliveries return to
    /// their queues. The channel itself stays for whoever closes it to remove.
    pub(super) fn end_channel(&mut self, key: Key<Channel>) {
        self.await_channel(key);
        self.cancel_replies(key, None);
        self.recordings.ended(key, Settled::ChannelClosed);
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let consumers = std::mem::take(&mut channel.consumers);
        let failed = self.options.profile.takes_for_failed_at_end_of_channel();
        let mut taken = channel.ledger.take_all();
        if let super::channel::PublishingMode::Transaction(transaction) = &mut channel.publishing {
            // What was acknowledged in it and not committed is outstanding as well.
            let settlements = std::mem::take(&mut transaction.settlements);
            taken.extend(settlements.into_iter().flat_map(|(_, unacked)| unacked));
        }
        taken.sort_by_cached_key(|unacked| self.order_of_return(unacked));
        let mut touched = Vec::new();
        for (_, consumer) in consumers {
            if let Some(queue) = self.detach_consumer(consumer) {
                touched.push(queue);
            }
        }
        touched.extend(taken.iter().map(|unacked| unacked.queue));
        touched.sort_unstable();
        touched.dedup();
        let mut taken = taken.into_iter().peekable();
        for queue in touched {
            let mut group = Vec::new();
            while let Some(unacked) = taken.next_if(|unacked| unacked.queue == queue) {
                group.push(unacked);
            }
            if self.queues.get(queue).is_some_and(Queue::is_abandoned) {
                self.delete_queue(queue);
                continue;
            }
            let fetched = group.iter().filter(|u| u.consumer.is_none()).count();
            self.count_settled(queue, group.len(), fetched, Fate::Requeued { failed });
            self.end_quorum_consumers(queue, key);
            self.renew_lease(queue);
            self.put_back(queue, group, failed);
            self.deliver_returned(queue);
        }
    }

    /// Ends a connection: all its channels, then its exclusive queues.
    pub(super) fn end_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id.0) else {
            return;
        };
        let channels: Vec<_> = connection.channels().collect();
        for channel in channels {
            self.recordings.ended(channel, Settled::ConnectionClosed);
            self.end_channel(channel);
            self.channels.remove(channel);
        }
        let Some(connection) = self.connections.remove(id.0) else {
            return;
        };
        for queue in connection.exclusive_queues {
            self.delete_queue(queue);
        }
    }

    /// Removes a consumer, and says of which queue. What follows for the queue is the caller's.
    pub(super) fn detach_consumer(&mut self, key: Key<Consumer>) -> Option<Key<Queue>> {
        let consumer = self.consumers.remove(key)?;
        let queue = self.queues.get_mut(consumer.queue)?;
        let was_sole = queue.consumers.sole == Some(key);
        queue.consumers.remove(key, consumer.priority);
        if was_sole && queue.options.single_active_consumer && !queue.is_quorum() {
            queue.consumers.sole = queue.consumers.peek();
        }
        Some(consumer.queue)
    }

    /// Removes a queue and tells its consumers. Says how many messages were ready.
    pub(super) fn delete_queue(&mut self, key: Key<Queue>) -> usize {
        self.await_queue(key);
        let Some(queue) = self.queues.remove(key) else {
            return 0;
        };
        if let Some(vhost) = self.vhosts.get_mut(queue.vhost) {
            vhost.queues.remove(&queue.name);
        }
        if let Some(owner) = queue
            .owner
            .and_then(|owner| self.connections.get_mut(owner.0))
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

    /// Tells the consumers of a queue that has gone, as far as their clients understand it
    /// ([consumer cancellation](https://www.rabbitmq.com/docs/consumer-cancel)).
    fn forget_consumers(&mut self, consumers: Vec<Key<Consumer>>) {
        for key in consumers {
            let Some(consumer) = self.consumers.remove(key) else {
                continue;
            };
            self.tell_cancelled(consumer.channel, consumer.tag);
        }
    }

    /// Takes a consumer from its channel and tells its client, if that understands it.
    pub(super) fn tell_cancelled(&mut self, channel: Key<Channel>, tag: ConsumerTag) {
        let Some(channel) = self.channels.get_mut(channel) else {
            return;
        };
        channel.consumers.remove(&tag);
        let connection = self.connections.get(channel.connection.0);
        if connection.is_some_and(|c| c.capabilities.consumer_cancel_notify) {
            self.effects.push_back(Effect::Channel {
                connection: channel.connection,
                channel: channel.number,
                event: ChannelEvent::ConsumerCancelled(tag),
            });
        }
    }

    /// Removes an exchange with all its bindings.
    pub(super) fn delete_exchange(&mut self, key: Key<Exchange>) {
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

    /// Removes what does not survive a restart: transient messages, queues and exchanges.
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
            // Nobody has used it since the start.
            self.renew_lease(key);
            if let Some(queue) = self.queues.get_mut(key) {
                queue.ready.forget_transient();
                queue.tally = QueueTally {
                    arrived: queue.ready.len() as u64,
                    ..QueueTally::default()
                };
            }
        }
        let exchanges = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| !exchange.durable);
        let transient: Vec<_> = exchanges.map(|(key, _)| key).collect();
        for key in transient {
            self.delete_exchange(key);
        }
    }

    /// Removes an auto-delete exchange whose last binding has just gone.
    pub(super) fn delete_exchange_if_abandoned(&mut self, key: Key<Exchange>) {
        if self.exchanges.get(key).is_some_and(Exchange::is_abandoned) {
            self.delete_exchange(key);
        }
    }

    /// Lets a binding's destination forget it.
    pub(super) fn note_unbound(
        &mut self,
        source: Key<Exchange>,
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

    /// Begins anew to count how long a queue is not used, if it goes after some time of that.
    pub(super) fn renew_lease(&mut self, key: Key<Queue>) {
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

    /// Looks at a queue whose time has come.
    pub(super) fn wake_queue(&mut self, key: Key<Queue>, at: Time) {
        let Some(queue) = self.queues.get(key) else {
            return;
        };
        let unused = queue.unused_until.is_some_and(|until| until <= at);
        if unused && queue.consumer_count() == 0 {
            self.delete_queue(key);
        } else {
            self.drop_expired(key);
        }
    }
}
