//! Heartbeats, in both directions.

use std::time::{Duration, Instant};

/// The signs of life of one connection.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// The agreed interval, if heartbeats are sent at all.
    interval: Option<Duration>,
    sent: Instant,
    received: Instant,
}

impl Heartbeat {
    pub(super) fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self {
            interval,
            sent: now,
            received: now,
        }
    }

    /// Records that the peer sent something.
    pub(super) fn received(&mut self, now: Instant) {
        self.received = now;
    }

    /// Records that something is being written.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Returns true if it is time for a heartbeat: nothing was sent for half of the interval.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.interval
            .is_some_and(|interval| now >= self.sent + interval / 2)
    }

    /// The silence of a peer that has to be given up: two intervals.
    pub(super) fn too_long_a_silence(&self, now: Instant) -> Option<Duration> {
        let limit = self.interval? * 2;
        (now >= self.received + limit).then_some(limit)
    }

    /// The time of the next step.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some((self.sent + interval / 2).min(self.received + interval * 2))
    }
}
