//! Timers of queues, exchanges and channels: messages and queues expire, delays end, and deliveries
//! become overdue.

use super::ids::{ChannelId, ExchangeId, QueueId};
use super::time::Time;
use std::collections::BTreeSet;

/// Pending timers. A queue, an exchange or a channel may have several.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, Due)>,
    /// The earliest point in time, which is needed after every method.
    next: Option<Time>,
}

/// Subject of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Queue(QueueId),
    /// An exchange that holds messages back.
    Exchange(ExchangeId),
    /// A channel that has unacked deliveries.
    Channel(ChannelId),
    /// Precision of the times of deliveries.
    Stamps,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Time, queue: QueueId) {
        self.insert(at, Due::Queue(queue));
    }

    pub(crate) fn set_exchange(&mut self, at: Time, exchange: ExchangeId) {
        self.insert(at, Due::Exchange(exchange));
    }

    pub(crate) fn set_channel(&mut self, at: Time, channel: ChannelId) {
        self.insert(at, Due::Channel(channel));
    }

    pub(crate) fn set_stamps(&mut self, at: Time) {
        self.insert(at, Due::Stamps);
    }

    /// Returns the earliest point in time.
    pub(crate) fn next(&self) -> Option<Time> {
        self.next
    }

    /// Removes and returns the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, Due)> {
        if self.next()? > now {
            return None;
        }
        let due = self.due.pop_first();
        self.next = self.due.first().map(|(at, _)| *at);
        due
    }

    fn insert(&mut self, at: Time, due: Due) {
        self.due.insert((at, due));
        if self.next.is_none_or(|next| at < next) {
            self.next = Some(at);
        }
    }
}
