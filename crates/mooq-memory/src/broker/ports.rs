//! Where effects go: the mailboxes of connections and channels.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use foldhash::fast::RandomState;
use mooq_core::in_flight::InFlightCount;
use mooq_core::mailbox::{Receiver, Sender, counted_mailbox};
use mooq_core::{ChannelEvent, ConnectionEvent, Error};

use crate::engine::ConnectionId;

/// Why a channel or a connection is closed, once it is: set once, seen by all that use it.
pub(super) type Closed = Arc<OnceLock<Error>>;

/// The mailboxes of all connections.
#[derive(Debug)]
pub(super) struct Ports {
    connections: HashMap<ConnectionId, ConnectionPort, RandomState>,
    in_flight: InFlightCount,
}

#[derive(Debug)]
struct ConnectionPort {
    events: Sender<ConnectionEvent>,
    closed: Closed,
    /// By number.
    channels: Vec<Option<ChannelPort>>,
}

#[derive(Debug)]
struct ChannelPort {
    events: Sender<ChannelEvent>,
    closed: Closed,
}

/// Those to wake once no lock is held.
#[derive(Debug, Default)]
#[must_use = "receivers sleep on until they are woken"]
pub(super) struct Wakers {
    /// Most often there is one.
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Ports {
    /// No mailboxes yet. What is sent to them is counted until it is handled.
    pub(super) fn new(in_flight: InFlightCount) -> Self {
        Self {
            connections: HashMap::default(),
            in_flight,
        }
    }

    pub(super) fn add_connection(
        &mut self,
        id: ConnectionId,
    ) -> (Closed, Receiver<ConnectionEvent>) {
        let (events, receiver) = counted_mailbox(self.in_flight.clone());
        let closed = Closed::default();
        let port = ConnectionPort {
            events,
            closed: Arc::clone(&closed),
            channels: vec![None],
        };
        self.connections.insert(id, port);
        (closed, receiver)
    }

    /// The lowest number up to `max` that no channel of the connection has, and that `is_free`
    /// besides.
    pub(super) fn free_number(
        &self,
        id: ConnectionId,
        max: u16,
        is_free: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let channels = &self.connections.get(&id)?.channels;
        let is_open = |number: u16| {
            channels
                .get(usize::from(number))
                .is_some_and(Option::is_some)
        };
        (1..=max).find(|number| !is_open(*number) && is_free(*number))
    }

    pub(super) fn add_channel(
        &mut self,
        id: ConnectionId,
        number: u16,
    ) -> Option<(Closed, Receiver<ChannelEvent>)> {
        let (events, receiver) = counted_mailbox(self.in_flight.clone());
        let closed = Closed::default();
        let channels = &mut self.connections.get_mut(&id)?.channels;
        if channels.len() <= number.into() {
            channels.resize_with(usize::from(number) + 1, || None);
        }
        *channels.get_mut(usize::from(number))? = Some(ChannelPort {
            events,
            closed: Arc::clone(&closed),
        });
        Some((closed, receiver))
    }

    pub(super) fn send_to_channel(
        &self,
        id: ConnectionId,
        number: u16,
        mut event: ChannelEvent,
        wakers: &mut Wakers,
    ) {
        let connection = self.connections.get(&id);
        let channel = connection.and_then(|port| port.channels.get(usize::from(number)));
        if let Some(Some(port)) = channel {
            if let ChannelEvent::Deliver(deliver) = &mut event {
                deliver.in_flight = self.in_flight.begin();
            }
            wakers.add(port.events.push(event));
        }
    }

    pub(super) fn send_to_connection(
        &self,
        id: ConnectionId,
        event: ConnectionEvent,
        wakers: &mut Wakers,
    ) {
        if let Some(port) = self.connections.get(&id) {
            wakers.add(port.events.push(event));
        }
    }

    pub(super) fn close_channel(
        &mut self,
        id: ConnectionId,
        number: u16,
        why: &Error,
        wakers: &mut Wakers,
    ) {
        let connection = self.connections.get_mut(&id);
        let channel = connection.and_then(|port| port.channels.get_mut(usize::from(number)));
        if let Some(port) = channel.and_then(Option::take) {
            port.close(why, wakers);
        }
    }

    /// Closes a connection and all its channels.
    pub(super) fn close_connection(&mut self, id: ConnectionId, why: &Error, wakers: &mut Wakers) {
        let Some(port) = self.connections.remove(&id) else {
            return;
        };
        let _ = port.closed.set(why.clone());
        for channel in port.channels.into_iter().flatten() {
            channel.close(why, wakers);
        }
        wakers.add(port.events.push(ConnectionEvent::Closed(why.clone())));
    }
}

impl ChannelPort {
    fn close(self, why: &Error, wakers: &mut Wakers) {
        let _ = self.closed.set(why.clone());
        wakers.add(self.events.push(ChannelEvent::Closed(why.clone())));
    }
}

impl Wakers {
    fn add(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else {
            return;
        };
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.others.push(waker);
        }
    }

    /// Wakes all of them, in the order in which something was sent to them.
    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.others.into_iter().for_each(Waker::wake);
        }
    }
}
