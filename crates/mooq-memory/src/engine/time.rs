//! The engine's notion of time: it has no clock, so whoever drives it says what time it is.

use std::time::Duration;

/// A point in time: microseconds since the broker was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// When the broker was made.
    pub const START: Self = Self(0);

    /// The point that lies `elapsed` after the broker was made.
    #[must_use]
    pub fn after_start(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// How long after the making of the broker it is.
    #[must_use]
    pub fn since_start(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// The point that lies `later` after this one.
    #[must_use]
    pub(crate) fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(Self::after_start(later).0))
    }

    /// The point `millis` milliseconds later: RabbitMQ gives all its times in milliseconds.
    #[must_use]
    pub(crate) fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1000)))
    }
}
