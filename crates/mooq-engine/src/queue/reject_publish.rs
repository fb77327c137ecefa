//! The overflow behaviour `reject-publish` of a quorum queue.
//!
//! A quorum queue does not check its limit for each message. Once the queue is over its limit, it
//! tells all its publishers to stop: channels, and queues that keep their dead letters. When the
//! queue falls to four fifths of its limit, it tells the publishers to resume. So the queue still
//! accepts the message that takes it over its limit. A publisher that publishes to the queue for
//! the first time asks if the queue is over its limit at that moment.
//!
//! Only that fall lets a stopped publisher resume. If a policy meanwhile makes the queue drop its
//! oldest messages, the queue still refuses the publisher.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use slotmap::SlotMap;

use crate::channel::Channel;
use crate::ids::ChannelId;
use crate::message::Publisher;

#[derive(Debug, Default)]
pub(crate) struct RejectPublish {
    /// The number of each publisher, counted from 1 in the order of their first publishes.
    publishers: HashMap<Publisher, u64, RandomState>,
    counted: u64,
    /// The last publisher that has to stop. None while all may publish.
    stopped_up_to: Option<u64>,
    /// True if the queue fell to four fifths while no publisher was notified. The queue then has to
    /// rise above four fifths before it can fall again.
    has_fallen: bool,
    /// Number of publishers at which those that are gone are removed.
    sweep_at: usize,
}

impl RejectPublish {
    /// True if a publisher may publish. `over_limit` is true if the queue has too many messages.
    pub(crate) fn accepts_from(
        &mut self,
        publisher: Publisher,
        over_limit: bool,
        channels: &SlotMap<ChannelId, Channel>,
    ) -> bool {
        let number = match self.publishers.get(&publisher) {
            Some(number) => *number,
            None => self.register(publisher, over_limit, channels),
        };
        self.stopped_up_to.is_none_or(|last| number > last)
    }

    /// Stops all publishers so far, since the queue has too many messages.
    pub(crate) fn stop_publishers(&mut self) {
        self.stopped_up_to = Some(self.counted);
        self.has_fallen = false;
    }

    /// Lets the publishers resume, since the queue has room again.
    pub(crate) fn resume_publishers(&mut self) {
        self.stopped_up_to = None;
    }

    /// Lets the publishers resume if the queue has fallen to its low mark since it was above that
    /// mark.
    pub(crate) fn update(&mut self, is_low: bool) {
        if !is_low {
            self.has_fallen = false;
        } else if !self.has_fallen {
            self.resume_publishers();
        }
    }

    /// Records a fall of the queue to its low mark, if there was one, of which no publisher was
    /// notified.
    pub(crate) fn start_at(&mut self, is_low: bool) {
        self.has_fallen = is_low;
    }

    /// True if a rise of the queue above its low mark makes a difference.
    pub(crate) fn awaits_rise(&self) -> bool {
        self.has_fallen && self.stopped_up_to.is_some()
    }

    fn register(
        &mut self,
        publisher: Publisher,
        over_limit: bool,
        channels: &SlotMap<ChannelId, Channel>,
    ) -> u64 {
        if self.publishers.len() >= self.sweep_at {
            self.publishers.retain(|publisher, _| match publisher {
                Publisher::Channel(channel) => channels.get(*channel).is_some(),
                Publisher::DeadLetters(_) => true,
            });
            self.sweep_at = 2 * self.publishers.len() + 8;
        }
        if !over_limit {
            self.counted += 1;
        }
        self.publishers.insert(publisher, self.counted);
        self.counted
    }
}

/// Returns the number of messages or bytes to which a queue at `limit` must fall before its
/// publishers may resume.
pub(crate) fn low_mark(limit: u64) -> u64 {
    limit / 5 * 4 + limit % 5 * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(count: u16) -> (SlotMap<ChannelId, Channel>, Vec<Publisher>) {
        let connection = SlotMap::with_key().insert(());
        let mut channels = SlotMap::with_key();
        let keys = (0..count)
            .map(|number| Publisher::Channel(channels.insert(Channel::new(connection, number))))
            .collect();
        (channels, keys)
    }

    #[test]
    fn overflow_stops_earlier_publishers_and_those_that_come_while_the_queue_is_too_full() {
        let (channels, keys) = channels(3);
        let mut overflow = RejectPublish::default();
        assert!(overflow.accepts_from(keys[0], false, &channels));
        overflow.stop_publishers();
        assert!(!overflow.accepts_from(keys[0], true, &channels));
        assert!(!overflow.accepts_from(keys[1], true, &channels));
        // The queue is below its limit but not low enough to let the publishers resume. A new
        // publisher was not told to stop.
        assert!(overflow.accepts_from(keys[2], false, &channels));
        assert!(!overflow.accepts_from(keys[1], false, &channels));
        overflow.resume_publishers();
        for channel in keys {
            assert!(overflow.accepts_from(channel, false, &channels));
        }
    }

    #[test]
    fn publishers_that_are_gone_do_not_pile_up() {
        let (mut channels, keys) = channels(1000);
        let mut overflow = RejectPublish::default();
        for publisher in keys {
            assert!(overflow.accepts_from(publisher, false, &channels));
            if let Publisher::Channel(channel) = publisher {
                channels.remove(channel);
            }
        }
        let known = overflow.publishers.len();
        assert!(known <= 16, "{known}");
    }

    #[test]
    fn low_mark_is_four_fifths_rounded_down() {
        let marks: Vec<_> = [0, 1, 2, 3, 4, 5, 10, 14, 15].map(low_mark).into();
        assert_eq!(marks, [0, 0, 1, 2, 3, 4, 8, 11, 12]);
    }
}
