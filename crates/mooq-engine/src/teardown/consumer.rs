//! Teardown of consumers: on their queue, and on their channel.

use mooq_core::{ChannelEvent, ConsumerTag};

use crate::Engine;
use crate::command::Effect;
use crate::ids::{ChannelId, ConsumerId, QueueId};
use crate::recording::TimelineEvent;

impl Engine {
    /// Removes a consumer and returns its queue. The caller handles the consequences for the queue.
    pub(crate) fn detach_consumer(&mut self, key: ConsumerId) -> Option<QueueId> {
        let consumer = self.consumers.remove(key)?;
        let queue = self.queues.get_mut(consumer.queue)?;
        let was_active = queue.consumers.active == Some(key);
        queue.consumers.remove(key, consumer.priority);
        if was_active && queue.options.single_active_consumer && !queue.is_quorum() {
            queue.consumers.active = queue.consumers.peek();
        }
        Some(consumer.queue)
    }

    /// Notifies the consumers of a deleted queue, if their clients support that
    /// ([consumer cancellation](https://www.rabbitmq.com/docs/consumer-cancel)).
    pub(super) fn forget_consumers(&mut self, consumers: Vec<ConsumerId>) {
        for key in consumers {
            let Some(consumer) = self.consumers.remove(key) else {
                continue;
            };
            self.notify_cancelled(consumer.channel, consumer.tag);
        }
    }

    /// Removes a consumer from its channel and notifies its client, if the client supports that.
    pub(crate) fn notify_cancelled(&mut self, channel: ChannelId, tag: ConsumerTag) {
        self.touch_channel(channel);
        let Some(channel) = self.channels.get_mut(channel) else {
            return;
        };
        channel.consumers.remove(&tag);
        if channel.has_ended() {
            return;
        }
        let connection = self.connections.get(channel.connection);
        if connection.is_some_and(|c| c.capabilities.consumer_cancel_notify) {
            let (connection, number) = (channel.connection, channel.number);
            self.note(connection, number, || TimelineEvent::ConsumerCancelled {
                consumer_tag: tag.clone(),
            });
            self.effects.push_back(Effect::Channel {
                connection,
                channel: number,
                event: ChannelEvent::ConsumerCancelled(tag),
            });
        }
    }
}
