//! The policy for messages that fail.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, FieldValue, IntoChecked, QueueName, Result};

use crate::delay;

/// Policy for a delivery whose callback failed: when it is retried, where it waits until then, how
/// often, and what becomes of it in the end.
///
/// | Made by | The delivery waits | Order |
/// |---|---|---|
/// | [`after`](Self::after), [`every`](Self::every), [`exponential`](Self::exponential) | in a [delay queue](#delay-queues) | later messages overtake it |
/// | the same with [`in_place`](Self::in_place), and [`default`](Self::default) | here, unacked | kept with a concurrency of 1 |
/// | [`requeue`](Self::requeue), [`by_broker`](Self::by_broker) | in its own queue | up to the broker |
/// | [`never`](Self::never) | not at all | |
///
/// A consumer without a policy has the default: it retries in place, after 1 s, 2 s, 4 s and so on
/// up to a minute, until the callback succeeds.
///
/// # The end
/// A delivery has failed for good after [`attempts`](Self::attempts) attempts, or one more than
/// [`after`](Self::after) has delays; if [`retry_if`](Self::retry_if) says no; or if its body does
/// not decode, unless there is another policy for that. Then it is
/// [parked](Self::then_park), [rejected](Self::then_reject) or [dropped](Self::then_drop), with an
/// error in the log and an event. Without a choice it is parked in the queue `<queue>.parked`.
///
/// [`default`](Self::default) has no number of attempts, and rejects only what that does not lose,
/// as far as this connection's declaration of the queue tells: after 5 attempts if the queue has a
/// dead-letter exchange that exists, or after one more than its `x-delivery-limit` if it has one.
/// So does any policy in place without a number of attempts and without a choice.
///
/// # Delay queues
/// A delivery that waits in a delay queue takes up no prefetch, holds nothing up, and outlives this
/// process. mooq publishes a copy to the delay queue, waits for the broker's confirm, and then acks
/// the delivery: a crash in between makes a duplicate, and loses nothing. The copy expires in the
/// delay queue, and the broker routes it back.
///
/// Registering the consumer declares what that takes, for a queue `orders` and a delay of 30 s:
///
/// - the exchange and the queue `orders.retry.30s`, in which messages wait;
/// - the exchange `orders.retry`, to which `orders` alone is bound, and which leads back.
///
/// All instances of a service share them. They are restored with the connection, and stay until
/// `Channel::delete_retry_queues` removes them.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use mooq::{Delivery, Retry};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// let delays = [1, 30, 300].map(Duration::from_secs);
/// chan.register_consumer("payments", "direct")
///     .queue("payments-to-book")
///     .retry(Retry::after(delays).then_park("payments-to-look-at"))
///     .callback(|payment: Delivery<u64>| async move {
///         println!("attempt {}", payment.attempt); // 1, 2, 3, 4
///         Err::<(), _>("the books are closed")
///     })
///     .await?;
/// chan.publish("payments", &100).await?;
///
/// let processing = conn.process_events().spawn();
/// let parked = chan.get::<u64>("payments-to-look-at").timeout(Duration::from_secs(3_600));
/// let parked = parked.await?; // After 331 s.
/// let error = parked.properties.headers.get("mooq-error").and_then(|error| error.as_str());
/// assert_eq!(error, Some("the books are closed"));
/// # conn.close().await?;
/// # processing.await
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it is given to a consumer"]
pub struct Retry {
    pub(crate) way: Way,
    delays: Delays,
    attempts: Option<u32>,
    jitter: u8,
    pub(crate) then: Option<Then>,
    retry_if: Option<Predicate>,
    quorum: bool,
    /// The first invalid argument, kept until the consumer is registered.
    invalid: Option<Error>,
}

type Predicate = Arc<dyn Fn(&(dyn StdError + 'static)) -> bool + Send + Sync>;

/// The place in which a delivery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    DelayQueues,
    InPlace,
    Requeue(Option<DelayedReturn>),
}

/// Bounds of the time that a quorum queue of RabbitMQ 4.3 holds a delivery that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DelayedReturn {
    min: Duration,
    max: Duration,
}

#[derive(Debug, Clone)]
enum Delays {
    Listed(Arc<[Duration]>),
    Every(Duration),
    Exponential { first: Duration, longest: Duration },
}

/// The end of a delivery that has failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    Park(QueueName),
    Reject,
    Drop,
}

impl Retry {
    /// Default delay after the first failure.
    pub const DEFAULT_FIRST_DELAY: Duration = Duration::from_secs(1);
    /// Default longest delay.
    pub const DEFAULT_LONGEST_DELAY: Duration = Duration::from_secs(60);

    fn new(way: Way, delays: Delays) -> Self {
        Self {
            way,
            delays,
            attempts: None,
            jitter: 0,
            then: None,
            retry_if: None,
            quorum: false,
            invalid: None,
        }
    }

    /// Retries once after each of these delays, in this order: with three delays, a delivery has
    /// four attempts. If [`attempts`](Self::attempts) allows more, the last delay repeats. A delay
    /// of zero puts the message at the end of its queue.
    ///
    /// Registering the consumer fails with `InvalidArgument` if the list is empty, or if a delay is
    /// over 49 days and 17 hours, the longest that RabbitMQ allows.
    pub fn after(delays: impl IntoIterator<Item = Duration>) -> Self {
        let delays: Arc<[_]> = delays.into_iter().collect();
        let is_empty = delays.is_empty();
        let retry = Self::new(Way::DelayQueues, Delays::Listed(delays));
        match is_empty {
            true => retry.fail("Retry::after needs a delay: Retry::never() retries nothing"),
            false => retry,
        }
    }

    /// Retries after the same delay each time, without end unless [`attempts`](Self::attempts) sets
    /// one.
    pub fn every(delay: Duration) -> Self {
        Self::new(Way::DelayQueues, Delays::Every(delay))
    }

    /// Retries after `first`, and then after twice the delay before, up to `longest`; without end
    /// unless [`attempts`](Self::attempts) sets one.
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        let retry = Self::new(Way::DelayQueues, Delays::Exponential { first, longest });
        match first > longest {
            true => {
                retry.fail("Retry::exponential needs a first delay that is not over the longest")
            }
            false => retry,
        }
    }

    /// Retries nothing: a delivery that fails once has failed for good.
    pub fn never() -> Self {
        Self::every(Duration::ZERO).attempts(1)
    }

    /// Requeues the delivery at once, every time, by `basic.reject`. A message that always fails is
    /// redelivered for ever, unless its queue has a delivery limit, which counts these rejects.
    ///
    /// [`attempts`](Self::attempts) are counted by the header `x-delivery-count`, which only quorum
    /// queues set.
    pub fn requeue() -> Self {
        Self::new(Way::Requeue(None), Delays::Every(Duration::ZERO))
    }

    /// Requeues the delivery, and has its quorum queue hold it ([delayed
    /// retry](https://www.rabbitmq.com/docs/quorum-queues#delayed-retry)): for `min` after its first
    /// and second failure, for twice that after its third, and so on up to `max`. Registering the
    /// consumer declares its queue as a quorum queue with `x-delayed-retry-type` `failed` and these
    /// times, and without a delivery limit unless one is set: the end is up to this policy.
    ///
    /// Needs RabbitMQ 4.3: with an earlier version, which would ignore these arguments, registering
    /// the consumer fails with `NotImplemented`. If the registration does not declare the queue, its
    /// owner has to set the arguments or a policy, and the version is not checked.
    pub fn by_broker(min: Duration, max: Duration) -> Self {
        let delayed = DelayedReturn { min, max };
        let retry = Self::new(Way::Requeue(Some(delayed)), Delays::Every(Duration::ZERO));
        match min.as_millis() == 0 || min > max {
            true => {
                retry.fail("Retry::by_broker needs times of at least 1 ms, the shorter one first")
            }
            false => retry,
        }
    }

    /// Keeps the delivery here while it waits: unacked, in the consumer's prefetch and concurrency.
    /// With a concurrency of 1, which is the default if the queue is declared with
    /// `x-single-active-consumer`, the messages behind it wait, so that their order holds. With a
    /// higher one they overtake it.
    ///
    /// Attempts are counted in this process, for as long as it has the delivery: if the connection
    /// is lost, the message comes back and its count starts over. A delay longer than the broker's
    /// consumer timeout, 30 minutes by default, makes the broker take the delivery back.
    pub fn in_place(mut self) -> Self {
        match self.way {
            Way::DelayQueues | Way::InPlace => self.way = Way::InPlace,
            Way::Requeue(_) => {
                return self.fail("a delivery that is requeued cannot wait in place");
            }
        }
        self
    }

    /// Tries a delivery `n` times in all, 1 or more. Every failure counts: an error, a panic, a body
    /// that does not decode, `Outcome::RetryAfter`. That a delivery comes back because a connection
    /// was lost does not.
    pub fn attempts(mut self, n: u32) -> Self {
        if n == 0 {
            return self.fail("0 attempts would never run a callback");
        }
        self.attempts = Some(n);
        self
    }

    /// Lengthens each delay at random by up to this percentage, 0 to 100, so that messages that
    /// failed together are not retried together.
    ///
    /// In place, any delay up to that is possible. In delay queues there are four, evenly spaced,
    /// each with a queue of its own: a queue's messages expire at its head only, so that messages
    /// with delays of their own in one queue would wait for each other.
    pub fn jitter(mut self, percent: u8) -> Self {
        if percent > 100 {
            return self.fail("jitter is a percentage, of 100 at most");
        }
        self.jitter = percent;
        self
    }

    /// Retries only if `retries` returns true for the callback's error. For other errors the
    /// delivery has failed for good. A panic and a body that does not decode are no errors of the
    /// callback's.
    ///
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    ///
    /// use mooq::Retry;
    ///
    /// let _ = Retry::every(Duration::from_secs(30)).retry_if(|err| {
    ///     let err = err.downcast_ref::<io::Error>();
    ///     err.is_none_or(|err| err.kind() != io::ErrorKind::InvalidData)
    /// });
    /// ```
    pub fn retry_if(
        mut self,
        retries: impl Fn(&(dyn StdError + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.retry_if = Some(Arc::new(retries));
        self
    }

    /// Parks a delivery that has failed for good: a copy goes to the queue of this name, with the
    /// number of attempts, the latest error and the first exchange and routing key in headers, and
    /// the delivery is acked once the broker has confirmed the copy. If the queue does not exist,
    /// it is declared, durable. The copy has no expiration.
    ///
    /// A parked message that is moved back to its queue starts over, as a new one.
    pub fn then_park(mut self, queue: impl IntoChecked<QueueName>) -> Self {
        match queue.into_checked() {
            Ok(queue) if queue.is_empty() => {
                return self.fail("a queue to park messages in needs a name");
            }
            Ok(queue) => self.then = Some(Then::Park(queue)),
            Err(err) => {
                self.invalid.get_or_insert(err);
            }
        }
        self
    }

    /// Rejects a delivery that has failed for good: its queue dead-letters it, or drops it if it has
    /// no dead-letter exchange, or one that does not exist or has no route for it. Its routing key
    /// is the one that it was first published with.
    pub fn then_reject(mut self) -> Self {
        self.then = Some(Then::Reject);
        self
    }

    /// Drops a delivery that has failed for good: it is acked, and lost.
    pub fn then_drop(mut self) -> Self {
        self.then = Some(Then::Drop);
        self
    }

    /// Makes the delay queues and the queue for parked messages quorum queues. They are anyway if
    /// the consumer's registration declares its queue as one.
    ///
    /// A quorum delay queue keeps a message until its way back has confirmed it (`at-least-once`
    /// dead-lettering); a classic one lets go of the message as it publishes it. Its name ends in
    /// `.quorum`.
    pub fn quorum(mut self) -> Self {
        self.quorum = true;
        self
    }

    fn fail(mut self, what: &str) -> Self {
        let invalid = || Error::new(ErrorKind::InvalidArgument, what);
        self.invalid.get_or_insert_with(invalid);
        self
    }

    /// Checks the policy.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidName`: the first of its setters.
    pub fn check(&self) -> Result<()> {
        if let Some(err) = &self.invalid {
            return Err(err.clone());
        }
        self.queued_delays()
            .into_iter()
            .try_for_each(|delay| delay::check(delay).map(drop))
    }

    /// Returns true if deliveries wait in delay queues.
    #[must_use]
    pub fn uses_delay_queues(&self) -> bool {
        self.way == Way::DelayQueues && self.limit() != Some(1)
    }

    /// Returns true if its consumer's registration declares queues for it.
    #[must_use]
    pub fn needs_queues(&self) -> bool {
        self.uses_delay_queues() || self.parking().is_some()
    }

    /// Returns true if the user asked for quorum queues.
    #[must_use]
    pub fn is_quorum(&self) -> bool {
        self.quorum
    }

    /// Returns the arguments that the policy needs of its queue.
    #[must_use]
    pub fn queue_arguments(&self) -> Vec<(&'static str, FieldValue)> {
        let Way::Requeue(Some(DelayedReturn { min, max })) = self.way else {
            return Vec::new();
        };
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        vec![
            ("x-queue-type", "quorum".into()),
            ("x-delayed-retry-type", "failed".into()),
            ("x-delayed-retry-min", millis(min).into()),
            ("x-delayed-retry-max", millis(max).into()),
            // The end is up to the policy: at RabbitMQ's default limit messages would be lost.
            ("x-delivery-limit", FieldValue::from(-1)),
        ]
    }

    /// Checks the policy for a consumer.
    ///
    /// # Errors
    /// As [`check`](Self::check); `InvalidArgument` if its deliveries are settled before they can
    /// fail, or if the broker names its queue, and the names of other queues would follow from that.
    pub fn check_consumer(&self, auto_ack: bool, is_named: bool) -> Result<()> {
        self.check()?;
        let what = if auto_ack {
            "with auto_ack() the broker has settled a delivery before it can fail"
        } else if !is_named && self.uses_delay_queues() {
            "delay queues lead back to a queue by its name: give the queue one, or retry with \
             in_place()"
        } else if !is_named && self.then.is_none() && self.limit().is_some() {
            "messages of a queue without a name are parked where then_park() says: without it, \
             choose then_reject() or then_drop()"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }

    /// Returns true if a requeue returns the delivery, so that the broker counts the attempts.
    #[must_use]
    pub fn requeues(&self) -> bool {
        matches!(self.way, Way::Requeue(_))
    }

    /// Returns the queue that the user chose to park messages in.
    #[must_use]
    pub fn parking(&self) -> Option<&QueueName> {
        match &self.then {
            Some(Then::Park(queue)) => Some(queue),
            _ => None,
        }
    }

    /// Returns true if a delivery with this error of its callback is retried.
    #[must_use]
    pub fn retries(&self, err: &(dyn StdError + 'static)) -> bool {
        self.retry_if.as_ref().is_none_or(|retries| retries(err))
    }

    /// Returns the policy for bodies that do not decode if there is no other: the same bytes will
    /// not decode the next time either, so that they have failed for good. In place and without an
    /// end, they are kept.
    pub fn for_undecodable(&self) -> Self {
        let ends = self.then.is_some() || self.attempts.is_some();
        match self.way {
            Way::InPlace if !ends => self.clone(),
            _ => self.clone().attempts(1),
        }
    }

    /// Returns the number of attempts, if there is an end.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.attempts.or(match &self.delays {
            Delays::Listed(delays) => u32::try_from(delays.len()).ok()?.checked_add(1),
            Delays::Every(_) | Delays::Exponential { .. } => None,
        })
    }

    /// Returns true if the delivery is rejected after as many attempts as its queue makes safe.
    pub(crate) fn ends_where_safe(&self) -> bool {
        self.way == Way::InPlace && self.then.is_none() && self.limit().is_none()
    }

    /// Returns the delay after the `attempts`th failure, without jitter.
    fn delay_after(&self, attempts: u32) -> Duration {
        match &self.delays {
            Delays::Every(delay) => *delay,
            Delays::Exponential { first, longest } => delay::doubled(*first, *longest, attempts),
            Delays::Listed(delays) => {
                let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
                let last = delays.last().copied().unwrap_or_default();
                delays.get(index).copied().unwrap_or(last)
            }
        }
    }

    /// Returns the delay of a delivery that waits in place.
    pub(crate) fn delay_in_place(&self, attempts: u32, random: u64) -> Duration {
        let delay = self.delay_after(attempts);
        let most = delay::jitter(delay, self.jitter);
        // The upper half of the product is `most`, scaled by `random` of 2^64.
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(nanos) * u128::from(random)) >> 64;
        delay.saturating_add(Duration::from_nanos(
            u64::try_from(scaled).unwrap_or(u64::MAX),
        ))
    }

    /// Returns the delay of a delivery that waits in a delay queue.
    pub(crate) fn delay_in_queue(&self, attempts: u32, random: u64) -> Duration {
        let delays = delay::spread(self.delay_after(attempts), self.jitter);
        let count = u64::try_from(delays.len()).unwrap_or(1).max(1);
        let index = usize::try_from(random % count).unwrap_or(0);
        delays.get(index).copied().unwrap_or_default()
    }

    /// Returns all delays that deliveries may have in delay queues, in order.
    pub(crate) fn queued_delays(&self) -> Vec<Duration> {
        if !self.uses_delay_queues() {
            return Vec::new();
        }
        // From then on the delay stays the same.
        let changes = match &self.delays {
            Delays::Listed(delays) => u32::try_from(delays.len()).unwrap_or(u32::MAX),
            Delays::Every(_) => 1,
            Delays::Exponential { .. } => 32,
        };
        let retries = self
            .limit()
            .map_or(changes, |limit| changes.min(limit.saturating_sub(1)));
        let delays = (1..=retries).map(|attempts| self.delay_after(attempts));
        let mut delays: Vec<_> = delays
            .flat_map(|delay| delay::spread(delay, self.jitter))
            .collect();
        delays.retain(|delay| !delay.is_zero());
        delays.sort_unstable();
        delays.dedup();
        delays
    }
}

/// Retries in place, after 1 s, 2 s, 4 s and so on up to a minute, until the callback succeeds.
impl Default for Retry {
    fn default() -> Self {
        Self::exponential(Self::DEFAULT_FIRST_DELAY, Self::DEFAULT_LONGEST_DELAY).in_place()
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("way", &self.way)
            .field("delays", &self.delays)
            .field("attempts", &self.limit())
            .field("jitter", &self.jitter)
            .field("then", &self.then)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn listed_delays_are_used_once_each_and_the_last_repeats() {
        let retry = Retry::after([S, 30 * S]);
        assert_eq!(retry.limit(), Some(3));
        assert_eq!(retry.delay_in_queue(1, 7), S);
        assert_eq!(retry.delay_in_queue(2, 7), 30 * S);
        assert_eq!(retry.delay_in_queue(u32::MAX, 7), 30 * S);
        assert_eq!(retry.clone().attempts(9).limit(), Some(9));
        assert_eq!(retry.queued_delays(), [S, 30 * S]);
        assert_eq!(retry.attempts(2).queued_delays(), [S]);
    }

    #[test]
    fn invalid_policies_are_refused_and_say_why() {
        let week = 7 * 24 * 3_600 * S;
        for (retry, says) in [
            (Retry::after([]), "Retry::after needs a delay"),
            (Retry::after([S, Duration::MAX]), "4294967295 ms"),
            (Retry::every(8 * week), "49 days"),
            (Retry::every(7 * week).jitter(100), "49 days"),
            (Retry::exponential(2 * S, S), "not over the longest"),
            (Retry::exponential(S, Duration::MAX), "49 days"),
            (Retry::every(S).attempts(0), "0 attempts"),
            (Retry::every(S).jitter(101), "percentage"),
            (Retry::by_broker(2 * S, S), "the shorter one first"),
            (Retry::by_broker(Duration::ZERO, S), "at least 1 ms"),
            (Retry::requeue().in_place(), "cannot wait in place"),
            (Retry::never().then_park(""), "needs a name"),
        ] {
            let err = retry.check().unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidArgument);
            assert!(err.to_string().contains(says), "{err}");
        }
        let err = Retry::never()
            .then_park("q".repeat(256))
            .check()
            .unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidName);
        // In place, no queue holds the message.
        Retry::every(8 * week).in_place().check().unwrap();
        Retry::after([Duration::ZERO]).check().unwrap();
    }

    #[test]
    fn delay_queues_are_few_and_cover_every_delay() {
        let retry = Retry::exponential(S, 3_600 * S).jitter(20);
        let queued = retry.queued_delays();
        assert_eq!(queued.len(), 13 * 4);
        for attempts in 1..50 {
            for random in 0..9 {
                let delay = retry.delay_in_queue(attempts, random);
                assert!(queued.contains(&delay), "{delay:?}");
            }
        }
        assert!(Retry::never().queued_delays().is_empty());
        assert!(Retry::every(Duration::ZERO).queued_delays().is_empty());
    }

    #[test]
    fn jitter_in_place_is_between_the_delay_and_its_percentage_more() {
        let retry = Retry::every(10 * S).jitter(50).in_place();
        assert_eq!(retry.delay_in_place(1, 0), 10 * S);
        let longest = retry.delay_in_place(1, u64::MAX);
        assert!(longest > 14 * S && longest <= 15 * S, "{longest:?}");
        let forever = Retry::every(Duration::MAX).jitter(100).in_place();
        assert_eq!(forever.delay_in_place(9, u64::MAX), Duration::MAX);
    }

    #[test]
    fn policy_of_a_queue_without_a_name_needs_no_name_of_it() {
        let says = |retry: Retry| {
            retry
                .check_consumer(false, false)
                .map_err(|err| err.to_string())
        };
        assert!(
            says(Retry::every(S))
                .unwrap_err()
                .contains("give the queue one")
        );
        assert!(says(Retry::never()).unwrap_err().contains("then_park()"));
        for retry in [
            Retry::default(),
            Retry::never().then_reject(),
            Retry::after([S]).in_place().then_park("aside"),
            Retry::requeue(),
        ] {
            says(retry).unwrap();
        }
        assert!(Retry::every(S).check_consumer(false, true).is_ok());
        assert!(Retry::default().check_consumer(true, true).is_err());
    }

    #[test]
    fn predicate_decides_which_errors_are_retried() {
        let retry = Retry::every(S).retry_if(|err| !err.is::<fmt::Error>());
        assert!(!retry.retries(&fmt::Error));
        assert!(retry.retries(&std::io::Error::other("busy")));
        assert!(Retry::every(S).retries(&fmt::Error));
    }
}
