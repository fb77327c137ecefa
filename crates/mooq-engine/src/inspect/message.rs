//! Inspection of the messages in queues, without consuming them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{ConsumerTag, Message, QueueName, VirtualHost};

use super::unsettled;
use crate::channel::Channel;
use crate::message::Unacked;
use crate::{Engine, Time};

/// A message that is ready for delivery. The message stays ready when it is inspected.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReadyMessage {
    /// The queue that the message is in.
    pub queue: QueueName,
    /// The message.
    pub message: Arc<Message>,
    /// True if the message was delivered before, and was requeued.
    pub redelivered: bool,
    /// Time that the message may still wait; none if it may wait forever.
    pub expires_in: Option<Duration>,
}

/// A message that was delivered and is unacked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UnackedMessage {
    /// The queue that the message came from.
    pub queue: QueueName,
    /// The message.
    pub message: Arc<Message>,
    /// True if the message had been delivered before, and had been requeued.
    pub redelivered: bool,
    /// Tag of the consumer that has the message; none if the message was fetched, or if its
    /// consumer is cancelled.
    pub consumer_tag: Option<ConsumerTag>,
    /// Number of the connection that has the message.
    pub connection: u64,
    /// Number of the channel on that connection.
    pub channel: u16,
    /// Delivery tag to settle the message by on that channel.
    pub delivery_tag: u64,
}

impl Engine {
    /// Returns the ready messages in those queues of a virtual host whose names match. The messages
    /// are sorted by queue and, for one queue, in the order in which they leave it.
    #[must_use]
    pub fn ready_messages(&self, now: Time, vhost: &VirtualHost, queue: &str) -> Vec<ReadyMessage> {
        let now = now.since_start();
        let mut found = Vec::new();
        for (_, queue) in self.matching_queues(vhost, queue) {
            found.extend(queue.ready.iter().map(|queued| {
                ReadyMessage {
                    queue: queue.name.clone(),
                    message: Arc::clone(&queued.message),
                    redelivered: queued.is_redelivered(),
                    expires_in: queued
                        .expires
                        .map(|at| at.since_start().saturating_sub(now)),
                }
            }));
        }
        found
    }

    /// Returns the unacked messages from those queues of a virtual host whose names match. The
    /// messages are sorted by queue and, for one queue, in the order in which they came into it.
    #[must_use]
    pub fn unacked_messages(&self, vhost: &VirtualHost, queue: &str) -> Vec<UnackedMessage> {
        let queues = self.matching_queues(vhost, queue).into_iter().enumerate();
        let queues: HashMap<_, _> = queues
            .map(|(at, (key, queue))| (key, (at, queue)))
            .collect();
        let mut found: Vec<_> = self
            .channels
            .iter()
            .flat_map(|(_, channel)| unsettled(channel).map(move |unacked| (channel, unacked)))
            .filter_map(|(channel, unacked)| {
                let (place, queue) = queues.get(&unacked.queue)?;
                let info = self.unacked_info(&queue.name, channel, unacked)?;
                Some(((*place, unacked.queued.position), info))
            })
            .collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, info)| info).collect()
    }

    fn unacked_info(
        &self,
        queue: &QueueName,
        channel: &Channel,
        unacked: &Unacked,
    ) -> Option<UnackedMessage> {
        let consumer = unacked.consumer.and_then(|key| self.consumers.get(key));
        Some(UnackedMessage {
            queue: queue.clone(),
            message: Arc::clone(&unacked.queued.message),
            redelivered: unacked.queued.is_redelivered(),
            consumer_tag: consumer.map(|consumer| consumer.tag.clone()),
            connection: self.connections.get(channel.connection)?.number,
            channel: channel.number,
            delivery_tag: unacked.delivery_tag,
        })
    }
}
