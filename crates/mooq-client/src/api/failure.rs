//! Policies for deliveries that failed.

use std::time::Duration;

use mooq_session::DeadLetterInfo;

use super::outcome::Outcome;

/// Policy for a delivery whose callback failed, or whose body did not decode.
///
/// By default the delivery is retried, [`FailurePolicy::Retry`], and no message is lost.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use mooq::{Backoff, Delivery, FailurePolicy};
/// use tokio::sync::Notify;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// static TRIES: AtomicU32 = AtomicU32::new(0);
/// let booked = Arc::new(Notify::new());
/// let done = Arc::clone(&booked);
/// let backoff = Backoff::new().first_delay(Duration::from_millis(100));
/// chan.register_consumer("payments", "direct")
///     .queue("payments-to-book")
///     .on_error(FailurePolicy::Retry(backoff))
///     .callback(move |_payment: Delivery<u64>| {
///         let done = Arc::clone(&done);
///         async move {
///             if TRIES.fetch_add(1, Ordering::Relaxed) < 2 {
///                 return Err("the books are closed");
///             }
///             done.notify_one();
///             Ok(())
///         }
///     })
///     .await?;
/// chan.publish("payments", &100).await?;
///
/// tokio::select! {
///     ended = conn.process_events() => ended?,
///     () = booked.notified() => {} // After 100 ms, and after 200 ms more.
/// }
/// assert_eq!(TRIES.load(Ordering::Relaxed), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Retries the same delivery after a delay, which grows. Meanwhile the delivery stays unacked,
    /// and keeps its place in the consumer's [prefetch](crate::RegisterConsumer::prefetch) and
    /// [concurrency](crate::RegisterConsumer::concurrency). With a concurrency of 1 the messages
    /// behind it wait, so that their order holds; with a higher one they overtake it.
    ///
    /// The delivery is retried until it succeeds, or tried as often as [`Backoff::attempts`] says
    /// and then rejected. Without a number of attempts, it is rejected only if the arguments with
    /// which this connection declared the queue make that safe: after 5 attempts if the queue has
    /// an `x-dead-letter-exchange` that exists, or after one more than its `x-delivery-limit` if it
    /// has one. The broker is asked if the exchange exists, or with the default exchange the queue
    /// that the `x-dead-letter-routing-key` names; no client can ask if an exchange has a route.
    ///
    /// Attempts are counted in this process, for as long as it has the delivery. If a message is
    /// redelivered after the connection was lost, its count starts over.
    Retry(Backoff),
    /// Requeues the delivery at once, every time, by `basic.reject`. A message that always fails is
    /// redelivered for ever, unless its queue has a delivery limit, which counts these rejects.
    Requeue,
    /// Rejects the delivery: it is dead-lettered, or dropped if the queue has no dead-letter
    /// exchange.
    Reject,
    /// Acknowledges the delivery as if it had succeeded.
    Ack,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self::Retry(Backoff::new())
    }
}

/// Number and delays of the attempts for a delivery: see [`FailurePolicy::Retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "it does nothing until it is given to a policy"]
pub struct Backoff {
    first_delay: Duration,
    max_delay: Duration,
    attempts: Option<u32>,
}

impl Backoff {
    /// Default delay after the first failure.
    pub const DEFAULT_FIRST_DELAY: Duration = Duration::from_secs(1);
    /// Default longest delay.
    pub const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(60);

    /// Retries after 1 s, 2 s, 4 s and so on up to a minute, without end.
    pub const fn new() -> Self {
        Self {
            first_delay: Self::DEFAULT_FIRST_DELAY,
            max_delay: Self::DEFAULT_MAX_DELAY,
            attempts: None,
        }
    }

    /// Delay after the first failure. Each later delay is twice the one before.
    pub const fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Longest delay.
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Tries a delivery `n` times in all, and then rejects it: it is dead-lettered, or dropped if
    /// the queue has no dead-letter exchange. 0 counts as 1.
    pub const fn attempts(mut self, n: u32) -> Self {
        self.attempts = Some(n);
        self
    }

    /// Returns the delay after this many failed attempts.
    fn after(self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let delay = self.first_delay.saturating_mul(1 << doublings);
        delay.min(self.max_delay)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// Number of attempts for a delivery if a dead-letter exchange takes it.
const ATTEMPTS_BEFORE_DEAD_LETTER: u32 = 5;

/// Number of attempts before a delivery is rejected, if it ever is.
fn most_attempts(known: DeadLetterInfo) -> Option<u32> {
    let dead_letter = known
        .dead_letter_exchange
        .then_some(ATTEMPTS_BEFORE_DEAD_LETTER);
    let limit = known.delivery_limit.map(|limit| limit.saturating_add(1));
    limit.or(dead_letter)
}

/// Reason why a delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The callback returned an error or panicked.
    Callback,
    /// The body did not decode.
    Decoding,
    /// The channel was lost before the delivery could be settled.
    Loss,
}

/// Consequence of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Retry the delivery after this time.
    Again(Duration),
    /// Settle the delivery.
    Settle(Outcome),
}

impl FailurePolicy {
    /// Returns the verdict on a delivery that has failed `attempts` times, from a queue whose dead
    /// letters go where `known` says.
    pub(crate) fn verdict(self, failed: Failed, attempts: u32, known: DeadLetterInfo) -> Verdict {
        let backoff = match self {
            Self::Retry(backoff) => backoff,
            Self::Requeue => return Verdict::Settle(Outcome::Requeue),
            Self::Reject => return Verdict::Settle(Outcome::Reject),
            Self::Ack => return Verdict::Settle(Outcome::Ack),
        };
        let most = backoff.attempts.or_else(|| match failed {
            // The same bytes will not decode the next time either.
            Failed::Decoding if known.dead_letter_exchange => Some(1),
            _ => most_attempts(known),
        });
        match most {
            Some(most) if attempts >= most => Verdict::Settle(Outcome::Reject),
            _ => Verdict::Again(backoff.after(attempts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use mooq_core::{FieldTable, FieldValue};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn dead_letter_info<const N: usize>(arguments: [(&str, FieldValue); N]) -> DeadLetterInfo {
        let mut table = FieldTable::new();
        for (key, value) in arguments {
            table.insert(key.try_into().unwrap(), value);
        }
        DeadLetterInfo::of(&table)
    }

    /// Returns the number of attempts for a callback by default; None if there is no end.
    fn tries(known: DeadLetterInfo) -> Option<u32> {
        let policy = FailurePolicy::default();
        (1..1_000).find(|attempts| {
            policy.verdict(Failed::Callback, *attempts, known) == Verdict::Settle(Outcome::Reject)
        })
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff::new().max_delay(5 * S);
        let delays = [1, 2, 3, 4, 5, u32::MAX].map(|attempts| backoff.after(attempts));
        assert_eq!(delays, [S, 2 * S, 4 * S, 5 * S, 5 * S, 5 * S]);
        let backoff = Backoff::new().first_delay(Duration::ZERO);
        assert_eq!(backoff.after(7), Duration::ZERO);
    }

    #[test]
    fn nothing_is_rejected_that_would_be_lost() {
        assert_eq!(tries(dead_letter_info([])), None);
        assert_eq!(
            tries(dead_letter_info([("x-delivery-limit", (-1).into())])),
            None
        );
        assert_eq!(
            tries(dead_letter_info([(
                "x-dead-letter-routing-key",
                "k".into()
            )])),
            None
        );
    }

    #[test]
    fn what_a_dead_letter_exchange_takes_is_rejected_in_the_end() {
        let dead = || ("x-dead-letter-exchange", "".into());
        assert_eq!(tries(dead_letter_info([dead()])), Some(5));
        assert_eq!(
            tries(dead_letter_info([("x-delivery-limit", 2.into())])),
            Some(3)
        );
        assert_eq!(
            tries(dead_letter_info([dead(), ("x-delivery-limit", 8.into())])),
            Some(9)
        );
    }

    #[test]
    fn what_does_not_decode_is_rejected_at_once_where_it_is_not_lost() {
        let policy = FailurePolicy::default();
        let dead = dead_letter_info([("x-dead-letter-exchange", "".into())]);
        let rejected = Verdict::Settle(Outcome::Reject);
        assert_eq!(policy.verdict(Failed::Decoding, 1, dead), rejected);
        let kept = policy.verdict(Failed::Decoding, 1, DeadLetterInfo::default());
        assert_eq!(kept, Verdict::Again(S));
    }

    #[test]
    fn the_caller_may_say_how_often() {
        let policy = FailurePolicy::Retry(Backoff::new().attempts(2));
        let verdict =
            |attempts| policy.verdict(Failed::Callback, attempts, DeadLetterInfo::default());
        assert_eq!(verdict(1), Verdict::Again(S));
        assert_eq!(verdict(2), Verdict::Settle(Outcome::Reject));
    }
}
