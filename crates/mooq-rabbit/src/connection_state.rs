//! The shared state of one connection, including its death and the reason of it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mooq_core::mailbox::Sender;
use mooq_core::{ConnectionEvent, Endpoint, Error, ErrorKind, QueueName, Result, Scheme};
use tokio::sync::watch;

use crate::channel_ids::{ChannelIds, Count, NoChannelId};
use crate::events::Events;
use crate::flush::Unflushed;
use crate::poison::{PoisonWatch, ReadGuard};

/// One connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    address: String,
    events: Events<ConnectionEvent>,
    /// The reason of the connection's death. Set once.
    reason: watch::Sender<Option<Error>>,
    /// The reason why this side is closing the connection, if it is.
    closing: OnceLock<Error>,
    pub(crate) channel_ids: ChannelIds,
    poison: Arc<PoisonWatch>,
    /// Present if TLS may hold back data.
    pub(crate) unflushed: Option<Unflushed>,
}

impl ConnectionState {
    pub(crate) fn new(
        endpoint: &Endpoint,
        events: Sender<ConnectionEvent>,
        channel_max: u16,
    ) -> Self {
        let address = endpoint.address();
        Self {
            poison: Arc::new(PoisonWatch::new(format!("{address}/{}", endpoint.vhost))),
            address,
            events: Events::new(events),
            reason: watch::Sender::new(None),
            closing: OnceLock::new(),
            channel_ids: ChannelIds::new(channel_max),
            unflushed: (endpoint.scheme == Scheme::Amqps).then(Unflushed::default),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn send(&self, event: ConnectionEvent) {
        self.events.send(event);
    }

    /// Marks the connection's end as requested by this side. Only the first reason counts.
    pub(crate) fn set_closing(&self, reason: Error) {
        let _ = self.closing.set(reason);
    }

    /// The reason for failed calls once this side closes the connection.
    pub(crate) fn closed_here(&self) -> Error {
        Error::connection(
            ErrorKind::ConnectionClosed,
            format!(
                "the connection to {} was closed from this side",
                self.address
            ),
        )
    }

    /// The reason for failed calls once the connection has too few channel numbers left.
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

    /// Marks the connection as dead, for `reason`. Only the first reason counts.
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

    /// Marks the connection as dead because amqprs' reader has ended, if it was not dead before.
    pub(crate) fn reader_ended(&self) {
        if self.reason().is_none() {
            let closing = self.closing.get().cloned();
            self.die(closing.unwrap_or_else(|| self.lost()));
        }
    }

    /// The reason if no other has been stored.
    fn lost(&self) -> Error {
        let mut message = format!("the connection to {} is lost", self.address);
        if let Some(suspicion) = self.poison.connection_lost(Instant::now()) {
            tracing::warn!(broker = self.address, "{suspicion}");
            message = format!("{message}; {suspicion}");
        }
        Error::connection(ErrorKind::ConnectionLost, message)
    }

    /// The reason why the connection is dead, if it is.
    pub(crate) fn reason(&self) -> Option<Error> {
        self.reason.borrow().clone()
    }

    /// Waits until the connection is dead, and returns the reason.
    pub(crate) async fn dead(&self) -> Error {
        let mut reason = self.reason.subscribe();
        match reason.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            // Unreachable: this owns the sender.
            Ok(None) | Err(_) => self.closed_here(),
        }
    }

    /// Records that data is being sent, which has to arrive.
    pub(crate) fn sent(&self) {
        if let Some(unflushed) = &self.unflushed {
            unflushed.sent();
        }
    }

    /// Reserves a number for a channel. The error is `ConnectionLost` if the connection is used up;
    /// otherwise it concerns only the caller.
    pub(crate) fn take_channel_id(&self) -> Result<()> {
        self.channel_ids.take().map_err(|none| match none {
            NoChannelId::UsedUp(count) => self.used_up(count),
            NoChannelId::InUse(Count { limit, .. }) => Error::new(
                ErrorKind::NotAllowed,
                format!(
                    "all {limit} channels that the broker {} allows on a connection are in use",
                    self.address
                ),
            ),
        })
    }

    /// Begins a read: from here on the broker may send from `queue`, until the returned
    /// [`ReadGuard`] is dropped.
    ///
    /// # Errors
    /// `ConsumerCancelled` if the queue has ended connections too often; the reason of the
    /// connection's death, if it is dead.
    pub(crate) async fn read(&self, queue: QueueName) -> Result<ReadGuard> {
        tokio::select! {
            biased;
            begun = self.poison.begin(queue) => begun,
            // The read may have to wait for its turn.
            reason = self.dead() => Err(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use mooq_core::ErrorScope;
    use mooq_core::mailbox::mailbox;

    use super::*;

    fn state(channel_max: u16) -> ConnectionState {
        ConnectionState::new(&endpoint(), mailbox().0, channel_max)
    }

    fn endpoint() -> Endpoint {
        "amqp://rabbit".parse().unwrap()
    }

    #[test]
    fn the_first_reason_stays_and_is_the_last_event() {
        let (sender, mut receiver) = mailbox();
        let state = ConnectionState::new(&endpoint(), sender, 0);
        assert!(state.reason().is_none());
        state.send(ConnectionEvent::Unblocked);
        state.reader_ended();
        state.die(state.closed_here());
        state.send(ConnectionEvent::Unblocked);

        let reason = state.reason().unwrap();
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
        let state = state(0);
        state.set_closing(state.closed_here());
        state.reader_ended();
        let reason = state.reason().unwrap();
        assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    }

    #[test]
    fn too_many_channels_are_the_callers_error_and_lost_ones_the_connections() {
        let state = state(1);
        state.take_channel_id().unwrap();
        let err = state.take_channel_id().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotAllowed);
        assert_eq!(err.scope(), ErrorScope::Operation);
        state.channel_ids.lose();
        let err = state.take_channel_id().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionLost);
        assert_eq!(err.scope(), ErrorScope::Connection);
    }

    #[tokio::test]
    async fn a_queue_whose_reading_ends_connections_is_named() {
        // A broker of its own: ends are counted for the whole process.
        let endpoint = "amqp://poisoned".parse().unwrap();
        let lost = async || {
            let state = ConnectionState::new(&endpoint, mailbox().0, 0);
            let _read = state.read("orders".try_into().unwrap()).await.unwrap();
            state.reader_ended();
            state.reason().unwrap().to_string()
        };
        assert_eq!(lost().await, "the connection to poisoned:5672 is lost");
        lost().await;
        let third = lost().await;
        assert!(third.contains("'orders' (3 times)"), "{third}");
        assert!(third.contains("UTF-8"), "{third}");
    }
}
