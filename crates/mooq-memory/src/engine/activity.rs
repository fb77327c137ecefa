//! What is under way: what keeps a broker from being idle.

use std::collections::VecDeque;
use std::fmt;

use super::Engine;
use super::inspect::unsettled;

/// What is under way in a broker and with its clients. Displayed, it reads as a sentence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Deliveries that are not settled.
    pub unsettled: usize,
    /// What is held up by an alarm or a fault, or takes its time by a seed: what clients sent and
    /// the broker has not read, and what it sent and has not arrived.
    pub held_up: usize,
    /// What clients have in hand: running callbacks, and mailboxes and inboxes with something in
    /// them. A delivery that is not settled is most often here too.
    pub at_clients: usize,
}

impl Activity {
    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_idle() {
            return f.write_str("nothing is under way");
        }
        let Self {
            unsettled,
            held_up,
            at_clients,
        } = self;
        write!(
            f,
            "under way: {unsettled} unsettled deliveries, {held_up} things held up, \
             {at_clients} in the hands of clients"
        )
    }
}

impl Engine {
    /// What is under way, as far as the engine knows. What is ready and could be delivered never
    /// is: that has been delivered when [`Self::poll_effect`] has given everything.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let channels = self.channels.iter();
        let unread = self.connections.iter();
        let unread = unread.filter_map(|(_, connection)| connection.unread.as_ref());
        Activity {
            unsettled: channels
                .map(|(_, channel)| unsettled(channel).count())
                .sum(),
            held_up: unread.map(VecDeque::len).sum::<usize>()
                + self.unread.len()
                + self.effects.len()
                + self.links.held_up()
                + self.transit.len(),
            at_clients: 0,
        }
    }
}
