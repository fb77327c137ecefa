//! Delays: arithmetic, steps and text.

use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};

/// The longest delay that a queue can give a message: RabbitMQ's limit for `x-message-ttl`, 49 days
/// and 17 hours.
pub const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

const fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

const fn days(n: u64) -> Duration {
    hours(24 * n)
}

/// The delays of messages whose delay is chosen one by one: [`LONGEST`] and these. Each has a queue
/// of its own, because a queue's messages expire at its head only.
pub const STEPS: [Duration; 35] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    seconds(1),
    seconds(2),
    seconds(3),
    seconds(5),
    seconds(10),
    seconds(15),
    seconds(20),
    seconds(30),
    seconds(45),
    minutes(1),
    minutes(2),
    minutes(3),
    minutes(5),
    minutes(10),
    minutes(15),
    minutes(20),
    minutes(30),
    minutes(45),
    hours(1),
    hours(2),
    hours(3),
    hours(6),
    hours(12),
    days(1),
    days(2),
    days(3),
    days(5),
    days(7),
    days(14),
    days(21),
    days(30),
];

/// Returns the shortest step that is not shorter than `delay`. A delay of zero is none.
pub(crate) fn step(delay: Duration) -> Duration {
    if delay.is_zero() {
        return delay;
    }
    let step = STEPS.into_iter().find(|step| *step >= delay);
    step.unwrap_or(LONGEST)
}

/// Rounds up to whole milliseconds, the unit of a queue's TTL.
pub(crate) fn whole_millis(delay: Duration) -> Duration {
    let millis = delay.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Checks that a queue can give a message this delay.
///
/// # Errors
/// `InvalidArgument` if it is over [`LONGEST`].
pub(crate) fn check(delay: Duration) -> Result<Duration> {
    let whole = whole_millis(delay);
    if whole <= LONGEST {
        return Ok(whole);
    }
    let text = format!(
        "a delay of {delay:?} is over RabbitMQ's limit of {} ms, which is 49 days and 17 hours",
        LONGEST.as_millis()
    );
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

/// Returns a delay of whole milliseconds as text, in the largest unit in which it is a whole
/// number: `1500ms`, `30s`, `5m`, `36h`, `2d`.
pub(crate) fn text(delay: Duration) -> String {
    let millis = delay.as_millis();
    let units = [
        (24 * 60 * 60 * 1_000, "d"),
        (60 * 60 * 1_000, "h"),
        (60 * 1_000, "m"),
        (1_000, "s"),
    ];
    let fits = |(unit, _): &(u128, &str)| millis > 0 && millis.is_multiple_of(*unit);
    let (unit, name) = units.into_iter().find(fits).unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

/// Returns the delay after the `attempts`th failure if each delay is twice the one before.
pub(crate) fn doubled(first: Duration, longest: Duration, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(longest)
}

/// Number of queues over which the delays of one jitter are spread.
const SPREAD: u32 = 4;

/// Returns the delays that `percent` of jitter makes of one: evenly spaced, the shortest first.
pub(crate) fn spread(delay: Duration, percent: u8) -> Vec<Duration> {
    let most = jitter(delay, percent);
    let part = |n| whole_millis(delay.saturating_add(most.saturating_mul(n) / (SPREAD - 1)));
    let mut delays: Vec<_> = (0..SPREAD).map(part).collect();
    delays.dedup();
    delays
}

/// Returns the longest time that `percent` of jitter adds to a delay.
pub(crate) fn jitter(delay: Duration, percent: u8) -> Duration {
    // In this order, so that the product does not overflow.
    (delay / 100).saturating_mul(percent.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delay_text_uses_the_largest_whole_unit() {
        let text = |millis| text(Duration::from_millis(millis));
        assert_eq!(text(0), "0ms");
        assert_eq!(text(1), "1ms");
        assert_eq!(text(1_000), "1s");
        assert_eq!(text(1_500), "1500ms");
        assert_eq!(text(90_000), "90s");
        assert_eq!(text(300_000), "5m");
        assert_eq!(text(36 * 3_600_000), "36h");
        assert_eq!(text(2 * 86_400_000), "2d");
        assert_eq!(text(u32::MAX.into()), "4294967295ms");
    }

    #[test]
    fn steps_ascend_and_the_next_is_at_most_two_and_a_half_times_as_long() {
        for pair in STEPS.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] * 2 <= pair[0] * 5, "{pair:?}");
        }
        assert!(STEPS[34] < LONGEST);
    }

    #[test]
    fn delays_over_the_brokers_limit_are_refused_with_the_limit() {
        let over = check(LONGEST + Duration::from_nanos(1)).unwrap_err();
        assert_eq!(over.kind(), ErrorKind::InvalidArgument);
        assert!(over.to_string().contains("4294967295 ms"), "{over}");
        assert_eq!(check(LONGEST).unwrap(), LONGEST);
        assert!(check(Duration::MAX).is_err());
    }

    #[test]
    fn doubled_delay_does_not_overflow() {
        let second = Duration::from_secs(1);
        let delays = [1, 2, 3, 4, u32::MAX].map(|n| doubled(second, 5 * second, n));
        assert_eq!(delays, [1, 2, 4, 5, 5].map(Duration::from_secs));
        assert_eq!(doubled(Duration::ZERO, second, 7), Duration::ZERO);
        assert_eq!(doubled(Duration::MAX, Duration::MAX, 9), Duration::MAX);
    }

    #[test]
    fn spread_of_a_short_delay_has_no_delay_twice() {
        let ms = Duration::from_millis;
        assert_eq!(spread(ms(1), 10), [ms(1), ms(2)]);
        assert_eq!(spread(ms(30), 100), [30, 40, 50, 60].map(ms));
        assert_eq!(spread(ms(30), 0), [ms(30)]);
    }

    proptest! {
        #[test]
        fn step_is_never_shorter_than_the_delay(millis in 1..=u64::from(u32::MAX)) {
            let delay = Duration::from_millis(millis);
            prop_assert!(step(delay) >= delay);
        }

        #[test]
        fn jitter_adds_at_most_its_percentage(nanos: u64, percent in 0..=100_u8) {
            let delay = Duration::from_nanos(nanos);
            prop_assert!(jitter(delay, percent) <= delay);
        }
    }
}
