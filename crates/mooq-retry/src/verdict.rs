//! The consequence of a failure.

use std::time::Duration;

use mooq_core::{Error, ErrorKind, QueueName, Result, Settlement};

use crate::delay;
use crate::retry::{Retry, Then, Way};

/// Reason why a delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The callback returned an error or panicked.
    Callback,
    /// The callback returned an error that the policy does not retry.
    ForGood,
    /// The body did not decode.
    Decoding,
    /// The callback asked for a retry after this time.
    RetryAfter(Duration),
    /// The callback asked for the message to be parked.
    Park,
}

/// Facts about the queue of a delivery, from the arguments that this connection declared it with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// A dead-letter exchange takes what is rejected.
    pub takes_dead_letters: bool,
    /// Number of failed deliveries that the queue allows.
    pub delivery_limit: Option<u32>,
}

/// Consequence of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Keep the delivery for this time, and run the callback again.
    Wait(Duration),
    /// Move the message, and ack the delivery.
    Move(To),
    /// Requeue the delivery.
    Requeue,
    /// Reject the delivery, which has failed for good.
    Reject,
    /// Ack the delivery, which has failed for good.
    Drop,
}

/// Where a message is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// To its delay queue for this time.
    Later(Duration),
    /// To this queue, or to the one that is named after its queue: it has failed for good.
    Parking(Option<QueueName>),
}

/// Number of attempts for a delivery if a dead-letter exchange takes it.
const ATTEMPTS_BEFORE_DEAD_LETTER: u32 = 5;

/// Number of attempts after which a reject loses nothing, if there is one.
fn safe_attempts(failed: Failed, known: Known) -> Option<u32> {
    let before_dead_letter = match failed {
        // The same bytes will not decode the next time either.
        Failed::Decoding => 1,
        _ => ATTEMPTS_BEFORE_DEAD_LETTER,
    };
    let dead_letter = known.takes_dead_letters.then_some(before_dead_letter);
    let limit = known.delivery_limit.map(|limit| limit.saturating_add(1));
    match failed {
        Failed::Decoding => dead_letter.or(limit),
        _ => limit.or(dead_letter),
    }
}

impl Retry {
    /// Returns the settlement of a delivery whose body does not decode, in a place that moves no
    /// messages. None to keep it.
    #[must_use]
    pub fn settlement_of_undecodable(&self, known: Known) -> Option<Settlement> {
        match self.verdict(Failed::Decoding, 1, known, 0) {
            Verdict::Requeue => Some(Settlement::Reject { requeue: true }),
            Verdict::Reject => Some(Settlement::Reject { requeue: false }),
            Verdict::Drop => Some(Settlement::Ack),
            Verdict::Wait(_) | Verdict::Move(_) => None,
        }
    }

    /// Checks the policy of a stream for bodies that do not decode.
    ///
    /// # Errors
    /// As [`check`](Self::check); `InvalidArgument` if it moves such messages.
    pub fn check_moves_no_undecodable(&self) -> Result<()> {
        self.check()?;
        match self.verdict(Failed::Decoding, 1, Known::default(), 0) {
            Verdict::Move(_) => Err(Error::new(
                ErrorKind::InvalidArgument,
                "a stream moves no messages to delay queues and parks none: use in_place(), \
                 requeue(), then_reject() or then_drop()",
            )),
            Verdict::Wait(_) | Verdict::Requeue | Verdict::Reject | Verdict::Drop => Ok(()),
        }
    }

    /// Returns the verdict on a delivery that has failed `attempts` times. `random` decides the
    /// jitter: any value is as likely as any other.
    #[must_use]
    pub fn verdict(&self, failed: Failed, attempts: u32, known: Known, random: u64) -> Verdict {
        let is_over = match failed {
            Failed::Park => return Verdict::Move(To::Parking(self.parking().cloned())),
            Failed::ForGood => true,
            Failed::Callback | Failed::Decoding | Failed::RetryAfter(_) => {
                self.limit().is_some_and(|limit| attempts >= limit)
            }
        };
        if is_over {
            return match &self.then {
                Some(Then::Park(_)) | None => Verdict::Move(To::Parking(self.parking().cloned())),
                Some(Then::Reject) => Verdict::Reject,
                Some(Then::Drop) => Verdict::Drop,
            };
        }
        let is_safe = |most| attempts >= most;
        if self.ends_where_safe() && safe_attempts(failed, known).is_some_and(is_safe) {
            return Verdict::Reject;
        }
        match (self.way, failed) {
            (Way::DelayQueues, Failed::RetryAfter(delay)) => {
                Verdict::Move(To::Later(delay::step(delay)))
            }
            (_, Failed::RetryAfter(delay)) => Verdict::Wait(delay),
            (Way::DelayQueues, _) => {
                Verdict::Move(To::Later(self.delay_in_queue(attempts, random)))
            }
            (Way::InPlace, _) => Verdict::Wait(self.delay_in_place(attempts, random)),
            (Way::Requeue(_), _) => Verdict::Requeue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const NOTHING: Known = Known {
        takes_dead_letters: false,
        delivery_limit: None,
    };
    const DEAD: Known = Known {
        takes_dead_letters: true,
        ..NOTHING
    };

    fn limit(delivery_limit: u32, known: Known) -> Known {
        Known {
            delivery_limit: Some(delivery_limit),
            ..known
        }
    }

    /// Returns the number of attempts for a callback by default; None if there is no end.
    fn tries(known: Known) -> Option<u32> {
        let rejected = Verdict::Reject;
        let verdict = |n| Retry::default().verdict(Failed::Callback, n, known, 0);
        (1..1_000).find(|attempts| verdict(*attempts) == rejected)
    }

    #[test]
    fn default_rejects_only_what_is_not_lost() {
        assert_eq!(tries(NOTHING), None);
        assert_eq!(tries(DEAD), Some(5));
        assert_eq!(tries(limit(2, NOTHING)), Some(3));
        assert_eq!(tries(limit(8, DEAD)), Some(9));
    }

    #[test]
    fn default_delays_double_up_to_a_minute_in_place() {
        let verdict = |n| Retry::default().verdict(Failed::Callback, n, NOTHING, 0);
        let waits = [1, 2, 3, 6, 7, u32::MAX].map(verdict);
        assert_eq!(waits, [1, 2, 4, 32, 60, 60].map(|n| Verdict::Wait(n * S)));
    }

    #[test]
    fn undecodable_body_is_rejected_at_once_where_it_is_not_lost() {
        let policy = Retry::default().for_undecodable();
        let verdict = |known| policy.verdict(Failed::Decoding, 1, known, 0);
        assert_eq!(verdict(DEAD), Verdict::Reject);
        assert_eq!(verdict(limit(8, DEAD)), Verdict::Reject);
        assert_eq!(verdict(NOTHING), Verdict::Wait(S));
        let parks = Retry::after([S]).for_undecodable();
        let verdict = parks.verdict(Failed::Decoding, 1, DEAD, 0);
        assert_eq!(verdict, Verdict::Move(To::Parking(None)));
    }

    #[test]
    fn policy_decides_the_number_of_attempts_and_the_end() {
        let retry = Retry::after([S, 30 * S]);
        let verdict = |retry: &Retry, n| retry.verdict(Failed::Callback, n, DEAD, 0);
        assert_eq!(verdict(&retry, 1), Verdict::Move(To::Later(S)));
        assert_eq!(verdict(&retry, 2), Verdict::Move(To::Later(30 * S)));
        assert_eq!(verdict(&retry, 3), Verdict::Move(To::Parking(None)));
        assert_eq!(verdict(&retry, u32::MAX), Verdict::Move(To::Parking(None)));
        let rejects = retry.clone().attempts(1).then_reject();
        assert_eq!(verdict(&rejects, 1), Verdict::Reject);
        let drops = Retry::never().then_drop();
        assert_eq!(verdict(&drops, 1), Verdict::Drop);
        assert_eq!(verdict(&Retry::requeue(), 1_000), Verdict::Requeue);
        let in_place = retry.in_place();
        assert_eq!(verdict(&in_place, 2), Verdict::Wait(30 * S));
        assert_eq!(verdict(&in_place, 3), Verdict::Move(To::Parking(None)));
    }

    #[test]
    fn errors_that_are_not_retried_end_at_the_first_attempt() {
        let verdict = |retry: Retry| retry.verdict(Failed::ForGood, 1, NOTHING, 0);
        let parked = Verdict::Move(To::Parking(Some("aside".try_into().unwrap())));
        assert_eq!(verdict(Retry::every(S).then_park("aside")), parked);
        assert_eq!(verdict(Retry::default()), Verdict::Move(To::Parking(None)));
    }

    #[test]
    fn callback_may_ask_for_a_delay_or_the_end() {
        let verdict = |retry: &Retry, failed, n| retry.verdict(failed, n, NOTHING, 0);
        let later = Failed::RetryAfter(40 * S);
        let retry = Retry::every(S).attempts(2).then_reject();
        assert_eq!(verdict(&retry, later, 1), Verdict::Move(To::Later(45 * S)));
        assert_eq!(verdict(&retry, later, 2), Verdict::Reject);
        assert_eq!(verdict(&Retry::default(), later, 9), Verdict::Wait(40 * S));
        assert_eq!(verdict(&Retry::requeue(), later, 9), Verdict::Wait(40 * S));
        let forever = Failed::RetryAfter(Duration::MAX);
        assert_eq!(
            verdict(&retry, forever, 1),
            Verdict::Move(To::Later(crate::LONGEST))
        );
        let parked = verdict(&retry, Failed::Park, 1);
        assert_eq!(parked, Verdict::Move(To::Parking(None)));
    }
}
