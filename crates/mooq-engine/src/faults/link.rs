//! Slow and frozen links between the broker and its clients.
//!
//! Effects that the broker sends over such a link are held up, each link's in order. A held effect
//! arrives when its time has come or the frozen link goes on. Commands that a client sends over a
//! frozen link wait unread, as they do during an alarm.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mooq_core::ShortString;

use super::scope::Involved;
use super::{Active, Fault, Faults};
use crate::Engine;
use crate::command::Effect;
use crate::connection::Connection;
use crate::ids::ConnectionId;
use crate::time::Time;

/// Links that are slow or frozen.
#[derive(Debug, Default)]
pub(crate) struct Links {
    by_connection: BTreeMap<ConnectionId, Link>,
    /// Effects that have come through, to be passed on.
    arrived: VecDeque<Effect>,
}

#[derive(Debug)]
struct Link {
    /// Name of the connection, which may be gone before its effects arrive.
    name: Option<ShortString>,
    state: State,
    /// Effects that are held up, each with the time of its arrival. On a frozen link, the arrival
    /// is later than that.
    held: VecDeque<(Time, Effect)>,
}

/// Effect of faults on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    is_frozen: bool,
    delay: Duration,
}

impl Links {
    pub(crate) fn is_frozen(&self, connection: ConnectionId) -> bool {
        !self.by_connection.is_empty()
            && self
                .by_connection
                .get(&connection)
                .is_some_and(|link| link.state.is_frozen)
    }

    /// Returns true if nothing is or was held up.
    pub(crate) fn are_good(&self) -> bool {
        self.by_connection.is_empty() && self.arrived.is_empty()
    }

    /// Returns true if any state of the links depends on the time.
    pub(crate) fn keep_time(&self) -> bool {
        !self.by_connection.is_empty()
    }

    /// Holds back an effect that has to go over a bad link. Returns any other effect.
    pub(crate) fn hold_up(&mut self, now: Time, effect: Effect) -> Option<Effect> {
        let Some(link) = self.by_connection.get_mut(&effect.connection()) else {
            return Some(effect);
        };
        let arrival = now.plus(link.state.delay);
        link.held.push_back((arrival, effect));
        None
    }

    /// Returns the number of effects that have not come through.
    pub(crate) fn held_up(&self) -> usize {
        self.by_connection
            .values()
            .map(|link| link.held.len())
            .sum()
    }

    /// Returns the next effect that has come through.
    pub(crate) fn next_arrived(&mut self) -> Option<Effect> {
        self.arrived.pop_front()
    }

    /// Returns the time at which an effect comes through next, if that is known.
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

    /// Lets the effects arrive that are due by now.
    pub(crate) fn advance(&mut self, now: Time) {
        while let Some((at, key)) = self.first_due(now) {
            let Some(link) = self.by_connection.get_mut(&key) else {
                return;
            };
            // No effect overtakes an earlier one, even if the link has become faster.
            let is_due = |(time, _): &(Time, Effect)| *time <= at;
            while link.held.front().is_some_and(is_due) {
                self.arrived
                    .extend(link.held.pop_front().map(|(_, effect)| effect));
            }
        }
    }

    /// Returns the link on which an effect arrives first of all, if that effect is due.
    fn first_due(&self, now: Time) -> Option<(Time, ConnectionId)> {
        let links = self
            .by_connection
            .iter()
            .filter(|(_, link)| !link.state.is_frozen);
        let first = links.filter_map(|(key, link)| Some((link.held.front()?.0, *key)));
        first.min().filter(|(at, _)| *at <= now)
    }
}

impl Engine {
    /// Returns true if a client's requests on a connection are answered later, because of an alarm
    /// or a fault.
    #[must_use]
    pub fn answers_later(&self, connection: ConnectionId) -> bool {
        let is_unread = |connection: &Connection| connection.unread.is_some();
        self.links.by_connection.contains_key(&connection)
            || self.connections.get(connection).is_some_and(is_unread)
    }

    /// Returns true if the connection's link is frozen: nothing passes in either direction.
    #[must_use]
    pub fn is_frozen(&self, connection: ConnectionId) -> bool {
        self.links.is_frozen(connection)
    }

    /// Returns the delay with which a connection of this name would be opened; none if nothing
    /// comes through.
    #[must_use]
    pub fn delay_of_opening(&self, connection_name: Option<&str>) -> Option<Duration> {
        let state = self
            .faults
            .state_of_link(Involved::connection(connection_name));
        (!state.is_frozen).then_some(state.delay)
    }

    /// Returns the delay with which a client is greeted that has not said its connection's name yet;
    /// none if nothing comes through.
    #[must_use]
    pub fn delay_of_greeting(&self) -> Option<Duration> {
        let state = self.faults.state_of_link(Involved::newcomer());
        (!state.is_frozen).then_some(state.delay)
    }

    /// Brings the links in line with the current faults.
    pub(crate) fn adapt_links(&mut self) {
        if self.faults.active.is_empty() && self.links.by_connection.is_empty() {
            return;
        }
        for (key, open) in &self.connections {
            let name = &open.name;
            self.links.by_connection.entry(key).or_insert_with(|| Link {
                name: name.clone(),
                state: State::default(),
                held: VecDeque::new(),
            });
        }
        let mut links = std::mem::take(&mut self.links.by_connection);
        links.retain(|key, link| {
            let what = Involved::connection(link.name.as_deref());
            link.state = self.faults.state_of_link(what);
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
    fn state_of_link(&self, what: Involved<'_>) -> State {
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
