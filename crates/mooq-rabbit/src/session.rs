//! What all that belongs to one connection shares: whether it is dead, why, and how many channel
//! numbers it has left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mooq_core::mailbox::Sender;
use mooq_core::{ConnectionEvent, Error, ErrorKind, Result};
use tokio::sync::watch;

use crate::events::Events;

/// The most channels that the broker may close before a connection opens no more.
///
/// amqprs never gives back the number of a channel that the broker closed, and its reader panics
/// when no number is left: RabbitMQ allows 2,047 by default.
const MOST_LOST_CHANNELS: usize = 1500;

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    address: String,
    events: Events<ConnectionEvent>,
    /// Set once, when the connection is dead.
    reason: watch::Sender<Option<Error>>,
    /// It is being closed from this side.
    closing: AtomicBool,
    numbers: Mutex<Numbers>,
}

/// The numbers of channels.
#[derive(Debug)]
struct Numbers {
    /// How many there are.
    limit: usize,
    /// How many are taken, the lost ones among them.
    taken: usize,
    /// How many will never be free again.
    lost: usize,
}

impl Session {
    pub(crate) fn new(address: String, events: Sender<ConnectionEvent>, channel_max: u16) -> Self {
        // 0 stands for no limit but that of the field.
        let limit = if channel_max == 0 {
            u16::MAX
        } else {
            channel_max
        };
        Self {
            address,
            events: Events::new(events),
            reason: watch::Sender::new(None),
            closing: AtomicBool::new(false),
            numbers: Mutex::new(Numbers {
                limit: limit.into(),
                taken: 0,
                lost: 0,
            }),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn send(&self, event: ConnectionEvent) {
        self.events.send(event);
    }

    /// From here on the connection's end is what this side asked for.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
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
        if self.closing.load(Ordering::Acquire) {
            self.die(self.closed_here());
        } else {
            self.die(Error::connection(
                ErrorKind::ConnectionLost,
                format!("the connection to {} is lost", self.address),
            ));
        }
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

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a number for a channel.
    ///
    /// amqprs counts on its own which number that is; with none left its reader would panic.
    pub(crate) fn take_number(&self) -> Result<()> {
        let mut numbers = self.numbers();
        let Numbers { limit, taken, lost } = *numbers;
        // A share of a small limit, so that it is not all lost channels in the end.
        if lost >= MOST_LOST_CHANNELS.min(limit - limit / 4) {
            return Err(Error::connection(
                ErrorKind::NotAllowed,
                format!(
                    "the broker has closed {lost} channels of this connection to {}, and their \
                     numbers cannot be used again: open another connection",
                    self.address
                ),
            ));
        }
        if taken >= limit {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "all {limit} channels that the broker {} allows on a connection are in use, \
                     {lost} of them since it closed them",
                    self.address
                ),
            ));
        }
        numbers.taken += 1;
        Ok(())
    }

    /// A channel was closed by agreement: its number is free.
    pub(crate) fn give_number(&self) {
        let mut numbers = self.numbers();
        numbers.taken = numbers.taken.saturating_sub(1);
    }

    /// The broker closed a channel: its number stays taken.
    pub(crate) fn channel_is_lost(&self) {
        self.numbers().lost += 1;
    }
}

#[cfg(test)]
mod tests {
    use mooq_core::ErrorScope;
    use mooq_core::mailbox::mailbox;

    use super::*;

    fn session(channel_max: u16) -> Session {
        Session::new("rabbit:5672".into(), mailbox().0, channel_max)
    }

    #[test]
    fn the_first_reason_stays_and_is_the_last_event() {
        let (sender, mut receiver) = mailbox();
        let session = Session::new("rabbit:5672".into(), sender, 0);
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
        session.set_closing();
        session.reader_ended();
        let reason = session.reason().unwrap();
        assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    }

    #[test]
    fn numbers_of_channels_closed_by_agreement_are_used_again() {
        let session = session(2);
        session.take_number().unwrap();
        session.take_number().unwrap();
        let err = session.take_number().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotAllowed);
        assert_eq!(err.scope(), ErrorScope::Operation);
        session.give_number();
        session.take_number().unwrap();
    }

    #[test]
    fn a_connection_whose_channels_the_broker_closed_is_used_up() {
        let session = session(2047);
        for _ in 0..MOST_LOST_CHANNELS {
            session.take_number().unwrap();
            session.channel_is_lost();
        }
        let err = session.take_number().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotAllowed);
        assert_eq!(err.scope(), ErrorScope::Connection);
        assert!(err.to_string().contains("1500 channels"), "{err}");
    }
}
