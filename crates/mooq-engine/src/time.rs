//! The engine's time. The engine has no clock: its caller passes in the current time.

use std::time::Duration;

/// A point in time, in microseconds since the broker was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Time at which the broker was created.
    pub const START: Self = Self(0);

    /// Returns the point in time `elapsed` after the broker was created.
    #[must_use]
    pub fn after_start(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// Returns the time since the broker was created.
    #[must_use]
    pub fn since_start(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// Returns the number of microseconds since the broker was created.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the number of whole milliseconds since the broker was created, as RabbitMQ counts.
    pub(crate) fn as_millis(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }

    /// Returns the point in time `later` after this one.
    #[must_use]
    pub(crate) fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(Self::after_start(later).0))
    }

    /// Returns the point in time `millis` milliseconds after this one. RabbitMQ gives all its times
    /// in milliseconds.
    #[must_use]
    pub(crate) fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1000)))
    }
}
