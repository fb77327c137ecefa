//! One attempt to handle a delivery.

use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;
use mooq_core::{Deliver, FieldValue, QueueName, Settlement};
use mooq_retry::{Failed, Retry, Trail};
use mooq_session::Handed;
use tracing::Span;

use super::wire::{Unsettled, WireRef};

/// A delivery that is about to be handled, perhaps not for the first time. If it is dropped, the
/// delivery is requeued.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) deliver: Deliver,
    pub(crate) queue: QueueName,
    /// None if the broker has settled the delivery, and while its callback may.
    pub(crate) unsettled: Option<Unsettled>,
    /// Number of attempts at this delivery that failed.
    pub(super) failures: u32,
    /// All failed attempts at its message.
    pub(super) trail: Trail,
}

/// A failed attempt.
pub(crate) struct Failure {
    pub(super) attempt: Attempt,
    pub(super) cause: Cause,
    pub(super) why: String,
}

/// Cause of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its callback or its body.
    Failed(Failed),
    /// The channel was lost before the delivery could be settled.
    Loss,
    /// The message could not be moved to another queue. The attempt counts already; the next one is
    /// after this time.
    Move(Duration),
}

impl Attempt {
    pub(super) fn new(mut handed: Handed<WireRef>, policy: &Retry) -> Self {
        let mut trail = Trail::restore(&mut handed.deliver.message, &handed.queue);
        if policy.requeues() {
            let headers = &handed.deliver.message.properties.headers;
            let returns = headers.get("x-delivery-count").and_then(FieldValue::as_i64);
            let returns = returns.and_then(|returns| u32::try_from(returns).ok());
            trail.attempts = trail.attempts.saturating_add(returns.unwrap_or(0));
        }
        trail.attempts = trail.attempts.saturating_add(handed.failures);
        trail.error = handed.error.take().or(trail.error);
        Self {
            unsettled: Unsettled::of(&mut handed),
            deliver: handed.deliver,
            queue: handed.queue,
            failures: handed.failures,
            trail,
        }
    }

    /// The delivery, to be handed out again.
    pub(super) fn again(self, unsettled: Unsettled) -> Handed<WireRef> {
        let mut handed = Handed {
            deliver: self.deliver,
            queue: self.queue,
            wire: None,
            failures: self.failures,
            error: self.trail.error,
            kept: None,
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
            attempt = self.trail.attempts.saturating_add(1),
        )
    }

    pub(super) fn failed(self, cause: Cause, why: String) -> Box<Failure> {
        let attempt = self;
        Box::new(Failure {
            attempt,
            cause,
            why,
        })
    }

    /// Settles the delivery as its callback asks, or returns the reason why settling it has no
    /// effect.
    pub(super) fn settle(&self, unsettled: Unsettled, settlement: Settlement) -> Option<String> {
        let stale = unsettled.is_stale();
        let err = unsettled.settle(settlement).err()?;
        if stale {
            return Some(err.to_string());
        }
        tracing::warn!(%err, ?settlement, "a delivery could not be settled: it will come again");
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
