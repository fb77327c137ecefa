//! The numbers of a connection's channels: how many are left, and when the connection is used up.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most channels that the broker may close before a connection is used up.
///
/// amqprs never gives back the number of a channel that the broker closed, and its reader panics
/// when no number is left: RabbitMQ allows 2,047 by default.
pub(crate) const MOST_LOST: usize = 1500;

/// What became of the numbers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// How many there are.
    pub(crate) limit: usize,
    /// How many are taken, the lost ones among them.
    pub(crate) taken: usize,
    /// How many will never be free again.
    pub(crate) lost: usize,
}

impl Count {
    /// So many are lost that the connection should be replaced by another one.
    fn is_used_up(self) -> bool {
        // A share of a small limit, so that it is not all lost channels in the end.
        self.lost >= MOST_LOST.min(self.limit - self.limit / 4)
    }
}

/// Why there is no number for one more channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoNumber {
    /// Channels of this side have them all.
    InUse(Count),
    /// Channels that the broker closed have them, so that another connection has some.
    UsedUp(Count),
}

/// The numbers of one connection.
#[derive(Debug)]
pub(crate) struct Numbers(Mutex<Count>);

impl Numbers {
    pub(crate) fn new(channel_max: u16) -> Self {
        // 0 stands for no limit but that of the field.
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
    /// amqprs counts on its own which number that is; with none left its reader would panic.
    pub(crate) fn take(&self) -> Result<(), NoNumber> {
        let mut count = self.lock();
        let none_left = count.taken >= count.limit;
        if count.is_used_up() || none_left && count.lost > 0 {
            return Err(NoNumber::UsedUp(*count));
        }
        if none_left {
            return Err(NoNumber::InUse(*count));
        }
        count.taken += 1;
        Ok(())
    }

    /// A channel was closed by agreement: its number is free.
    pub(crate) fn give(&self) {
        let mut count = self.lock();
        count.taken = count.taken.saturating_sub(1);
    }

    /// The broker closed a channel: its number stays taken.
    pub(crate) fn lose(&self) {
        self.lock().lost += 1;
    }

    /// The count, once the connection is used up.
    pub(crate) fn used_up(&self) -> Option<Count> {
        let count = *self.lock();
        count.is_used_up().then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lose(numbers: &Numbers, count: usize) {
        for _ in 0..count {
            numbers.take().unwrap();
            numbers.lose();
        }
    }

    #[test]
    fn numbers_of_channels_closed_by_agreement_are_used_again() {
        let numbers = Numbers::new(2);
        numbers.take().unwrap();
        numbers.take().unwrap();
        assert!(matches!(numbers.take(), Err(NoNumber::InUse(_))));
        numbers.give();
        numbers.take().unwrap();
        assert_eq!(numbers.used_up(), None);
    }

    #[test]
    fn a_connection_is_used_up_well_before_its_numbers_are() {
        for (channel_max, most) in [(2047, MOST_LOST), (0, MOST_LOST), (8, 6), (1, 1)] {
            let numbers = Numbers::new(channel_max);
            lose(&numbers, most - 1);
            assert_eq!(numbers.used_up(), None, "{channel_max}");
            lose(&numbers, 1);
            let count = numbers.used_up().unwrap();
            assert_eq!(count.lost, most);
            assert_eq!(numbers.take(), Err(NoNumber::UsedUp(count)));
        }
    }

    #[test]
    fn lost_numbers_that_are_missed_use_a_connection_up_too() {
        let numbers = Numbers::new(2047);
        lose(&numbers, 1);
        for _ in 0..2046 {
            numbers.take().unwrap();
        }
        assert!(matches!(numbers.take(), Err(NoNumber::UsedUp(_))));
    }
}
