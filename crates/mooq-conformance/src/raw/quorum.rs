//! Steps with quorum queues.
//!
//! RabbitMQ's quorum queues handle methods without an answer in their own time: a count or a get
//! sent after a settlement may be answered before it. So these steps wait for the effect.

use mooq_core::{ChannelEvent, Fetched, FieldValue, QueueDeclare};
use tokio::task::yield_now;

use super::{Raw, queue, table};
use crate::expect::within;

/// A quorum queue.
#[must_use]
pub fn quorum_queue(name: &str) -> QueueDeclare {
    quorum_queue_with(name, [])
}

/// A quorum queue with arguments.
#[must_use]
pub fn quorum_queue_with<const N: usize>(
    name: &str,
    arguments: [(&str, FieldValue); N],
) -> QueueDeclare {
    let mut arguments = table(arguments);
    arguments.insert("x-queue-type".try_into().unwrap(), "quorum");
    QueueDeclare {
        arguments,
        ..queue(name)
    }
}

impl Raw {
    /// Declares a quorum queue.
    pub async fn declare_quorum<const N: usize>(
        &self,
        name: &str,
        arguments: [(&str, FieldValue); N],
    ) {
        self.declare_with(quorum_queue_with(name, arguments)).await;
    }

    /// Waits until a queue has this number of ready messages and this number of consumers.
    pub async fn until_counts(&self, queue: &str, counts: (u32, u32)) {
        let reached = async {
            while self.counts(queue).await != counts {
                yield_now().await;
            }
        };
        within(&format!("{counts:?} in {queue}"), reached).await;
    }

    /// Gets a message, waiting for it.
    pub async fn fetch_soon(&self, queue: &str) -> Fetched {
        let fetched = async {
            loop {
                match self.get(queue).await {
                    Some(fetched) => return fetched,
                    None => yield_now().await,
                }
            }
        };
        within(&format!("a message in {queue}"), fetched).await
    }

    /// Publishes a message until the broker takes it, on a channel in confirm mode.
    pub async fn until_taken(&mut self, queue: &str, body: &str) {
        let taken = async {
            while !self.is_taken(queue, body).await {
                yield_now().await;
            }
        };
        within("the end of the refusals", taken).await;
    }

    /// Publishes a message on a channel in confirm mode. Returns true if the broker confirms it,
    /// false for a nack.
    pub async fn is_taken(&mut self, queue: &str, body: &str) -> bool {
        self.publish("", queue, body);
        match self.event().await {
            ChannelEvent::Confirm { .. } => true,
            ChannelEvent::Nack { .. } => false,
            other => panic!("expected a confirm or a nack, not {other:?}"),
        }
    }
}
