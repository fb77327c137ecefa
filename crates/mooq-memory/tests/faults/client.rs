//! A client on one connection with one channel.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, Consume, Deliver, DeliveryMode, Endpoint, Error, Message,
    OpenedConnection, Properties, Publish, QueueDeclare, Result, Scheme, Settle, Settlement,
    Transport, TransportChannel, TransportConnection,
};
use mooq_memory::InMemoryBroker;

pub(crate) struct Client {
    pub(crate) connection: Arc<dyn TransportConnection>,
    pub(crate) connection_events: Receiver<ConnectionEvent>,
    pub(crate) channel: Arc<dyn TransportChannel>,
    pub(crate) events: Receiver<ChannelEvent>,
}

/// Endpoint for a connection of this name.
pub(crate) fn endpoint(name: &str) -> Endpoint {
    let mut endpoint = Endpoint::new(Scheme::Memory);
    endpoint.connection_name = Some(name.try_into().unwrap());
    endpoint
}

/// Tries to connect under a name.
pub(crate) async fn open(broker: &InMemoryBroker, name: &str) -> Result<OpenedConnection> {
    broker.transport().open(&endpoint(name)).await
}

impl Client {
    pub(crate) async fn new(broker: &InMemoryBroker) -> Self {
        Self::named(broker, "").await
    }

    pub(crate) async fn named(broker: &InMemoryBroker, name: &str) -> Self {
        let opened = open(broker, name).await.unwrap();
        let channel = opened.connection.open_channel().await.unwrap();
        Self {
            connection: opened.connection,
            connection_events: opened.events,
            channel: channel.channel,
            events: channel.events,
        }
    }

    pub(crate) async fn declare(&self, name: &str) {
        self.channel.declare_queue(queue(name)).await.unwrap();
    }

    /// Publishes a transient message to a queue.
    pub(crate) fn put(&self, queue: &str, body: &str) {
        let _ = self.channel.publish(message(queue, body)).unwrap();
    }

    pub(crate) async fn consume(&self, queue: &str) {
        let consume = Consume::new(queue.try_into().unwrap());
        self.channel.consume(consume).await.unwrap();
    }

    pub(crate) fn ack(&self, delivery_tag: u64) {
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement: Settlement::Ack,
        };
        self.channel.settle(settle).unwrap();
    }

    /// Returns the next event in the mailbox: in memory everything has happened when a call
    /// returns.
    pub(crate) fn event(&mut self) -> ChannelEvent {
        next(&mut self.events)
    }

    pub(crate) fn delivery(&mut self) -> Deliver {
        match self.event() {
            ChannelEvent::Deliver(delivery) => delivery,
            other => panic!("expected a delivery, got {other:?}"),
        }
    }

    /// `body` or `body again` of the next event, which is a delivery.
    pub(crate) fn delivered(&mut self) -> String {
        let delivery = self.delivery();
        let again = if delivery.redelivered { " again" } else { "" };
        format!("{}{again}", text(&delivery.message))
    }

    /// Why the channel ended, which it did now.
    pub(crate) fn channel_closed(&mut self) -> Error {
        match self.event() {
            ChannelEvent::Closed(error) => error,
            other => panic!("expected the channel's end, got {other:?}"),
        }
    }

    /// Why the connection ended, which it did now, and its channel with it.
    pub(crate) fn connection_closed(&mut self) -> Error {
        let on_channel = self.channel_closed();
        match next(&mut self.connection_events) {
            ConnectionEvent::Closed(error) => {
                assert_eq!(error.to_string(), on_channel.to_string());
                error
            }
            other => panic!("expected the connection's end, got {other:?}"),
        }
    }

    pub(crate) fn hears_nothing(&mut self) {
        let event = self.events.try_recv();
        assert!(event.is_none(), "{event:?}");
        let event = self.connection_events.try_recv();
        assert!(event.is_none(), "{event:?}");
    }
}

fn next<T: Debug>(events: &mut Receiver<T>) -> T {
    let next = events.next().now_or_never();
    next.expect("there is an event")
        .expect("the mailbox is open")
}

pub(crate) fn queue(name: &str) -> QueueDeclare {
    QueueDeclare::new(name.try_into().unwrap())
}

pub(crate) fn message(queue: &str, body: &str) -> Publish {
    Publish::new(Message {
        exchange: Default::default(),
        routing_key: queue.try_into().unwrap(),
        properties: Default::default(),
        body: body.to_owned().into(),
    })
}

pub(crate) fn persistent(queue: &str, body: &str) -> Publish {
    let mut publish = message(queue, body);
    let mut properties = Properties::default();
    properties.delivery_mode = Some(DeliveryMode::Persistent);
    publish.message.properties = properties.into();
    publish
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}
