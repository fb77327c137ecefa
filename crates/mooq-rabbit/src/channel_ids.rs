//! Channel numbers of a connection: the numbers left, and the point at which the connection is used
//! up.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of channels that the broker may close before a connection is used up.
///
/// amqprs never reuses the number of a channel that the broker closed, and its reader panics when
/// no number is left: RabbitMQ allows 2,047 by default.
pub(crate) const MOST_LOST: usize = 1500;

/// Counts of channel numbers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Number of channel numbers.
    pub(crate) limit: usize,
    /// Number of taken numbers, including lost ones.
    pub(crate) taken: usize,
    /// Number of numbers that will never be free again.
    pub(crate) lost: usize,
}

impl Count {
    /// Returns true if so many numbers are lost that the connection should be replaced by another
    /// one.
    fn is_used_up(self) -> bool {
        // A share of a small limit, so that a connection never consists of lost channels only.
        self.lost >= MOST_LOST.min(self.limit - self.limit / 4)
    }
}

/// The reason why there is no number for one more channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoChannelId {
    /// Channels of this side have all numbers.
    InUse(Count),
    /// Channels that the broker closed have the numbers, so another connection has free ones.
    UsedUp(Count),
}

/// The numbers of one connection.
#[derive(Debug)]
pub(crate) struct ChannelIds(Mutex<Count>);

impl ChannelIds {
    pub(crate) fn new(channel_max: u16) -> Self {
        // 0 stands for no limit except that of the field.
        let limit = if channel_max == 0 {
            u16::MAX
        } else {
            channel_max
        };
        Self(Mutex::new(Count {
            limit: limit.into(),
            taken: 0,
            lost: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a number for a channel.
    ///
    /// amqprs itself chooses the number; with none left its reader would panic.
    pub(crate) fn take(&self) -> Result<(), NoChannelId> {
        let mut count = self.lock();
        let none_left = count.taken >= count.limit;
        if count.is_used_up() || none_left && count.lost > 0 {
            return Err(NoChannelId::UsedUp(*count));
        }
        if none_left {
            return Err(NoChannelId::InUse(*count));
        }
        count.taken += 1;
        Ok(())
    }

    /// Frees a number, because its channel was closed by agreement.
    pub(crate) fn give(&self) {
        let mut count = self.lock();
        count.taken = count.taken.saturating_sub(1);
    }

    /// Counts a number as lost, because the broker closed its channel.
    pub(crate) fn lose(&self) {
        self.lock().lost += 1;
    }

    /// Returns the count, once the connection is used up.
    pub(crate) fn used_up(&self) -> Option<Count> {
        let count = *self.lock();
        count.is_used_up().then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lose(ids: &ChannelIds, count: usize) {
        for _ in 0..count {
            ids.take().unwrap();
            ids.lose();
        }
    }

    #[test]
    fn numbers_of_channels_closed_by_agreement_are_used_again() {
        let ids = ChannelIds::new(2);
        ids.take().unwrap();
        ids.take().unwrap();
        assert!(matches!(ids.take(), Err(NoChannelId::InUse(_))));
        ids.give();
        ids.take().unwrap();
        assert_eq!(ids.used_up(), None);
    }

    #[test]
    fn a_connection_is_used_up_well_before_its_numbers_are() {
        for (channel_max, most) in [(2047, MOST_LOST), (0, MOST_LOST), (8, 6), (1, 1)] {
            let ids = ChannelIds::new(channel_max);
            lose(&ids, most - 1);
            assert_eq!(ids.used_up(), None, "{channel_max}");
            lose(&ids, 1);
            let count = ids.used_up().unwrap();
            assert_eq!(count.lost, most);
            assert_eq!(ids.take(), Err(NoChannelId::UsedUp(count)));
        }
    }

    #[test]
    fn lost_numbers_that_are_missed_use_a_connection_up_too() {
        let ids = ChannelIds::new(2047);
        lose(&ids, 1);
        for _ in 0..2046 {
            ids.take().unwrap();
        }
        assert!(matches!(ids.take(), Err(NoChannelId::UsedUp(_))));
    }
}
