//! Consumers of classic queues: turns, and the limits of their channels.

use super::Engine;
use super::channel::Channel;
use super::consumer::Consumer;
use super::ids::{ChannelId, ConsumerId, QueueId};

impl Engine {
    /// Returns the consumer for the queue's next message. The consumer's credit is reduced by one,
    /// and the consumer moves to the end of the rotation. Consumers on the way that can take no
    /// more are blocked.
    pub(super) fn next_classic_consumer(&mut self, key: QueueId) -> Option<ConsumerId> {
        loop {
            let queue = self.queues.get_mut(key)?;
            let single_active = queue.options.single_active_consumer;
            let candidate = if single_active {
                queue.consumers.active?
            } else {
                queue.consumers.next()?
            };
            let consumer = self.consumers.get_mut(candidate)?;
            if consumer.blocked.is_some() {
                // Only the single active consumer is asked without being in the rotation.
                return None;
            }
            let channel = self.channels.get_mut(consumer.channel)?;
            let priority = consumer.priority;
            if take_credit(consumer, channel) {
                if !single_active {
                    queue.consumers.unblock(candidate, priority);
                }
                return Some(candidate);
            }
            self.times_blocked += 1;
            consumer.blocked = Some(self.times_blocked);
            if single_active {
                queue.consumers.block(candidate, priority);
                return None;
            }
        }
    }

    /// Asks a queue again to deliver to the consumers of a channel that has been over its limit.
    pub(super) fn resume(&mut self, queue: QueueId, channel: ChannelId) {
        let Some(channel) = self.channels.get(channel) else {
            return;
        };
        let mut blocked: Vec<_> = channel
            .consumers
            .values()
            .filter_map(|key| Some((self.consumers.get(*key)?, *key)))
            .filter(|(consumer, _)| consumer.queue == queue && consumer.credit != Some(0))
            .filter_map(|(consumer, key)| Some((consumer.blocked?, key)))
            .collect();
        blocked.sort_unstable();
        for (_, consumer) in blocked {
            self.unblock(consumer);
        }
        self.deliver_ready(queue);
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
