//! A channel below the client: AMQP's methods, and its events one by one.

mod build;
mod call;
mod quorum;

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, ConsumerTag, Deliver, Endpoint, Error, ErrorScope,
    OpenedConnection, QueueDeclare, RawMethods, Result, Returned, TransportChannel,
    TransportConnection,
};
use tokio::sync::Mutex;

pub use self::build::{
    binding, body, consumer, exchange, exchange_binding, mandatory, message, message_with,
    passive_exchange, passive_queue, queue, table, text,
};
pub use self::quorum::{quorum_queue, quorum_queue_with};
use crate::backend::Broker;
use crate::expect::{Method, expect_reason, within};

/// A channel and the connection that it is on, with their events.
#[derive(Debug)]
pub struct Raw {
    /// The connection.
    pub connection: Arc<dyn TransportConnection>,
    connection_events: Arc<Mutex<Receiver<ConnectionEvent>>>,
    /// The channel.
    pub channel: Arc<dyn TransportChannel>,
    /// The channel's events.
    pub events: Receiver<ChannelEvent>,
}

impl Raw {
    pub(crate) async fn open(broker: &dyn Broker, endpoint: &Endpoint) -> Self {
        let opened = broker.transport().open(endpoint).await;
        let OpenedConnection { connection, events } = opened.expect("the broker takes connections");
        Self::on(connection, Arc::new(Mutex::new(events))).await
    }

    async fn on(
        connection: Arc<dyn TransportConnection>,
        connection_events: Arc<Mutex<Receiver<ConnectionEvent>>>,
    ) -> Self {
        let opened = connection.open_channel().await.expect("a channel opens");
        Self {
            connection,
            connection_events,
            channel: opened.channel,
            events: opened.events,
        }
    }

    /// Another channel on the same connection.
    pub async fn sibling(&self) -> Self {
        Self::on(
            Arc::clone(&self.connection),
            Arc::clone(&self.connection_events),
        )
        .await
    }

    /// The methods of the channel that mooq's client never calls.
    ///
    /// # Panics
    /// If the transport lacks them.
    pub fn methods(&self) -> &dyn RawMethods {
        self.channel
            .raw_methods()
            .expect("the transport has every method of AMQP")
    }

    /// Goes on with a new channel in place of this one.
    pub async fn reopen(&mut self) {
        *self = self.sibling().await;
    }

    /// The channel's next event.
    pub async fn event(&mut self) -> ChannelEvent {
        within("the channel's next event", self.events.next())
            .await
            .expect("the channel's events end with its close")
    }

    /// The next event, which must be a delivery.
    pub async fn delivery(&mut self) -> Deliver {
        match self.event().await {
            ChannelEvent::Deliver(deliver) => deliver,
            other => panic!("expected a delivery, not {other:?}"),
        }
    }

    /// The bodies of the next `count` events, which must be deliveries.
    pub async fn delivered(&mut self, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        for _ in 0..count {
            bodies.push(text(&self.delivery().await).to_owned());
        }
        bodies
    }

    /// The next event, which must be a returned message.
    pub async fn returned(&mut self) -> Returned {
        match self.event().await {
            ChannelEvent::Return(returned) => returned,
            other => panic!("expected a returned message, not {other:?}"),
        }
    }

    /// The next event, which must be a confirm: its sequence number.
    pub async fn confirmed(&mut self) -> u64 {
        match self.event().await {
            ChannelEvent::Confirm { sequence, .. } => sequence,
            other => panic!("expected a confirm, not {other:?}"),
        }
    }

    /// The next event, which must be a consumer's cancellation by the broker.
    pub async fn cancelled(&mut self) -> ConsumerTag {
        match self.event().await {
            ChannelEvent::ConsumerCancelled(tag) => tag,
            other => panic!("expected a consumer's cancellation, not {other:?}"),
        }
    }

    /// The reason of the channel's close, which must be the next event.
    pub async fn closed(&mut self) -> Error {
        match self.event().await {
            ChannelEvent::Closed(err) => err,
            other => panic!("expected the channel's close, not {other:?}"),
        }
    }

    /// Asserts that the broker closes the channel with exactly this reason, as its next event,
    /// and goes on with a new channel.
    pub async fn closes(&mut self, code: u16, method: Method, text: &str) {
        let err = self.closed().await;
        assert_eq!(err.scope(), ErrorScope::Channel, "{err}");
        expect_reason(&err, code, method, text);
        self.reopen().await;
    }

    /// Asserts that the broker answered a call by closing the channel with exactly this reason,
    /// and goes on with a new channel.
    pub async fn refused<T: Debug>(
        &mut self,
        outcome: Result<T>,
        code: u16,
        method: Method,
        text: &str,
    ) {
        let err = outcome.expect_err(text);
        assert_eq!(err.scope(), ErrorScope::Channel, "{err}");
        expect_reason(&err, code, method, text);
        self.closes(code, method, text).await;
    }

    /// Asserts that the broker closes the whole connection with exactly this reason, for the
    /// channel and the connection alike.
    pub async fn closes_connection(&mut self, code: u16, method: Method, text: &str) {
        let err = self.closed().await;
        assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
        expect_reason(&err, code, method, text);
        let mut events = self.connection_events.lock().await;
        match within("the connection's close", events.next()).await {
            Some(ConnectionEvent::Closed(err)) => expect_reason(&err, code, method, text),
            other => panic!("expected the connection's close, not {other:?}"),
        }
    }

    /// The connection's next event.
    pub async fn connection_event(&self) -> ConnectionEvent {
        let mut events = self.connection_events.lock().await;
        within("the connection's next event", events.next())
            .await
            .expect("the connection's events end with its close")
    }

    /// Asserts that the channel has no event once the broker has handled everything sent on it.
    pub async fn nothing_more(&mut self) {
        self.settled().await;
        if let Some(event) = self.events.try_recv() {
            panic!("expected no event, not {event:?}");
        }
    }

    /// Asserts that the channel has no event once `queue` has done all that other channels know it
    /// has done. In RabbitMQ a queue is a process of its own, so this asks the queue first.
    pub async fn nothing_from(&mut self, queue: &str) {
        self.counts(queue).await;
        self.nothing_more().await;
    }

    /// Waits until the broker has handled everything sent on this channel. It answers in order
    /// (AMQP 0-9-1, 4.7), so the answer to a call proves that those before it are done.
    pub async fn settled(&self) {
        let own = QueueDeclare::server_named();
        let declared = self
            .channel
            .declare_queue(own)
            .await
            .expect("declaring a queue succeeds");
        self.channel
            .delete_queue(declared.name, false, false)
            .await
            .expect("deleting a queue succeeds");
    }
}
