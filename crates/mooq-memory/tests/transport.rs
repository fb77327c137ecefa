//! The broker through the transport traits, as mooq's runtime uses it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use mooq_core::mailbox::Receiver;
use mooq_core::{
    Binding, BindingDestination, ChannelEvent, ConnectionEvent, Consume, Deliver, Endpoint, Error,
    ErrorKind, ErrorScope, ExchangeDeclare, ExchangeKind, FieldTable, Message, OpenedChannel,
    OpenedConnection, Publish, QueueDeclare, Scheme, Settle, Settlement, Transport,
    TransportChannel,
};
use mooq_memory::{InMemoryBroker, MemoryTransport};

async fn connect(broker: &InMemoryBroker) -> OpenedConnection {
    let endpoint = Endpoint::new(Scheme::Memory);
    broker.transport().open(&endpoint).await.unwrap()
}

fn message(exchange: &str, routing_key: &str, body: &str) -> Publish {
    Publish::new(Message {
        exchange: exchange.try_into().unwrap(),
        routing_key: routing_key.try_into().unwrap(),
        properties: Default::default(),
        body: body.to_owned().into(),
    })
}

fn publish(channel: &dyn TransportChannel, queue: &str, body: &str) {
    let _ = channel.publish(message("", queue, body)).unwrap();
}

fn queue(name: &str) -> QueueDeclare {
    QueueDeclare::new(name.try_into().unwrap())
}

fn consume(name: &str) -> Consume {
    Consume::new(name.try_into().unwrap())
}

fn ack(delivery_tag: u64) -> Settle {
    Settle {
        delivery_tag,
        multiple: false,
        settlement: Settlement::Ack,
    }
}

/// Returns the next event in the mailbox: in memory everything has happened when a call returns.
fn next<T>(events: &mut Receiver<T>) -> T {
    events
        .next()
        .now_or_never()
        .expect("there is an event")
        .expect("the mailbox is open")
}

fn delivery(events: &mut Receiver<ChannelEvent>) -> Deliver {
    match next(events) {
        ChannelEvent::Deliver(delivery) => delivery,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

fn closed(events: &mut Receiver<ChannelEvent>) -> Error {
    let closed = match next(events) {
        ChannelEvent::Closed(error) => error,
        other => panic!("expected the end, got {other:?}"),
    };
    assert!(
        events.next().now_or_never().unwrap().is_none(),
        "nothing comes after the end"
    );
    closed
}

#[tokio::test]
async fn a_message_goes_through_a_direct_exchange_is_confirmed_delivered_and_acknowledged() {
    let broker = InMemoryBroker::start();
    let connection = connect(&broker).await.connection;
    let OpenedChannel {
        channel,
        mut events,
    } = connection.open_channel().await.unwrap();
    let orders = ExchangeDeclare::new("orders".try_into().unwrap(), ExchangeKind::Direct);
    channel.declare_exchange(orders).await.unwrap();
    let name = channel.declare_queue(queue("new")).await.unwrap().name;
    let binding = Binding {
        source: "orders".try_into().unwrap(),
        destination: BindingDestination::Queue(name),
        routing_key: "book".try_into().unwrap(),
        arguments: FieldTable::new(),
    };
    channel.bind(binding).await.unwrap();
    channel.confirm_select().await.unwrap();
    let tag = channel.consume(consume("new")).await.unwrap();

    let _ = channel.publish(message("orders", "book", "one")).unwrap();
    let delivery = delivery(&mut events);
    assert_eq!(delivery.consumer_tag, tag);
    assert_eq!(delivery.message.body, "one");
    assert_eq!(delivery.message.exchange, "orders");
    assert!(matches!(
        next(&mut events),
        ChannelEvent::Confirm { sequence: 1, .. }
    ));

    assert_eq!(broker.queues("n*")[0].unacked, 1);
    channel.settle(ack(delivery.delivery_tag)).unwrap();
    let info = &broker.queues("n*")[0];
    assert_eq!((info.ready, info.unacked, info.consumers), (0, 0, 1));
}

#[tokio::test]
async fn a_channel_that_the_broker_closes_ends_with_its_reason_everywhere() {
    let broker = InMemoryBroker::start();
    let connection = connect(&broker).await.connection;
    let OpenedChannel {
        channel,
        mut events,
    } = connection.open_channel().await.unwrap();
    let missing = channel.consume(consume("missing")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::QueueNotFound);
    assert_eq!(missing.scope(), ErrorScope::Channel);
    assert_eq!(
        missing.reason().unwrap().text,
        "NOT_FOUND - no queue 'missing' in vhost '/'"
    );

    assert_eq!(closed(&mut events).reason(), missing.reason());
    let later = channel.publish(message("", "q", "")).unwrap_err();
    assert_eq!(later.reason(), missing.reason());
    channel.close().await.unwrap();
    assert!(
        connection.open_channel().await.is_ok(),
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_publish_that_closes_the_channel_is_told_by_event() {
    let broker = InMemoryBroker::start();
    let connection = connect(&broker).await.connection;
    let OpenedChannel {
        channel,
        mut events,
    } = connection.open_channel().await.unwrap();
    assert!(channel.publish(message("missing", "k", "")).is_ok());
    assert_eq!(closed(&mut events).kind(), ErrorKind::ExchangeNotFound);
}

#[tokio::test]
async fn closing_from_this_side_ends_with_an_error_that_says_so() {
    let broker = InMemoryBroker::start();
    let opened = connect(&broker).await;
    let OpenedChannel {
        channel,
        mut events,
    } = opened.connection.open_channel().await.unwrap();
    channel.close().await.unwrap();
    assert_eq!(closed(&mut events).kind(), ErrorKind::ChannelClosed);
    let err = channel.declare_queue(queue("q")).await.unwrap_err();
    assert_eq!(
        (err.kind(), err.scope()),
        (ErrorKind::ChannelClosed, ErrorScope::Channel)
    );

    let OpenedChannel {
        channel,
        mut events,
    } = opened.connection.open_channel().await.unwrap();
    opened.connection.close().await.unwrap();
    opened.connection.close().await.unwrap();
    assert_eq!(closed(&mut events).kind(), ErrorKind::ConnectionClosed);
    let err = channel.qos(1, false).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
    let err = opened.connection.open_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
    let mut events = opened.events;
    let last = next(&mut events);
    assert!(matches!(last, ConnectionEvent::Closed(e) if e.kind() == ErrorKind::ConnectionClosed));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_and_gives_messages_back() {
    let broker = InMemoryBroker::start();
    let OpenedConnection { connection, events } = connect(&broker).await;
    drop(events);
    let opened = connection.open_channel().await.unwrap();
    opened.channel.declare_queue(queue("q")).await.unwrap();
    opened
        .channel
        .declare_queue(QueueDeclare {
            exclusive: true,
            ..queue("mine")
        })
        .await
        .unwrap();
    publish(&*opened.channel, "q", "one");
    opened.channel.consume(consume("q")).await.unwrap();
    assert_eq!(broker.queues("q")[0].unacked, 1);

    drop(connection);
    assert_eq!(
        broker.queues("mine").len(),
        1,
        "the channel holds the connection"
    );
    drop(opened);
    assert!(broker.queues("mine").is_empty());
    assert_eq!(broker.queues("q")[0].ready, 1);
}

#[tokio::test]
async fn a_dropped_channel_frees_its_number() {
    let broker = InMemoryBroker::start();
    let connection = connect(&broker).await.connection;
    for _ in 0..5000 {
        drop(connection.open_channel().await.unwrap());
    }
}

#[tokio::test]
async fn a_channel_too_many_is_refused_and_the_others_stay() {
    let broker = InMemoryBroker::start();
    let connection = connect(&broker).await.connection;
    let mut channels = Vec::new();
    for _ in 0..2047 {
        channels.push(connection.open_channel().await.unwrap());
    }
    let err = connection.open_channel().await.unwrap_err();
    assert_eq!(
        (err.kind(), err.scope()),
        (ErrorKind::NotAllowed, ErrorScope::Operation)
    );
    assert!(err.to_string().contains("all 2047 channels"), "{err}");
    assert!(connection.closed().is_none());
    drop(channels.pop());
    channels.push(connection.open_channel().await.unwrap());
}

#[tokio::test]
async fn logging_in_needs_a_known_user_and_virtual_host() {
    let broker = InMemoryBroker::start();
    broker.add_user("billing", "secret");
    broker.add_vhost("shop").unwrap();
    let open = async |url: &str| {
        let endpoint: Endpoint = url.parse().unwrap();
        broker.transport().open(&endpoint).await
    };
    assert!(open("memory://billing:secret@h:1/shop").await.is_ok());
    let err = open("memory://billing:wrong@h:1").await.unwrap_err();
    assert_eq!(
        (err.kind(), err.scope()),
        (ErrorKind::AuthenticationFailed, ErrorScope::Connection)
    );
    assert!(err.to_string().contains("h:1"), "{err}");
    let err = open("memory://h:1/nowhere").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::VirtualHostNotFound);
    assert_eq!(
        err.reason().unwrap().text,
        "NOT_ALLOWED - vhost nowhere not found"
    );
    assert!(err.to_string().contains("h:1"), "{err}");
}

#[tokio::test]
async fn a_registered_broker_is_found_until_it_is_closed_and_again_once_it_runs() {
    let broker = InMemoryBroker::new("registered", 7);
    let endpoint: Endpoint = "memory://registered:7".parse().unwrap();
    let open = || async { MemoryTransport::new().open(&endpoint).await };
    let err = open().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed);
    assert!(err.to_string().contains("registered:7"), "{err}");

    broker.run();
    assert!(InMemoryBroker::lookup("registered", 7).is_some());
    let mut opened = open().await.unwrap();
    let OpenedChannel {
        channel,
        mut events,
    } = opened.connection.open_channel().await.unwrap();
    channel.declare_queue(queue("stays")).await.unwrap();
    channel
        .declare_queue(QueueDeclare {
            durable: false,
            ..queue("goes")
        })
        .await
        .unwrap();
    broker.close();
    assert!(open().await.is_err());
    let ConnectionEvent::Closed(err) = next(&mut opened.events) else {
        panic!("expected the end");
    };
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    assert_eq!(
        err.reason().unwrap().text,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    );
    assert_eq!(closed(&mut events).reason(), err.reason());
    assert_eq!(
        channel.confirm_select().await.unwrap_err().reason(),
        err.reason()
    );

    broker.run();
    assert!(open().await.is_ok());
    let left: Vec<_> = broker
        .queues("*")
        .into_iter()
        .map(|queue| queue.name)
        .collect();
    assert_eq!(left, ["stays"]);
    drop((broker, opened, channel));
    assert!(
        InMemoryBroker::lookup("registered", 7).is_none(),
        "nobody holds it any more"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_expire_by_tokios_clock() {
    let broker = InMemoryBroker::start();
    let connection = connect(&broker).await.connection;
    let OpenedChannel { channel, .. } = connection.open_channel().await.unwrap();
    let arguments = FieldTable::new().with("x-message-ttl", 1000).unwrap();
    channel
        .declare_queue(QueueDeclare {
            arguments,
            ..queue("q")
        })
        .await
        .unwrap();
    publish(&*channel, "q", "one");
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(broker.queues("q")[0].ready, 1);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(broker.queues("q")[0].ready, 0);
}
