//! When queues have to be looked at again: messages expire, and so do queues.

use std::collections::BTreeSet;

use super::arena::Key;
use super::queue::Queue;
use super::time::Time;

/// The queues that wait for a point in time. One may be here for several.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, Key<Queue>)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Time, queue: Key<Queue>) {
        self.due.insert((at, queue));
    }

    /// The earliest of them.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out a queue that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, Key<Queue>)> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first()
    }
}
