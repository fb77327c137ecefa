//! What to do when the connection is lost.

use std::time::Duration;

/// How a lost connection is opened again: after waits that double from `first_delay` to
/// `max_delay`, each shortened at random by up to half, so that many clients of one broker do not
/// come back at once. Between two waits every host is tried once, until one of them answers.
///
/// With the connection come back exchanges, queues and bindings, and each channel with its prefetch,
/// its confirm mode, and its consumers in the order in which they were registered. What the broker
/// takes its time over, a durable queue or a consumer, comes later, and holds up nothing else. A
/// channel that the broker closes alone is opened again at once, with its consumers.
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
    /// The wait before the first attempt, unless said otherwise.
    pub const DEFAULT_FIRST_DELAY: Duration = Duration::from_millis(50);
    /// The longest wait between attempts, unless said otherwise: a service is back within a
    /// second of its broker.
    pub const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(500);

    /// 50 ms, doubling up to 500 ms, for as long as it takes.
    pub fn new() -> Self {
        Self {
            enabled: true,
            first_delay: Self::DEFAULT_FIRST_DELAY,
            max_delay: Self::DEFAULT_MAX_DELAY,
            give_up_after: None,
        }
    }

    /// None: a connection that is lost and a channel that the broker closes end for good, and
    /// everything on them with their reason.
    pub fn off() -> Self {
        Self {
            enabled: false,
            ..Self::new()
        }
    }

    /// The wait before the first attempt.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The longest wait between attempts.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// The connection ends for good if it has been lost for this long. An attempt that is under
    /// way then may still succeed.
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

/// What a call does while the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhileDisconnected {
    /// It waits for the connection, up to its deadline. Publishes wait in memory, within
    /// [`publish_buffer`](crate::ConnectOptions::publish_buffer).
    #[default]
    Wait,
    /// It fails at once with `ConnectionLost`.
    Fail,
}

/// What becomes of a publish whose connection is lost before the broker's confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnLoss {
    /// It ends with `ConnectionLost`: the broker may have the message or not.
    #[default]
    Fail,
    /// It is sent again once the connection is back, unless its deadline has passed: the broker
    /// has the message at least once, perhaps twice. A
    /// [`message_id`](crate::Publish::message_id) lets consumers tell.
    Resend,
}
