//! What can be made to go wrong: faults that begin and end, and what each of them strikes.
//!
//! A fault that lasts is begun with [`Engine::begin_fault`] and ended with [`Engine::end_fault`];
//! what happens once (`connections`, `channels`) is a method of its own. `link` holds up what
//! goes between the broker and a client.

mod channels;
mod connections;
pub(crate) mod link;
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

impl Faults {
    /// Strikes by the oldest fault of a sort that what happens fits, if there is one.
    fn strike(&mut self, is_it: impl Fn(&Fault) -> bool, what: Involved<'_>) -> bool {
        let fits = |active: &&mut Active| is_it(&active.fault) && active.scope.fits(what);
        let Some(active) = self.active.iter_mut().find(fits) else {
            return false;
        };
        active.strikes += 1;
        true
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
        id
    }

    /// Ends a fault. Nothing happens if it has ended already.
    pub fn end_fault(&mut self, now: Time, id: FaultId) {
        self.advance(now);
        self.faults.active.retain(|active| active.id != id);
        self.adapt_links();
    }

    /// How often a fault has struck; 0 once it has ended.
    #[must_use]
    pub fn strikes(&self, id: FaultId) -> u64 {
        let active = self.faults.active.iter().find(|active| active.id == id);
        active.map_or(0, |active| active.strikes)
    }

    /// Whether a client that calls itself so finds nobody to connect to. That strikes.
    pub fn refuses_connection(&mut self, connection_name: Option<&str>) -> bool {
        let is_it = |fault: &Fault| matches!(fault, Fault::RefuseConnections);
        self.faults
            .strike(is_it, Involved::connection(connection_name))
    }
}
