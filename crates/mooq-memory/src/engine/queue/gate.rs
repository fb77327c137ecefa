//! How a quorum queue with `reject-publish` refuses messages.
//!
//! It does not look at each of them: once it has too many, it tells all channels that have
//! published to it to stop, and, when four fifths of its limit are left, to go on. So the message
//! that fills it over its limit is still taken. A channel that publishes to it for the first time
//! asks whether it is over its limit just then.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::engine::arena::{Arena, Key};
use crate::engine::channel::Channel;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Which publisher each channel is, counted from 1 in the order of their first publishes.
    publishers: HashMap<Key<Channel>, u64, RandomState>,
    counted: u64,
    /// While it is closed, the last publisher that has to stop.
    closed_up_to: Option<u64>,
    /// How many publishers there may be before those that are gone are looked for.
    sweep_at: usize,
}

impl Gate {
    /// Whether a channel may publish. `over_limit` is whether the queue has too many messages.
    pub(crate) fn admits(
        &mut self,
        channel: Key<Channel>,
        over_limit: bool,
        channels: &Arena<Channel>,
    ) -> bool {
        let number = match self.publishers.get(&channel) {
            Some(number) => *number,
            None => self.enter(channel, over_limit, channels),
        };
        self.closed_up_to.is_none_or(|last| number > last)
    }

    /// The queue has too many messages: all that have published so far have to stop.
    pub(crate) fn close(&mut self) {
        self.closed_up_to = Some(self.counted);
    }

    /// The queue has room again.
    pub(crate) fn open(&mut self) {
        self.closed_up_to = None;
    }

    fn enter(&mut self, channel: Key<Channel>, over_limit: bool, channels: &Arena<Channel>) -> u64 {
        if self.publishers.len() >= self.sweep_at {
            self.publishers
                .retain(|channel, _| channels.get(*channel).is_some());
            self.sweep_at = 2 * self.publishers.len() + 8;
        }
        if !over_limit {
            self.counted += 1;
        }
        self.publishers.insert(channel, self.counted);
        self.counted
    }
}

/// How much of a limit a queue may have for its gate to open again.
pub(crate) fn low_mark(limit: u64) -> u64 {
    limit / 5 * 4 + limit % 5 * 4 / 5
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::command::{Capabilities, ConnectionId};
    use crate::engine::connection::Connection;
    use crate::engine::vhost::VirtualHost;

    fn channels(count: u16) -> (Arena<Channel>, Vec<Key<Channel>>) {
        let vhost = Arena::new().insert(VirtualHost::new(mooq_core::VirtualHost::root()));
        let capabilities = Capabilities::default();
        let client = Connection::new(vhost, "guest".into(), None, Arc::default(), capabilities);
        let connection = ConnectionId(Arena::new().insert(client));
        let mut arena = Arena::new();
        let keys = (0..count)
            .map(|number| arena.insert(Channel::new(connection, number)))
            .collect();
        (arena, keys)
    }

    #[test]
    fn it_stops_those_who_published_before_and_those_who_come_while_it_is_too_full() {
        let (channels, keys) = channels(3);
        let mut gate = Gate::default();
        assert!(gate.admits(keys[0], false, &channels));
        gate.close();
        assert!(!gate.admits(keys[0], true, &channels));
        assert!(!gate.admits(keys[1], true, &channels));
        // Not too full any more, but not empty enough to open: a newcomer knows of nothing.
        assert!(gate.admits(keys[2], false, &channels));
        assert!(!gate.admits(keys[1], false, &channels));
        gate.open();
        for channel in keys {
            assert!(gate.admits(channel, false, &channels));
        }
    }

    #[test]
    fn channels_that_are_gone_do_not_pile_up() {
        let (mut channels, keys) = channels(1000);
        let mut gate = Gate::default();
        for channel in keys {
            assert!(gate.admits(channel, false, &channels));
            channels.remove(channel);
        }
        assert!(gate.publishers.len() <= 16, "{}", gate.publishers.len());
    }

    #[test]
    fn it_opens_at_four_fifths_rounded_down() {
        let marks: Vec<_> = [0, 1, 2, 3, 4, 5, 10, 14, 15].map(low_mark).into();
        assert_eq!(marks, [0, 0, 1, 2, 3, 4, 8, 11, 12]);
    }
}
