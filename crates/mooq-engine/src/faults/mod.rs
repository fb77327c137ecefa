//! Faults that begin and end on demand.
//!
//! A lasting fault begins with [`Engine::begin_fault`] and ends with [`Engine::end_fault`]. A fault
//! that happens once is a method of its own, in `connections`, `channels` and `queues`. Lasting
//! faults strike new connections (`connections`), logins and new channels (`limits`), publishes
//! (`publishes`), messages that arrive in a full queue (`queues`), deliveries, including those of
//! held and reordered queues (`deliveries`), and acknowledgements (`acks`). `link` holds up the
//! traffic between the broker and a client.

pub(crate) mod acks;
mod channels;
mod connections;
mod deliveries;
mod limits;
pub(crate) mod link;
pub(crate) mod publishes;
mod queues;
mod scope;

use std::time::Duration;

pub use scope::Scope;

use super::Engine;
use super::time::Time;
use scope::Involved;

/// A fault that has its effect for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing listens: no connection is accepted.
    RefuseConnections,
    /// Nothing passes between the broker and the client, in either direction. Everything that was
    /// sent meanwhile arrives in order when the fault ends.
    Freeze,
    /// Everything that the broker sends arrives later by this delay. Several delays add up.
    Slow(Duration),
    /// Every password counts as wrong, and every new secret.
    RefuseLogins,
    /// A connection may have no more channels open than this.
    LimitChannels(u16),
    /// The next N publishes that await a confirm are not accepted, and are nacked.
    NackPublishes(u64),
    /// The next N publishes are lost, and their connections with them.
    LosePublishes(u64),
    /// The next N publishes that await a confirm are accepted, and their connections are lost
    /// before the confirm.
    LoseConfirms(u64),
    /// The next N acknowledgements are lost, and their connections with them.
    LoseAcks(u64),
    /// The messages of the next N acknowledgements are redelivered although they were acknowledged.
    Redeliver(u64),
    /// The bodies of the next N messages that go out differ from those that were published.
    CorruptBodies(u64),
    /// Queues accept nothing, as if they were full.
    FillQueues,
    /// Queues deliver nothing.
    HoldQueues,
    /// Of the deliveries that several queues have in transit, the one sent last arrives first.
    ReorderQueues,
}

impl Fault {
    /// Returns the maximum number of strikes, if the fault has one.
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

/// Handle to a fault that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// A lasting fault.
#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    scope: Scope,
    strikes: u64,
}

/// Faults that last.
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
    /// Returns true if there are no faults.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Lets the oldest fault strike that is not spent and whose scope fits the event. `effect`
    /// returns the effect of a fault on the event, if any.
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
    /// Begins a fault, which lasts until it is ended.
    pub fn begin_fault(&mut self, now: Time, fault: Fault, scope: Scope) -> FaultId {
        self.advance(now);
        self.note_fault_begin(&fault, &scope);
        self.faults.begun += 1;
        let id = FaultId(self.faults.begun);
        self.faults.active.push(Active {
            id,
            fault,
            scope,
            strikes: 0,
        });
        self.adapt_links();
        self.adapt_order_in_transit();
        id
    }

    /// Ends a fault. Does nothing if the fault has ended already.
    pub fn end_fault(&mut self, now: Time, id: FaultId) {
        self.advance(now);
        let Some(at) = self.faults.active.iter().position(|active| active.id == id) else {
            return;
        };
        let ended = self.faults.active.remove(at);
        self.note_fault_end(&ended.fault, ended.strikes);
        self.adapt_links();
        self.adapt_order_in_transit();
        if ended.fault == Fault::HoldQueues {
            self.resume_queues();
        }
        self.finish();
    }

    /// Returns the number of times that a fault has struck; 0 once the fault has ended.
    #[must_use]
    pub fn strikes(&self, id: FaultId) -> u64 {
        let active = self.faults.active.iter().find(|active| active.id == id);
        active.map_or(0, |active| active.strikes)
    }
}
