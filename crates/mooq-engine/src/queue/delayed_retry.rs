//! Messages that returned to a quorum queue and wait before they are ready again
//! ([delayed retry](https://www.rabbitmq.com/docs/quorum-queues#delayed-retry)).

use std::collections::BTreeMap;

use mooq_core::FieldValue;

use crate::message::{QueuedMessage, Returns};
use crate::queue::measure::Measure;
use crate::time::Time;

/// Messages that wait after they return, and their delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DelayedRetry {
    pub(crate) which: Delayed,
    /// The delay of the first return, in milliseconds.
    pub(crate) min: u64,
    /// The longest delay, in milliseconds.
    pub(crate) max: u64,
}

/// Returned messages that are delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delayed {
    /// All messages that return.
    All,
    /// Messages whose delivery failed.
    Failed,
    /// Messages whose delivery did not fail.
    Returned,
}

/// Settings of delayed retry in arguments or in a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RetrySettings {
    /// None if nothing is set, and `Some(None)` if no message is to wait.
    pub(crate) which: Option<Option<Delayed>>,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
}

impl Delayed {
    /// Parses the value of `delayed-retry-type`; `Some(None)` for the one that switches delays off.
    pub(crate) fn parse(name: &str) -> Option<Option<Self>> {
        Some(match name {
            "all" => Some(Self::All),
            "failed" => Some(Self::Failed),
            "returned" => Some(Self::Returned),
            "disabled" => None,
            _ => return None,
        })
    }

    /// Returns the value of `delayed-retry-type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed => "failed",
            Self::Returned => "returned",
        }
    }
}

impl RetrySettings {
    /// Returns the settings in a queue's arguments. RabbitMQ does not check them: it ignores values
    /// that do not fit, and a type that it does not know switches delays off.
    pub(crate) fn of_arguments<'a>(argument: impl Fn(&str) -> Option<&'a FieldValue>) -> Self {
        let millis = |key| argument(key).and_then(FieldValue::as_i64);
        Self {
            which: argument("x-delayed-retry-type")
                .map(|name| name.as_str().and_then(Delayed::parse).flatten()),
            min: millis("x-delayed-retry-min"),
            max: millis("x-delayed-retry-max"),
        }
    }

    /// Returns the delays that the settings result in. Without a minimum no message waits; without
    /// a maximum delays do not grow.
    pub(crate) fn effective(self) -> Option<DelayedRetry> {
        let positive = |millis: Option<i64>| {
            let millis = millis.and_then(|millis| u64::try_from(millis).ok());
            millis.filter(|millis| *millis > 0)
        };
        let min = positive(self.min)?;
        Some(DelayedRetry {
            which: self.which.flatten()?,
            min,
            max: positive(self.max).unwrap_or(min),
        })
    }
}

impl DelayedRetry {
    /// Returns the delay of a message that has just returned, in milliseconds. The delay grows with
    /// each failed delivery.
    pub(super) fn delay(self, failed: bool, returns: Returns) -> Option<u64> {
        let waits = match self.which {
            Delayed::All => true,
            Delayed::Failed => failed,
            Delayed::Returned => !failed,
        };
        let grown = self.min.saturating_mul(returns.failed.max(1).into());
        waits.then(|| grown.min(self.max))
    }
}

/// Part of a delayed message that counts for limits in bytes, as in every quorum queue that knows
/// delays.
const MEASURE: Measure = Measure::BodyAndProperties;

/// Delayed messages by the time at which they are ready again. Messages of the same time are in the
/// order of arrival.
#[derive(Debug, Default)]
pub(crate) struct DelayedReturns {
    waiting: BTreeMap<(Time, u64), QueuedMessage>,
    bytes: u64,
}

impl DelayedReturns {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The size of all messages.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn insert(&mut self, until: Time, queued: QueuedMessage) {
        self.bytes += queued.bytes(MEASURE);
        self.waiting.insert((until, queued.position), queued);
    }

    /// Removes and returns the next message that is due.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<QueuedMessage> {
        let next = self.waiting.first_entry()?;
        if next.key().0 > now {
            return None;
        }
        let queued = next.remove();
        self.bytes -= queued.bytes(MEASURE);
        Some(queued)
    }

    /// Removes all messages, and returns their number.
    pub(super) fn clear(&mut self) -> usize {
        let cleared = self.len();
        *self = Self::default();
        cleared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_with_failed_deliveries_up_to_the_longest() {
        let retry = |which| DelayedRetry {
            which,
            min: 300,
            max: 700,
        };
        let returns = |failed| Returns { all: 9, failed };
        for (failed, expected) in [(0, 300), (1, 300), (2, 600), (3, 700), (u32::MAX, 700)] {
            let delay = retry(Delayed::All).delay(true, returns(failed));
            assert_eq!(delay, Some(expected), "{failed}");
        }
        assert_eq!(retry(Delayed::Failed).delay(false, returns(1)), None);
        assert_eq!(retry(Delayed::Returned).delay(true, returns(1)), None);
        assert_eq!(retry(Delayed::Returned).delay(false, returns(0)), Some(300));
    }

    #[test]
    fn delayed_retry_settings_that_do_not_fit_delay_nothing() {
        let effective = |name: &str, min: Option<i64>, max: Option<i64>| {
            RetrySettings {
                which: Delayed::parse(name),
                min,
                max,
            }
            .effective()
        };
        assert_eq!(effective("all", None, Some(5)), None);
        assert_eq!(effective("all", Some(-5), None), None);
        assert_eq!(effective("disabled", Some(5), None), None);
        assert_eq!(effective("bogus", Some(5), None), None);
        let least = effective("all", Some(1000), Some(500)).unwrap();
        assert_eq!((least.min, least.max), (1000, 500));
        assert_eq!(effective("all", Some(5), Some(0)).unwrap().max, 5);
    }
}
