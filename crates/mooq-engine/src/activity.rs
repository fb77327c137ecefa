//! Activity in a broker: the work that keeps the broker from being idle.

use std::collections::VecDeque;
use std::fmt;

use super::Engine;
use super::inspect::unsettled;

/// Work under way in a broker and with its clients. Displayed, an `Activity` reads as a sentence.
///
/// Work that waits only for time does not count: a message that is to expire, a delayed message,
/// and a dead letter that its queue keeps until the dead letter has a route
/// ([`QueueInfo::kept_dead_letters`](super::QueueInfo::kept_dead_letters)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Number of unacked deliveries.
    pub unsettled: usize,
    /// Number of items that an alarm or a fault holds up or a seed delays: items that clients sent
    /// and the broker has not read, and items that the broker sent and that have not arrived.
    pub held_up: usize,
    /// Number of items in clients' hands: running callbacks, and mailboxes and inboxes that are not
    /// empty. An unacked delivery is usually counted here too.
    pub at_clients: usize,
    /// Number of dead letters that circle between queues, which may last for ever.
    pub circling: usize,
}

impl Activity {
    /// Returns true if nothing is under way.
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
            circling,
        } = self;
        write!(
            f,
            "under way: {unsettled} unsettled deliveries, {held_up} things held up, \
             {at_clients} in the hands of clients"
        )?;
        if *circling > 0 {
            write!(f, ", {circling} dead letters that circle between queues")?;
        }
        Ok(())
    }
}

impl Engine {
    /// Returns the work under way, as far as the engine knows. A message that is ready and could be
    /// delivered never counts: it has been delivered once [`Self::poll_effect`] has returned every
    /// effect.
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
                + self.in_transit.len(),
            at_clients: 0,
            circling: self.dead_letters.len(),
        }
    }
}
