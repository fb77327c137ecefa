//! Handling of a failed callback: retry, requeue or reject.

use std::time::Duration;

use mooq_session::{Event, Retry};

use super::attempt::{Attempt, Failure};
use super::handler::{Settings, settle};
use super::inner::ConnectionInner;
use super::timeout;
use super::wire::{Unsettled, WireRef};
use crate::api::failure::{Failed, Verdict};
use crate::api::outcome::Outcome;

/// Number of failed attempts from which a message is reported to keep failing.
const KEEPS_FAILING: u32 = 3;

/// Applies the consumer's policy, and reports the failure. Returns the delivery if it is to be
/// retried.
pub(super) fn conclude(
    failure: Failure,
    connection: &ConnectionInner,
    settings: &Settings,
) -> Option<Retry<WireRef>> {
    let Failure {
        mut attempt,
        failed,
        why,
    } = failure;
    attempt.failures += 1;
    let unsettled = attempt.unsettled.take();
    let stale = unsettled.as_ref().is_some_and(Unsettled::is_stale);
    if failed == Failed::Loss || stale {
        tell_loss(connection, &attempt, &why);
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
    let known = connection.with(|session| session.dead_letter_info(&attempt.queue));
    match policy.verdict(failed, attempt.failures, known) {
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
                let event = keeps_failing(&attempt, why, delay);
                connection.with(|session| session.tell(event));
            }
            let due = timeout::after(delay).into_std();
            let handed = attempt.again(unsettled);
            Some(Retry { handed, due })
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
fn tell_loss(connection: &ConnectionInner, attempt: &Attempt, why: &str) {
    let message = attempt.fingerprint();
    let times = connection.with(|session| session.lost_while_running(message));
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
