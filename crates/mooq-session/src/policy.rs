//! Policies for a lost connection.

use std::time::Duration;

use fastrand::Rng;

/// Policy for reopening a lost connection. The delays double from `first_delay` to `max_delay`.
/// Each is shortened at random by up to half, so that many clients of one broker do not reconnect
/// at the same moment. Between two delays every host is tried once, until one of them answers. If a
/// connection is lost again within 30 s of its restoration, or within `max_delay` if that is
/// longer, the delays continue from where they were.
///
/// Reopening a connection also restores exchanges, queues and bindings, and each channel with its
/// prefetch, its confirm mode, and its consumers in the order in which they were registered. A
/// durable queue or a consumer that the broker is slow to answer for is restored later, and holds
/// up nothing else. A channel that the broker closes alone is reopened at once, with its consumers.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use mooq::{ConnectOptions, Recovery};
///
/// let options = ConnectOptions::new().recovery(
///     Recovery::new()
///         .first_delay(Duration::from_millis(200))
///         .max_delay(Duration::from_secs(10))
///         .give_up_after(Duration::from_secs(600)),
/// );
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it does nothing until it is given to the options"]
pub struct Recovery {
    pub(crate) enabled: bool,
    pub(crate) first_delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) give_up_after: Option<Duration>,
}

impl Recovery {
    /// Default base delay: the delay before the first attempt, shortened at random by up to half.
    pub const DEFAULT_FIRST_DELAY: Duration = Duration::from_millis(50);
    /// Default upper bound on the delay between attempts. After the return of its broker, a service
    /// makes the next attempt within this time, unless an attempt is still under way.
    pub const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(500);

    /// Recovery with a delay of 50 ms, doubling up to 500 ms, without end.
    pub fn new() -> Self {
        Self {
            enabled: true,
            first_delay: Self::DEFAULT_FIRST_DELAY,
            max_delay: Self::DEFAULT_MAX_DELAY,
            give_up_after: None,
        }
    }

    /// Disables recovery: a lost connection and a channel that the broker closes stay closed for
    /// good, and everything on them ends with their reason.
    pub fn off() -> Self {
        Self {
            enabled: false,
            ..Self::new()
        }
    }

    /// Returns true unless recovery is off.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Returns the delay before an attempt, counted from 0, before it is shortened at random.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt);
        let delay = self.first_delay.saturating_mul(doubled);
        delay.min(self.max_delay)
    }

    /// Returns the delay before an attempt, shortened by up to half at random, so that clients that
    /// were cut off together do not come back together.
    pub fn jittered_delay(&self, attempt: u32, jitter: &mut Rng) -> Duration {
        let share = 1.0 - jitter.f64() / 2.0;
        self.delay(attempt).mul_f64(share)
    }

    /// Base delay, before the first attempt; later delays double.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Longest delay between attempts.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Closes the connection for good if it has been lost for this long. An attempt that is under
    /// way at that time may still succeed.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.give_up_after = Some(limit);
        self
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self::new()
    }
}

/// Policy for calls while the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhileDisconnected {
    /// The call waits for the connection, up to its timeout. Publishes wait in memory, within
    /// `ConnectOptions::publish_buffer`.
    #[default]
    Wait,
    /// The call fails at once with `ConnectionLost`.
    Fail,
}

/// Policy for a publish whose connection is lost before the broker's confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnLoss {
    /// The publish fails with `ConnectionLost`: the broker may or may not have the message.
    #[default]
    Fail,
    /// The publish is sent again once the connection is reopened, unless its timeout has passed:
    /// the broker has the message at least once, perhaps twice. A message id
    /// (`Publish::message_id`) lets consumers recognize the second one.
    Resend,
}
