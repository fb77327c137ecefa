//! Timers: each time at which the session must act, and the action.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ids::{ChannelId, ConsumerId, JobId, RequestId};

/// Substitute for a time that is beyond the clock's range.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Returns the time `delay` after `now`, however long that is.
pub fn later(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or_else(|| now + FAR)
}

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next attempt to connect.
    Reconnect,
    /// A request takes too long.
    Request(RequestId),
    /// A queue that a job declares has gone unanswered for a while.
    LateQueue(JobId, RequestId),
    /// A consumer that a job registers has gone unanswered for a while.
    LateConsumer(JobId, ConsumerId),
    /// A job's pause is over.
    Pause(JobId),
    /// More queues can be declared side by side.
    Parallel,
    /// Nothing has been restored for a while.
    NoProgress,
    /// The last channel that was to be reopened may be gone.
    MayBeRestored,
    /// The channels have had time to tell of their end.
    ChannelsDrained,
    /// A channel's publishes may be overdue.
    Publishes(ChannelId),
    /// The connection's close takes too long.
    CloseOver,
}

impl Timer {
    /// Returns true for the timers of a restoration, which end with it.
    pub(crate) fn belongs_to_restoration(self) -> bool {
        match self {
            Self::Publishes(_) | Self::CloseOver | Self::Request(_) => false,
            Self::Reconnect
            | Self::LateQueue(..)
            | Self::LateConsumer(..)
            | Self::Pause(_)
            | Self::Parallel
            | Self::NoProgress
            | Self::MayBeRestored
            | Self::ChannelsDrained => true,
        }
    }
}

/// Timers, the next one first, and those of one time in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeMap<(Instant, u64), Timer>,
    last: u64,
    /// The next timer may be another one.
    is_changed: bool,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.last += 1;
        self.is_changed = true;
        self.set.insert((at, self.last), timer);
    }

    /// Returns true if the next timer may have changed since the last call.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Notes that the next timer may be another one.
    pub(crate) fn touch(&mut self) {
        self.is_changed = true;
    }

    /// Takes away the timers that are not wanted.
    pub(crate) fn cancel(&mut self, unwanted: impl Fn(&Timer) -> bool) {
        self.set.retain(|_, timer| !unwanted(timer));
    }

    /// The time of the next timer.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.set.keys().next().map(|(at, _)| *at)
    }

    /// Takes the next timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let first = self.set.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
