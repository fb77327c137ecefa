//! A message on its way through the broker: accepted, queued, delivered.

use std::sync::Arc;

use mooq_core::{Message, RoutingKey};

use super::dead_letters::dead_letter::Annotations;
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::queue::measure::Measure;
use super::time::Time;

/// A message as the broker accepts it.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) message: Arc<Message>,
    pub(crate) annotations: Option<Arc<Annotations>>,
    /// Time to live, in milliseconds.
    pub(crate) ttl: Option<u64>,
}

impl Accepted {
    /// All keys that the message is routed by.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        all_keys(&self.message.routing_key, self.annotations.as_deref())
    }
}

pub(crate) fn all_keys<'a>(
    key: &'a RoutingKey,
    annotations: Option<&'a Annotations>,
) -> impl Iterator<Item = &'a str> {
    let more_keys = annotations.map_or(&[][..], |a| &a.more_keys);
    std::iter::once(key)
        .chain(more_keys)
        .map(RoutingKey::as_str)
}

/// A message in a queue. Kept small: there may be millions.
#[derive(Debug, Clone)]
pub(crate) struct QueuedMessage {
    /// Position in the order of arrival.
    pub(crate) position: u64,
    pub(crate) message: Arc<Message>,
    /// The broker's knowledge of the message beyond what consumers see.
    pub(crate) annotations: Option<Arc<Annotations>>,
    /// Time of expiry. Fixed at arrival and kept through requeues.
    pub(crate) expires: Option<Time>,
    /// Number of times that the message was requeued.
    pub(crate) returns: Returns,
}

/// Counts of a message's returns from its deliveries to the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Returns {
    /// Number of returns to this queue in all.
    pub(crate) all: u32,
    /// Number of returns because a delivery failed. A quorum queue passes this number on with its
    /// dead letters.
    pub(crate) failed: u32,
}

impl QueuedMessage {
    /// True if the message was delivered before: its next consumer sees it as redelivered.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.returns != Returns::default()
    }

    /// Returns the broker's knowledge of the message when it is dead-lettered.
    pub(crate) fn annotations_at_death(&self) -> Option<Arc<Annotations>> {
        let known = self.annotations.as_deref();
        let failed = self.returns.failed;
        if failed <= known.map_or(0, |annotations| annotations.failed_deliveries) {
            return self.annotations.clone();
        }
        let mut annotations = known.cloned().unwrap_or_default();
        annotations.failed_deliveries = failed;
        Some(annotations.into())
    }

    pub(crate) fn bytes(&self, measure: Measure) -> u64 {
        measure.of(&self.message)
    }
}

/// A delivery that is unacked.
#[derive(Debug, Clone)]
pub(crate) struct Unacked {
    pub(crate) delivery_tag: u64,
    pub(crate) queue: QueueId,
    /// None for a delivery fetched by `basic.get`.
    pub(crate) consumer: Option<ConsumerId>,
    pub(crate) queued: QueuedMessage,
    pub(crate) timed: Timed,
}

/// Timing of an unacked delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    /// The time of the delivery.
    Since(Time),
    /// The time from which the delivery is overdue. Its queue watches this.
    Until(Time),
    /// The delivery was overdue and its queue has requeued it.
    Out,
}

/// Publisher that learns if a queue has accepted its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Publisher {
    /// A client's channel.
    Channel(ChannelId),
    /// A queue that keeps its dead letters until they have arrived elsewhere.
    DeadLetters(QueueId),
}
