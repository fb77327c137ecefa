//! Mailboxes of connections and channels, which receive effects.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use foldhash::fast::RandomState;
use mooq_core::in_flight::InFlightCount;
use mooq_core::mailbox::{Receiver, Sender, counted_mailbox};
use mooq_core::{ChannelEvent, ConnectionEvent, Error};

use mooq_engine::{ConnectionId, Effect, Reply};

/// The reason why a channel or a connection is closed, once it is: set once, seen by all its users.
pub(super) type Closed = Arc<OnceLock<Error>>;

/// The mailboxes of all connections.
#[derive(Debug)]
pub(super) struct Mailboxes {
    connections: HashMap<ConnectionId, ConnectionMailbox, RandomState>,
    /// The mailboxes of clients that speak AMQP themselves, and receive every effect in order.
    protocol: HashMap<ConnectionId, Sender<Effect>, RandomState>,
    in_flight: InFlightCount,
}

#[derive(Debug)]
struct ConnectionMailbox {
    events: Sender<ConnectionEvent>,
    closed: Closed,
    /// Channels, indexed by number.
    channels: Vec<Option<ChannelMailbox>>,
}

#[derive(Debug)]
struct ChannelMailbox {
    events: Sender<ChannelEvent>,
    closed: Closed,
}

/// The wakers to wake once no lock is held.
#[derive(Debug, Default)]
#[must_use = "receivers sleep on until they are woken"]
pub(super) struct Wakers {
    /// The first waker. In most cases it is the only one.
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Mailboxes {
    /// An empty set of mailboxes. Everything sent to a mailbox is counted until it is handled.
    pub(super) fn new(in_flight: InFlightCount) -> Self {
        Self {
            connections: HashMap::default(),
            protocol: HashMap::default(),
            in_flight,
        }
    }

    pub(super) fn add_connection(
        &mut self,
        id: ConnectionId,
    ) -> (Closed, Receiver<ConnectionEvent>) {
        let (events, receiver) = counted_mailbox(self.in_flight.clone());
        let closed = Closed::default();
        let mailbox = ConnectionMailbox {
            events,
            closed: Arc::clone(&closed),
            channels: vec![None],
        };
        self.connections.insert(id, mailbox);
        (closed, receiver)
    }

    /// Adds a connection that receives every effect in order.
    pub(super) fn add_protocol_connection(&mut self, id: ConnectionId) -> Receiver<Effect> {
        let (effects, receiver) = counted_mailbox(self.in_flight.clone());
        self.protocol.insert(id, effects);
        receiver
    }

    /// Sends an effect to a connection that receives all of them. Returns the effect if it is for
    /// another kind of connection.
    #[inline]
    pub(super) fn send_to_protocol(
        &mut self,
        effect: Effect,
        wakers: &mut Wakers,
    ) -> Option<Effect> {
        // In most cases there are no such connections, so there is nothing to look up.
        if self.protocol.is_empty() {
            return Some(effect);
        }
        let id = effect.connection();
        let Some(effects) = self.protocol.get(&id) else {
            return Some(effect);
        };
        let is_last = matches!(
            effect,
            Effect::Connection {
                event: ConnectionEvent::Closed(_),
                ..
            }
        );
        wakers.add(effects.push(self.counted(effect)));
        if is_last {
            self.protocol.remove(&id);
        }
        None
    }

    /// Counts the effect's message as in flight for as long as its receiver keeps the message.
    fn counted(&self, mut effect: Effect) -> Effect {
        match &mut effect {
            Effect::Channel {
                event: ChannelEvent::Deliver(deliver),
                ..
            } => {
                deliver.in_flight = self.in_flight.begin();
            }
            Effect::Reply {
                reply: Reply::Fetched(Some(fetched)),
                ..
            } => {
                fetched.in_flight = self.in_flight.begin();
            }
            _ => {}
        }
        effect
    }

    /// Removes a connection that receives every effect.
    pub(super) fn remove_protocol_connection(&mut self, id: ConnectionId) {
        self.protocol.remove(&id);
    }

    /// The lowest number up to `max` that is not used by a channel of the connection, and for which
    /// `is_free` returns true.
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
        *channels.get_mut(usize::from(number))? = Some(ChannelMailbox {
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
        let channel = connection.and_then(|mailbox| mailbox.channels.get(usize::from(number)));
        if let Some(Some(mailbox)) = channel {
            if let ChannelEvent::Deliver(deliver) = &mut event {
                deliver.in_flight = self.in_flight.begin();
            }
            wakers.add(mailbox.events.push(event));
        }
    }

    pub(super) fn send_to_connection(
        &self,
        id: ConnectionId,
        event: ConnectionEvent,
        wakers: &mut Wakers,
    ) {
        if let Some(mailbox) = self.connections.get(&id) {
            wakers.add(mailbox.events.push(event));
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
        let channel = connection.and_then(|mailbox| mailbox.channels.get_mut(usize::from(number)));
        if let Some(mailbox) = channel.and_then(Option::take) {
            mailbox.close(why, wakers);
        }
    }

    /// Closes a connection and all its channels.
    pub(super) fn close_connection(&mut self, id: ConnectionId, why: &Error, wakers: &mut Wakers) {
        let Some(mailbox) = self.connections.remove(&id) else {
            return;
        };
        let _ = mailbox.closed.set(why.clone());
        for channel in mailbox.channels.into_iter().flatten() {
            channel.close(why, wakers);
        }
        wakers.add(mailbox.events.push(ConnectionEvent::Closed(why.clone())));
    }
}

impl ChannelMailbox {
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

    /// Wakes all receivers, in the order in which something was sent to them.
    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.others.into_iter().for_each(Waker::wake);
        }
    }
}
