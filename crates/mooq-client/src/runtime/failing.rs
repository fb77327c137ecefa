//! Handling of a failed callback, by the consumer's policy.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq_core::Settlement;
use mooq_retry::{Failed, To, Verdict};
use mooq_session::{Event, Fate, Retry};

use super::attempt::{Attempt, Cause, Failure};
use super::handler::{CallbackConsumer, settle};
use super::inner::ConnectionInner;
use super::moving::{Mover, gave_up};
use super::timeout;
use super::wire::{Unsettled, WireRef};

/// Number of failed attempts from which a message is reported to keep failing.
const KEEPS_FAILING: u32 = 3;

/// The end of a callback.
pub(super) enum Concluded {
    /// The delivery is settled.
    Settled,
    /// The delivery is to be tried again.
    Again(Retry<WireRef>),
    /// The message is being moved, which may fail in its turn.
    Moving(BoxFuture<'static, Option<Box<Failure>>>),
}

/// Applies the consumer's policy, and reports the failure.
pub(super) fn conclude(
    failure: Failure,
    consumer: Arc<CallbackConsumer>,
    mover: &Arc<Mover>,
) -> Concluded {
    let connection = mover.connection();
    let Failure {
        mut attempt,
        cause,
        why,
    } = failure;
    let unsettled = attempt.unsettled.take();
    let stale = unsettled.as_ref().is_some_and(Unsettled::is_stale);
    let failed = match cause {
        Cause::Failed(failed) if !stale => failed,
        Cause::Move(wait) if !stale => return not_moved(connection, attempt, unsettled, wait, why),
        Cause::Failed(_) | Cause::Loss | Cause::Move(_) => {
            tell_loss(connection, &attempt, &why);
            return Concluded::Settled;
        }
    };
    attempt.failures = attempt.failures.saturating_add(1);
    attempt.trail.attempts = attempt.trail.attempts.saturating_add(1);
    attempt.trail.error = Some(why);
    let Some(unsettled) = unsettled else {
        log(&attempt, failed, "its delivery is settled already");
        return Concluded::Settled;
    };
    let policy = match failed {
        Failed::Decoding => &consumer.on_decode_error,
        _ => &consumer.retry,
    };
    let known = connection.known(&attempt.queue);
    let random = fastrand::u64(..);
    let to = match policy.verdict(failed, attempt.trail.attempts, known, random) {
        Verdict::Wait(delay) => {
            log(&attempt, failed, &format!("tried again in {delay:?}"));
            tell_if_it_keeps_failing(connection, &attempt, delay);
            return Concluded::Again(again(attempt, unsettled, delay));
        }
        Verdict::Requeue => {
            log(&attempt, failed, "requeued");
            settle(unsettled, Settlement::Reject { requeue: true });
            return Concluded::Settled;
        }
        Verdict::Reject => {
            log(&attempt, failed, "rejected");
            settle(unsettled, Settlement::Reject { requeue: false });
            connection.with(|session| session.tell(gave_up(&attempt, Fate::Rejected)));
            return Concluded::Settled;
        }
        Verdict::Drop => {
            log(&attempt, failed, "dropped");
            settle(unsettled, Settlement::Ack);
            connection.with(|session| session.tell(gave_up(&attempt, Fate::Dropped)));
            return Concluded::Settled;
        }
        Verdict::Move(to) => to,
    };
    match to {
        To::Later(delay) => {
            let then = format!("tried again after {delay:?} in a delay queue");
            log(&attempt, failed, &then);
            tell_if_it_keeps_failing(connection, &attempt, delay);
        }
        To::Parking(_) => log(&attempt, failed, "parked"),
    }
    let mover = Arc::clone(mover);
    Concluded::Moving(mover.carry(consumer, attempt, unsettled, failed, to))
}

/// Keeps a delivery whose message could not be moved: without its copy it must not be acked, and
/// requeued it would come back at once.
fn not_moved(
    connection: &ConnectionInner,
    attempt: Attempt,
    unsettled: Option<Unsettled>,
    wait: Duration,
    error: String,
) -> Concluded {
    let message = &attempt.deliver.message;
    tracing::error!(
        queue = attempt.queue.as_str(),
        routing_key = message.routing_key.as_str(),
        message_id = message.properties.message_id.as_deref(),
        delivery_tag = attempt.deliver.delivery_tag,
        attempts = attempt.trail.attempts,
        err = error,
        "a message that failed could not be moved: it is kept, and tried again in {wait:?}"
    );
    let event = Event::NotMoved {
        queue: attempt.queue.clone(),
        routing_key: message.routing_key.clone(),
        message_id: message.properties.message_id.clone(),
        error,
        next_attempt: wait,
    };
    connection.with(|session| session.tell(event));
    match unsettled {
        Some(unsettled) => Concluded::Again(again(attempt, unsettled, wait)),
        None => Concluded::Settled,
    }
}

fn again(attempt: Attempt, unsettled: Unsettled, delay: Duration) -> Retry<WireRef> {
    Retry {
        handed: attempt.again(unsettled),
        due: timeout::after(delay).into_std(),
    }
}

fn tell_if_it_keeps_failing(connection: &ConnectionInner, attempt: &Attempt, delay: Duration) {
    let attempts = attempt.trail.attempts;
    if attempts < KEEPS_FAILING {
        return;
    }
    let message = &attempt.deliver.message;
    let event = Event::KeepsFailing {
        queue: attempt.queue.clone(),
        routing_key: message.routing_key.clone(),
        message_id: message.properties.message_id.clone(),
        attempts,
        error: attempt.trail.error.clone().unwrap_or_default(),
        next_attempt: delay,
    };
    connection.with(|session| session.tell(event));
}

fn log(attempt: &Attempt, failed: Failed, then: &str) {
    let message = &attempt.deliver.message;
    let what = match failed {
        Failed::Decoding => "a body did not decode",
        _ => "a callback failed",
    };
    tracing::error!(
        queue = attempt.queue.as_str(),
        routing_key = message.routing_key.as_str(),
        message_id = message.properties.message_id.as_deref(),
        delivery_tag = attempt.deliver.delivery_tag,
        redelivered = attempt.deliver.redelivered,
        attempts = attempt.trail.attempts,
        failure = attempt.trail.error.as_deref(),
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
