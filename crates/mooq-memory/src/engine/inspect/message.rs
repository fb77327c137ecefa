//! A look at the messages in queues, without taking them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{ConsumerTag, Message, QueueName, VirtualHost};

use super::unsettled;
use crate::engine::channel::Channel;
use crate::engine::ledger::Unacked;
use crate::engine::{Engine, Time};

/// A message that is ready for delivery, and stays so when it is looked at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReadyMessage {
    /// The queue that it is in.
    pub queue: QueueName,
    /// The message.
    pub message: Arc<Message>,
    /// It was delivered before, and came back.
    pub redelivered: bool,
    /// How long it may still wait; none for ever.
    pub expires_in: Option<Duration>,
}

/// A message that was delivered and is not settled.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UnackedMessage {
    /// The queue that it came from.
    pub queue: QueueName,
    /// The message.
    pub message: Arc<Message>,
    /// It had been delivered before, and had come back.
    pub redelivered: bool,
    /// Who has it; none if it was fetched, or if its consumer is cancelled.
    pub consumer_tag: Option<ConsumerTag>,
    /// The number of the connection that has it.
    pub connection: u64,
    /// The number of the channel on that connection.
    pub channel: u16,
    /// The number to settle it by on that channel.
    pub delivery_tag: u64,
}

impl Engine {
    /// The messages that are ready in the queues of a virtual host whose names match, by queue,
    /// and of one queue in the order in which they leave it.
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

    /// The messages that were delivered from the queues of a virtual host whose names match, and
    /// are not settled: by queue, and of one queue in the order in which they came into it.
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
            connection: self.connections.get(channel.connection.0)?.number,
            channel: channel.number,
            delivery_tag: unacked.delivery_tag,
        })
    }
}
