//! One attempt to handle a delivery, and the follow-up if it fails.

use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;
use mooq_core::{Deliver, QueueName};
use tokio::time::Instant;
use tracing::Span;

use super::failure::{Failed, Verdict};
use super::handler::{Settings, settle};
use super::outcome::Outcome;
use crate::connection::{Core, Event};
use crate::delivery::Unsettled;

/// Number of failed attempts from which a message is reported to keep failing.
const KEEPS_FAILING: u32 = 3;

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

/// A delivery to retry.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) attempt: Attempt,
    pub(crate) due: Instant,
}

/// A failed attempt.
pub(crate) struct Failure {
    attempt: Attempt,
    failed: Failed,
    why: String,
}

impl Attempt {
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
    fn fingerprint(&self) -> u64 {
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

impl Failure {
    /// Applies the consumer's policy, and reports the failure. Returns the delivery if it is to be
    /// retried.
    pub(super) fn conclude(self, core: &Core, settings: &Settings) -> Option<Retry> {
        let Self {
            mut attempt,
            failed,
            why,
        } = self;
        attempt.failures += 1;
        let unsettled = attempt.unsettled.take();
        let stale = unsettled.as_ref().is_some_and(Unsettled::is_stale);
        if failed == Failed::Loss || stale {
            tell_loss(core, &attempt, &why);
            return None;
        }
        let policy = match failed {
            Failed::Decoding => settings.on_decode_error,
            Failed::Callback | Failed::Loss => settings.on_error,
        };
        let Some(unsettled) = unsettled else {
            log(&attempt, failed, &why, "its delivery is settled already");
            return None;
        };
        let escape = core.topology().escape(&attempt.queue);
        match policy.verdict(failed, attempt.failures, escape) {
            Verdict::Settle(outcome) => {
                let then = match outcome {
                    Outcome::Ack => "acknowledged",
                    Outcome::Requeue => "requeued",
                    Outcome::Reject => "rejected",
                };
                log(&attempt, failed, &why, then);
                settle(unsettled, outcome);
                None
            }
            Verdict::Again(delay) => {
                log(&attempt, failed, &why, &format!("tried again in {delay:?}"));
                if attempt.failures >= KEEPS_FAILING {
                    core.tell(keeps_failing(&attempt, why, delay));
                }
                attempt.unsettled = Some(unsettled);
                let due = Instant::now() + delay;
                Some(Retry { attempt, due })
            }
        }
    }
}

fn keeps_failing(attempt: &Attempt, error: String, next_attempt: Duration) -> Event {
    let message = &attempt.deliver.message;
    Event::KeepsFailing {
        queue: attempt.queue.clone(),
        routing_key: message.routing_key.clone(),
        message_id: message.properties.message_id.clone(),
        attempts: attempt.failures,
        error,
        next_attempt,
    }
}

fn log(attempt: &Attempt, failed: Failed, why: &str, then: &str) {
    let message = &attempt.deliver.message;
    let what = match failed {
        Failed::Decoding => "a body did not decode",
        Failed::Callback | Failed::Loss => "a callback failed",
    };
    tracing::error!(
        queue = attempt.queue.as_str(),
        routing_key = message.routing_key.as_str(),
        message_id = message.properties.message_id.as_deref(),
        delivery_tag = attempt.deliver.delivery_tag,
        redelivered = attempt.deliver.redelivered,
        attempts = attempt.failures,
        failure = why,
        then,
        "{what}"
    );
}

/// Reports that the connection or its channel was lost while the callback ran, so that the message
/// is redelivered.
fn tell_loss(core: &Core, attempt: &Attempt, why: &str) {
    let times = core.dispatch().lost_while_running(attempt.fingerprint());
    let message = &attempt.deliver.message;
    let hint = match times {
        1 => "",
        _ => {
            ": does it take longer than the broker's consumer timeout, 30 minutes by default? That \
             closes the channel"
        }
    };
    tracing::warn!(
        queue = attempt.queue.as_str(),
        routing_key = message.routing_key.as_str(),
        message_id = message.properties.message_id.as_deref(),
        delivery_tag = attempt.deliver.delivery_tag,
        times,
        err = why,
        "the channel was lost while the callback of a message ran, which comes again{hint}"
    );
}
