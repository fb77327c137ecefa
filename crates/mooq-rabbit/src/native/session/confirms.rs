//! A channel's publishes that the broker has yet to confirm.

use std::collections::BTreeSet;

/// The publishes of a channel in confirm mode, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// True if the channel is in confirm mode.
    on: bool,
    published: u64,
    /// All publishes up to this one are confirmed.
    up_to: u64,
    /// Confirmed publishes beyond `up_to`: few, because RabbitMQ confirms nearly in order.
    beyond: BTreeSet<u64>,
}

impl Confirms {
    /// Enters confirm mode.
    pub(super) fn begin(&mut self) {
        self.on = true;
    }

    /// Counts a publish that is being sent.
    pub(super) fn publish(&mut self) {
        if self.on {
            self.published += 1;
        }
    }

    /// Records that the broker has confirmed, or refused, `sequence`; with `multiple`, all before
    /// it as well.
    pub(super) fn confirm(&mut self, sequence: u64, multiple: bool) {
        if multiple {
            self.up_to = sequence.max(self.up_to);
            let up_to = self.up_to;
            self.beyond.retain(|confirmed| *confirmed > up_to);
        } else if self.up_to.checked_add(1) == Some(sequence) {
            self.up_to = sequence;
        } else if sequence > self.up_to && sequence <= self.published {
            // A number that was never used is not kept: a broker could send any of them.
            self.beyond.insert(sequence);
        }
        while let Some(next) = self.up_to.checked_add(1)
            && self.beyond.remove(&next)
        {
            self.up_to = next;
        }
    }

    /// Returns true if the broker has confirmed, or refused, every publish.
    pub(super) fn are_all(&self) -> bool {
        self.up_to >= self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(count: u64) -> Confirms {
        let mut confirms = Confirms::default();
        confirms.begin();
        (0..count).for_each(|_| confirms.publish());
        confirms
    }

    #[test]
    fn all_are_confirmed_once_each_is_in_whatever_order() {
        let mut confirms = published(5);
        for (sequence, multiple) in [(5, false), (2, false), (3, true), (3, false)] {
            confirms.confirm(sequence, multiple);
            assert!(!confirms.are_all(), "{sequence}");
        }
        confirms.confirm(4, false);
        assert!(confirms.are_all());
        assert!(confirms.beyond.is_empty());
    }

    #[test]
    fn numbers_that_were_never_used_take_no_memory() {
        let mut confirms = published(1);
        for sequence in [7, u64::MAX - 1, u64::MAX] {
            confirms.confirm(sequence, false);
        }
        assert!(confirms.beyond.is_empty());
        assert!(!confirms.are_all());
        confirms.confirm(u64::MAX, true);
        assert!(confirms.are_all());
    }

    #[test]
    fn publishes_before_confirm_mode_are_never_confirmed() {
        let mut confirms = Confirms::default();
        confirms.publish();
        confirms.begin();
        assert!(confirms.are_all());
        confirms.publish();
        assert!(!confirms.are_all());
    }
}
