//! One attempt to handle a delivery.

use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;
use mooq_core::{Deliver, QueueName};
use mooq_session::Handed;
use tracing::Span;

use super::wire::{Unsettled, WireRef};
use crate::api::failure::Failed;
use crate::api::outcome::Outcome;

/// A delivery that is about to be handled, perhaps not for the first time. If it is dropped, the
/// delivery is requeued.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) deliver: Deliver,
    pub(crate) queue: QueueName,
    /// None if the broker has settled the delivery, and while its callback may.
    pub(crate) unsettled: Option<Unsettled>,
    /// Number of failed attempts.
    pub(crate) failures: u32,
}

/// A failed attempt.
pub(crate) struct Failure {
    pub(super) attempt: Attempt,
    pub(super) failed: Failed,
    pub(super) why: String,
}

impl Attempt {
    pub(super) fn new(mut handed: Handed<WireRef>) -> Self {
        Self {
            unsettled: Unsettled::of(&mut handed),
            deliver: handed.deliver,
            queue: handed.queue,
            failures: handed.failures,
        }
    }

    /// The delivery, to be handed out again.
    pub(super) fn again(self, unsettled: Unsettled) -> Handed<WireRef> {
        let mut handed = Handed {
            deliver: self.deliver,
            queue: self.queue,
            wire: None,
            failures: self.failures,
        };
        unsettled.put_back(&mut handed);
        handed
    }

    /// Returns the span that the log lines of the callback share.
    pub(super) fn span(&self) -> Span {
        let message = &self.deliver.message;
        tracing::info_span!(
            "delivery",
            queue = self.queue.as_str(),
            routing_key = message.routing_key.as_str(),
            message_id = message.properties.message_id.as_deref(),
            delivery_tag = self.deliver.delivery_tag,
            redelivered = self.deliver.redelivered,
            attempt = self.failures + 1,
        )
    }

    pub(super) fn failed(self, failed: Failed, why: String) -> Box<Failure> {
        let attempt = self;
        Box::new(Failure {
            attempt,
            failed,
            why,
        })
    }

    /// Settles the delivery as its callback asks, or returns the reason why settling it has no
    /// effect.
    pub(super) fn settle(&self, unsettled: Unsettled, outcome: Outcome) -> Option<String> {
        let stale = unsettled.is_stale();
        let err = unsettled.settle(outcome.settlement()).err()?;
        if stale {
            return Some(err.to_string());
        }
        tracing::warn!(%err, ?outcome, "a delivery could not be settled: it will come again");
        None
    }

    /// Logs that a poll of the callback took this long.
    pub(super) fn is_slow(&self, took: Duration) {
        let message = &self.deliver.message;
        tracing::warn!(
            queue = self.queue.as_str(),
            routing_key = message.routing_key.as_str(),
            message_id = message.properties.message_id.as_deref(),
            delivery_tag = self.deliver.delivery_tag,
            ?took,
            "a callback blocked its thread: nothing else that runs there gets its turn meanwhile; \
             use tokio::task::spawn_blocking"
        );
    }

    /// Returns a hash that identifies the message over its redeliveries: of its id if it has one,
    /// else of its exchange, routing key and body.
    pub(super) fn fingerprint(&self) -> u64 {
        let message = &self.deliver.message;
        let mut hasher = FixedState::with_seed(0).build_hasher();
        self.queue.as_str().hash(&mut hasher);
        match message.properties.message_id.as_deref() {
            Some(id) => id.hash(&mut hasher),
            None => {
                message.exchange.as_str().hash(&mut hasher);
                message.routing_key.as_str().hash(&mut hasher);
                message.body.hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}
