//! Deliveries: from a queue to its next consumer, and from the consumer's channel to the client.

use std::sync::Arc;

use mooq_core::in_flight::InFlight;
use mooq_core::{ChannelEvent, Deliver, Message};

use super::Engine;
use super::channel::{Channel, Ended};
use super::command::Effect;
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::in_transit::PendingDelivery;
use super::message::{QueuedMessage, Timed, Unacked};
use super::queue::Queue;
use super::queue::quorum::with_delivery_count;

impl Engine {
    /// Delivers ready messages for as long as a consumer takes them.
    pub(super) fn deliver_ready(&mut self, key: QueueId) {
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
        if self.is_held(key) {
            None
        } else if self.is_quorum(key) {
            self.next_quorum_consumer(key)
        } else {
            self.next_classic_consumer(key)
        }
    }

    /// Passes a delivery that has arrived at its channel on to the client.
    pub(super) fn arrive_at_channel(
        &mut self,
        key: ChannelId,
        queue: QueueId,
        delivery: PendingDelivery,
    ) {
        if self.channels.get(key).is_none_or(Channel::has_ended) {
            self.arrive_at_ended_channel(key, queue, delivery);
            return;
        }
        if !self.recordings.is_empty() {
            self.record_delivery(key, queue, &delivery);
        }
        let message = self.as_delivered(queue, &delivery.queued);
        let message = self.perhaps_corrupted(message, queue, key);
        let timed =
            (!delivery.no_ack).then(|| self.time_delivery(key, queue, Some(delivery.consumer)));
        if delivery.no_ack && self.is_quorum(queue) {
            self.automatic_acks.push(delivery.consumer);
        }
        let stamp = self.stamp();
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        channel.permission_cache.touch(stamp);
        let delivery_tag = channel.next_delivery_tag();
        self.effects.push_back(Effect::Channel {
            connection: channel.connection,
            channel: channel.number,
            event: ChannelEvent::Deliver(Deliver {
                consumer_tag: delivery.tag,
                delivery_tag,
                redelivered: delivery.queued.is_redelivered(),
                message,
                in_flight: InFlight::default(),
            }),
        });
        if let Some(timed) = timed {
            channel.unacked.insert(Unacked {
                delivery_tag,
                queue,
                consumer: Some(delivery.consumer),
                queued: delivery.queued,
                timed,
            });
        }
    }

    /// Handles a delivery that arrives at a channel that has ended: the client does not see the
    /// delivery, and it is requeued. One that needs no ack is lost, as in RabbitMQ, unless its
    /// queue is a quorum queue and the channel is gone: there, the channel is what acknowledges it.
    /// A channel that has failed still does.
    fn arrive_at_ended_channel(
        &mut self,
        key: ChannelId,
        queue: QueueId,
        delivery: PendingDelivery,
    ) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let delivery_tag = channel.next_delivery_tag();
        if delivery.no_ack {
            let queue = self.queues.get_mut(queue).filter(|queue| queue.is_quorum());
            let Some(queue) = queue else {
                return;
            };
            if channel.ended != Some(Ended::Gone) {
                self.automatic_acks.push(delivery.consumer);
                return;
            }
            queue.tally.acked = queue.tally.acked.saturating_sub(1);
            queue.unacked += 1;
            if let Some(consumer) = self.consumers.get_mut(delivery.consumer) {
                consumer.unacked += 1;
            }
        }
        channel.unacked.insert(Unacked {
            delivery_tag,
            queue,
            consumer: Some(delivery.consumer),
            queued: delivery.queued,
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
        if profile.get_sends_zero_delivery_count() && self.is_quorum(queue) {
            with_delivery_count(&queued.message, queued.returns, profile)
        } else {
            self.as_delivered(queue, queued)
        }
    }
}
