//! What lies between the broker and a client, where that is slow or frozen.
//!
//! What the broker sends over such a link is held up, each link's in order, and arrives when its
//! time has come or the frozen link goes on. What a client sends over a frozen one waits unread,
//! as it does during an alarm.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mooq_core::ShortString;

use super::scope::Involved;
use super::{Active, Fault, Faults};
use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::command::{ConnectionId, Effect};
use crate::engine::connection::Connection;
use crate::engine::time::Time;

/// The links that are not as they should be.
#[derive(Debug, Default)]
pub(crate) struct Links {
    by_connection: BTreeMap<Key<Connection>, Link>,
    /// What has come through, to be handed on.
    arrived: VecDeque<Effect>,
}

#[derive(Debug)]
struct Link {
    /// The connection's, which may be gone before what it was sent arrives.
    name: Option<ShortString>,
    state: State,
    /// With the time of the arrival, which is later on a frozen link.
    held: VecDeque<(Time, Effect)>,
}

/// What faults do to a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    is_frozen: bool,
    delay: Duration,
}

impl Links {
    pub(crate) fn is_frozen(&self, connection: Key<Connection>) -> bool {
        !self.by_connection.is_empty()
            && self
                .by_connection
                .get(&connection)
                .is_some_and(|link| link.state.is_frozen)
    }

    /// Whether nothing is held up or was.
    pub(crate) fn are_good(&self) -> bool {
        self.by_connection.is_empty() && self.arrived.is_empty()
    }

    /// Whether something here depends on the time.
    pub(crate) fn keep_time(&self) -> bool {
        !self.by_connection.is_empty()
    }

    /// Keeps an effect back that has to go over a bad link, or gives it back.
    pub(crate) fn hold_up(&mut self, now: Time, effect: Effect) -> Option<Effect> {
        let Some(link) = self.by_connection.get_mut(&effect.connection().0) else {
            return Some(effect);
        };
        let arrival = now.plus(link.state.delay);
        link.held.push_back((arrival, effect));
        None
    }

    /// How much has not come through.
    pub(crate) fn held_up(&self) -> usize {
        self.by_connection
            .values()
            .map(|link| link.held.len())
            .sum()
    }

    /// What has come through.
    pub(crate) fn next_arrived(&mut self) -> Option<Effect> {
        self.arrived.pop_front()
    }

    /// When something comes through next, if that is known.
    pub(crate) fn next_arrival(&self) -> Option<Time> {
        if self.by_connection.is_empty() {
            return None;
        }
        let links = self
            .by_connection
            .values()
            .filter(|link| !link.state.is_frozen);
        links.filter_map(|link| Some(link.held.front()?.0)).min()
    }

    /// Lets arrive what is to arrive by now.
    pub(crate) fn advance(&mut self, now: Time) {
        while let Some((at, key)) = self.first_due(now) {
            let Some(link) = self.by_connection.get_mut(&key) else {
                return;
            };
            // Nothing overtakes what was sent before it, should the link have become faster.
            let is_due = |(time, _): &(Time, Effect)| *time <= at;
            while link.held.front().is_some_and(is_due) {
                self.arrived
                    .extend(link.held.pop_front().map(|(_, effect)| effect));
            }
        }
    }

    /// The link on which something arrives first of all.
    fn first_due(&self, now: Time) -> Option<(Time, Key<Connection>)> {
        let links = self
            .by_connection
            .iter()
            .filter(|(_, link)| !link.state.is_frozen);
        let first = links.filter_map(|(key, link)| Some((link.held.front()?.0, *key)));
        first.min().filter(|(at, _)| *at <= now)
    }
}

impl Engine {
    /// Whether what a client asks for on a connection is answered later: by an alarm or a fault.
    #[must_use]
    pub fn answers_later(&self, connection: ConnectionId) -> bool {
        let is_unread = |connection: &Connection| connection.unread.is_some();
        self.links.by_connection.contains_key(&connection.0)
            || self.connections.get(connection.0).is_some_and(is_unread)
    }

    /// How a connection of this name would be opened: none if nothing comes through, or else
    /// how much later.
    #[must_use]
    pub fn delay_of_opening(&self, connection_name: Option<&str>) -> Option<Duration> {
        let state = self.faults.state_of_link(connection_name);
        (!state.is_frozen).then_some(state.delay)
    }

    /// Brings the links in line with the faults as they are now.
    pub(in crate::engine) fn adapt_links(&mut self) {
        if self.faults.active.is_empty() && self.links.by_connection.is_empty() {
            return;
        }
        for (key, open) in self.connections.iter() {
            let name = &open.name;
            self.links.by_connection.entry(key).or_insert_with(|| Link {
                name: name.clone(),
                state: State::default(),
                held: VecDeque::new(),
            });
        }
        let mut links = std::mem::take(&mut self.links.by_connection);
        links.retain(|key, link| {
            link.state = self.faults.state_of_link(link.name.as_deref());
            if link.state == State::default() {
                let held = link.held.drain(..);
                self.links.arrived.extend(held.map(|(_, effect)| effect));
                return false;
            }
            !link.held.is_empty() || self.connections.get(*key).is_some()
        });
        self.links.by_connection = links;
        self.links.advance(self.now);
        self.read_on();
    }
}

impl Faults {
    fn state_of_link(&self, connection_name: Option<&str>) -> State {
        let what = Involved::connection(connection_name);
        let mut state = State::default();
        for Active { fault, scope, .. } in &self.active {
            match fault {
                Fault::Freeze if scope.fits(what) => state.is_frozen = true,
                Fault::Slow(delay) if scope.fits(what) => {
                    state.delay = state.delay.saturating_add(*delay);
                }
                _ => {}
            }
        }
        state
    }
}
