//! What all that belongs to one connection shares: whether it is dead, and why.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mooq_core::mailbox::Sender;
use mooq_core::{ConnectionEvent, Endpoint, Error, ErrorKind, QueueName, Result, Scheme};
use tokio::sync::watch;

use crate::events::Events;
use crate::flush::Unflushed;
use crate::numbers::{Count, NoNumber, Numbers};
use crate::reading::{Read, Reading};

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    address: String,
    events: Events<ConnectionEvent>,
    /// Set once, when the connection is dead.
    reason: watch::Sender<Option<Error>>,
    /// Why this side is closing it, if it is.
    closing: OnceLock<Error>,
    pub(crate) numbers: Numbers,
    reading: Arc<Reading>,
    /// There where TLS may hold back what is sent.
    pub(crate) unflushed: Option<Unflushed>,
}

impl Session {
    pub(crate) fn new(
        endpoint: &Endpoint,
        events: Sender<ConnectionEvent>,
        channel_max: u16,
    ) -> Self {
        let address = endpoint.address();
        Self {
            reading: Arc::new(Reading::new(format!("{address}/{}", endpoint.vhost))),
            address,
            events: Events::new(events),
            reason: watch::Sender::new(None),
            closing: OnceLock::new(),
            numbers: Numbers::new(channel_max),
            unflushed: (endpoint.scheme == Scheme::Amqps).then(Unflushed::default),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn send(&self, event: ConnectionEvent) {
        self.events.send(event);
    }

    /// From here on the connection's end is what this side asked for. Only the first reason
    /// counts.
    pub(crate) fn set_closing(&self, reason: Error) {
        let _ = self.closing.set(reason);
    }

    /// The reason that calls get once this side closes the connection.
    pub(crate) fn closed_here(&self) -> Error {
        Error::connection(
            ErrorKind::ConnectionClosed,
            format!(
                "the connection to {} was closed from this side",
                self.address
            ),
        )
    }

    /// The reason that calls get once the connection has too few channel numbers left.
    pub(crate) fn used_up(&self, Count { lost, .. }: Count) -> Error {
        Error::connection(
            ErrorKind::ConnectionLost,
            format!(
                "the connection to {} is used up, and another one has to take its place: the \
                 broker has closed {lost} of its channels, whose numbers cannot be used again",
                self.address
            ),
        )
    }

    /// The connection is dead, for `reason`. Only the first reason counts.
    pub(crate) fn die(&self, reason: Error) {
        let first = self.reason.send_if_modified(|stored| {
            let first = stored.is_none();
            stored.get_or_insert_with(|| reason.clone());
            first
        });
        if first {
            tracing::debug!(broker = self.address, %reason, "connection ended");
            self.events.send_last(ConnectionEvent::Closed(reason));
        }
    }

    /// amqprs' reader has ended: the connection is dead, if it was not before.
    pub(crate) fn reader_ended(&self) {
        if self.reason().is_none() {
            let closing = self.closing.get().cloned();
            self.die(closing.unwrap_or_else(|| self.lost()));
        }
    }

    /// The reason if nobody has given one.
    fn lost(&self) -> Error {
        let mut message = format!("the connection to {} is lost", self.address);
        if let Some(suspicion) = self.reading.connection_lost(Instant::now()) {
            tracing::warn!(broker = self.address, "{suspicion}");
            message = format!("{message}; {suspicion}");
        }
        Error::connection(ErrorKind::ConnectionLost, message)
    }

    /// Why the connection is dead, if it is.
    pub(crate) fn reason(&self) -> Option<Error> {
        self.reason.borrow().clone()
    }

    /// Waits until the connection is dead, and gives the reason.
    pub(crate) async fn dead(&self) -> Error {
        let mut reason = self.reason.subscribe();
        match reason.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            // Not reached: this session owns the sender.
            Ok(None) | Err(_) => self.closed_here(),
        }
    }

    /// Something is being sent, and has to arrive.
    pub(crate) fn sent(&self) {
        if let Some(unflushed) = &self.unflushed {
            unflushed.sent();
        }
    }

    /// Reserves a number for a channel. The error is `ConnectionLost` if the connection is used
    /// up, and else the caller's alone.
    pub(crate) fn take_number(&self) -> Result<()> {
        self.numbers.take().map_err(|none| match none {
            NoNumber::UsedUp(count) => self.used_up(count),
            NoNumber::InUse(Count { limit, .. }) => Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "all {limit} channels that the broker {} allows on a connection are in use",
                    self.address
                ),
            ),
        })
    }

    /// From here on the broker may send from `queue`, until what this gives is dropped.
    pub(crate) fn read(&self, queue: QueueName) -> Read {
        self.reading.begin(queue)
    }
}

#[cfg(test)]
mod tests {
    use mooq_core::ErrorScope;
    use mooq_core::mailbox::mailbox;

    use super::*;

    fn session(channel_max: u16) -> Session {
        Session::new(&endpoint(), mailbox().0, channel_max)
    }

    fn endpoint() -> Endpoint {
        "amqp://rabbit".parse().unwrap()
    }

    #[test]
    fn the_first_reason_stays_and_is_the_last_event() {
        let (sender, mut receiver) = mailbox();
        let session = Session::new(&endpoint(), sender, 0);
        assert!(session.reason().is_none());
        session.send(ConnectionEvent::Unblocked);
        session.reader_ended();
        session.die(session.closed_here());
        session.send(ConnectionEvent::Unblocked);

        let reason = session.reason().unwrap();
        assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
        assert!(reason.to_string().contains("rabbit:5672"), "{reason}");
        let events: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert!(
            matches!(&events[..], [ConnectionEvent::Unblocked, ConnectionEvent::Closed(e)]
                if e.kind() == ErrorKind::ConnectionLost),
            "{events:?}"
        );
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_loss() {
        let session = session(0);
        session.set_closing(session.closed_here());
        session.reader_ended();
        let reason = session.reason().unwrap();
        assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    }

    #[test]
    fn too_many_channels_are_the_callers_error_and_lost_ones_the_connections() {
        let session = session(1);
        session.take_number().unwrap();
        let err = session.take_number().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotAllowed);
        assert_eq!(err.scope(), ErrorScope::Operation);
        session.numbers.lose();
        let err = session.take_number().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionLost);
        assert_eq!(err.scope(), ErrorScope::Connection);
    }

    #[test]
    fn a_queue_whose_reading_ends_connections_is_named() {
        // A broker of its own: ends are counted for the process.
        let endpoint = "amqp://poisoned".parse().unwrap();
        let lost = || {
            let session = Session::new(&endpoint, mailbox().0, 0);
            let _read = session.read("orders".try_into().unwrap());
            session.reader_ended();
            session.reason().unwrap().to_string()
        };
        assert_eq!(lost(), "the connection to poisoned:5672 is lost");
        lost();
        let third = lost();
        assert!(third.contains("'orders' (3 times)"), "{third}");
        assert!(third.contains("UTF-8"), "{third}");
    }
}
