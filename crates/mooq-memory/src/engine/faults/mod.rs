//! What can be made to go wrong: faults that begin and end, and what each of them strikes.
//!
//! A fault that lasts is begun with [`Engine::begin_fault`] and ended with [`Engine::end_fault`].
//! What happens once is a method of its own: `connections`, `channels` and `queues` have those.
//! `logins`, `publishes`, `deliveries` and `acks` are what lasting faults strike, and `link` holds
//! up what goes between the broker and a client.

pub(crate) mod acks;
mod channels;
mod connections;
mod deliveries;
pub(crate) mod link;
mod logins;
pub(crate) mod publishes;
mod queues;
mod scope;

use std::time::Duration;

pub use scope::Scope;

use super::Engine;
use super::time::Time;
use scope::Involved;

/// What goes wrong for as long as a fault lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing listens: no connection is taken.
    RefuseConnections,
    /// Nothing goes between the broker and the client, in either direction. What was sent
    /// meanwhile arrives in order when the fault ends.
    Freeze,
    /// What the broker sends arrives so much later. Several add up.
    Slow(Duration),
    /// Every password is wrong.
    RefuseLogins,
    /// A connection may have no more channels open than this.
    LimitChannels(u16),
    /// The next so many publishes that await a confirm are not taken, and nacked.
    NackPublishes(u64),
    /// The next so many publishes are lost, and their connections with them.
    LosePublishes(u64),
    /// The next so many publishes that await a confirm are taken, and their connections lost
    /// before the confirm.
    LoseConfirms(u64),
    /// The next so many acknowledgements are lost, and their connections with them.
    LoseAcks(u64),
    /// What the next so many acknowledgements are for is delivered again all the same.
    Redeliver(u64),
    /// The bodies of the next so many messages that go out are not what was published.
    CorruptBodies(u64),
    /// Queues take nothing, as if they were full.
    FillQueues,
    /// Queues deliver nothing.
    HoldQueues,
    /// Of what several queues have under way, that arrives first which was sent last.
    ReorderQueues,
}

impl Fault {
    /// How often it strikes at most.
    fn limit(&self) -> Option<u64> {
        match self {
            Self::NackPublishes(times)
            | Self::LosePublishes(times)
            | Self::LoseConfirms(times)
            | Self::LoseAcks(times)
            | Self::Redeliver(times)
            | Self::CorruptBodies(times) => Some(*times),
            Self::RefuseConnections
            | Self::Freeze
            | Self::Slow(_)
            | Self::RefuseLogins
            | Self::LimitChannels(_)
            | Self::FillQueues
            | Self::HoldQueues
            | Self::ReorderQueues => None,
        }
    }
}

/// Leads to a fault that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// A fault that lasts.
#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    scope: Scope,
    strikes: u64,
}

/// The faults that last.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Active>,
    begun: u64,
}

impl Active {
    fn is_spent(&self) -> bool {
        self.fault
            .limit()
            .is_some_and(|limit| self.strikes >= limit)
    }
}

impl Faults {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Strikes by the oldest fault that is not spent and that what happens fits. `effect` says
    /// what a fault does to it, if anything.
    fn strike<T>(&mut self, what: Involved<'_>, effect: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let mut able = self.active.iter_mut().filter(|active| !active.is_spent());
        able.find_map(|active| {
            let done = effect(&active.fault).filter(|_| active.scope.fits(what))?;
            active.strikes += 1;
            Some(done)
        })
    }
}

impl Engine {
    /// Begins a fault. It lasts until it is ended.
    pub fn begin_fault(&mut self, now: Time, fault: Fault, scope: Scope) -> FaultId {
        self.advance(now);
        self.faults.begun += 1;
        let id = FaultId(self.faults.begun);
        self.faults.active.push(Active {
            id,
            fault,
            scope,
            strikes: 0,
        });
        self.adapt_links();
        self.adapt_transit();
        id
    }

    /// Ends a fault. Nothing happens if it has ended already.
    pub fn end_fault(&mut self, now: Time, id: FaultId) {
        self.advance(now);
        let Some(at) = self.faults.active.iter().position(|active| active.id == id) else {
            return;
        };
        let ended = self.faults.active.remove(at).fault;
        self.adapt_links();
        self.adapt_transit();
        if ended == Fault::HoldQueues {
            self.resume_queues();
            self.finish_dead_letters();
        }
    }

    /// How often a fault has struck; 0 once it has ended.
    #[must_use]
    pub fn strikes(&self, id: FaultId) -> u64 {
        let active = self.faults.active.iter().find(|active| active.id == id);
        active.map_or(0, |active| active.strikes)
    }
}
