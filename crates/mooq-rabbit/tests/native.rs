//! The native driver against the in-memory broker on a socket. No RabbitMQ is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test, the functions beside it too"
)]

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, Consume, Deliver, Endpoint, Error, ErrorKind, ErrorScope,
    FieldTable, Handoff, Message, OpenedChannel, OpenedConnection, Properties, Publish,
    QueueDeclare, QueueName, Settle, Settlement, Transport, TransportChannel,
};
use mooq_memory::InMemoryBroker;
use mooq_rabbit::{NativeOnRuntime, NativeTransport};
use mooq_server::{Listen, Server};
use tokio::runtime::Builder;

/// Waits for `future`, but not for ever.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .expect("it takes too long")
}

struct World {
    broker: InMemoryBroker,
    server: Server,
}

impl World {
    async fn new() -> Self {
        let broker = InMemoryBroker::start();
        let server = broker.listen("127.0.0.1:0").await.unwrap();
        Self { broker, server }
    }

    fn endpoint(&self) -> Endpoint {
        self.server.url().parse().unwrap()
    }

    async fn connect(&self) -> OpenedConnection {
        soon(NativeTransport.open(&self.endpoint())).await.unwrap()
    }

    async fn channel(&self) -> (OpenedConnection, OpenedChannel) {
        let opened = self.connect().await;
        let channel = soon(opened.connection.open_channel()).await.unwrap();
        (opened, channel)
    }
}

fn name(name: &str) -> QueueName {
    name.try_into().unwrap()
}

fn publish(queue: &str, body: impl Into<Bytes>) -> Publish {
    Publish::new(Message {
        exchange: "".try_into().unwrap(),
        routing_key: queue.try_into().unwrap(),
        properties: Arc::default(),
        body: body.into(),
    })
}

fn ack(delivery_tag: u64) -> Settle {
    Settle {
        delivery_tag,
        multiple: false,
        settlement: Settlement::Ack,
    }
}

async fn declare(channel: &OpenedChannel, queue: &str) {
    let declare = QueueDeclare::new(name(queue));
    soon(channel.channel.declare_queue(declare)).await.unwrap();
}

/// Number of ready messages and of consumers.
async fn counts(channel: &OpenedChannel, queue: &str) -> (u32, u32) {
    let passive = QueueDeclare {
        passive: true,
        ..QueueDeclare::new(name(queue))
    };
    let declared = soon(channel.channel.declare_queue(passive)).await.unwrap();
    (declared.message_count, declared.consumer_count)
}

async fn event(events: &mut Receiver<ChannelEvent>) -> ChannelEvent {
    soon(events.next()).await.expect("the mailbox is open")
}

async fn delivery(events: &mut Receiver<ChannelEvent>) -> Deliver {
    match event(events).await {
        ChannelEvent::Deliver(deliver) => deliver,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

/// The reason of the close, which has to be the last event.
async fn closed(events: &mut Receiver<ChannelEvent>) -> Error {
    loop {
        if let ChannelEvent::Closed(reason) = event(events).await {
            assert!(soon(events.next()).await.is_none(), "the last event");
            return reason;
        }
    }
}

async fn connection_closed(events: &mut Receiver<ConnectionEvent>) -> Error {
    match soon(events.next()).await {
        Some(ConnectionEvent::Closed(reason)) => reason,
        other => panic!("expected Closed, got {other:?}"),
    }
}

#[tokio::test]
async fn a_message_goes_all_the_way() {
    let world = World::new().await;
    let (mut opened, mut channel) = world.channel().await;
    let c = Arc::clone(&channel.channel);
    declare(&channel, "q").await;
    soon(c.confirm_select()).await.unwrap();
    let mut properties = Properties::default();
    properties.message_id = Some("1".try_into().unwrap());
    properties.headers = FieldTable::new().with("n", 7).unwrap();
    let mut message = publish("q", "hello");
    message.message.properties = Arc::new(properties.clone());
    assert!(matches!(c.publish(message).unwrap(), Handoff::Done));
    let confirm = event(&mut channel.events).await;
    assert!(
        matches!(confirm, ChannelEvent::Confirm { sequence: 1, .. }),
        "{confirm:?}"
    );

    let tag = soon(c.consume(Consume::new(name("q")))).await.unwrap();
    assert!(tag.starts_with("amq.ctag-"), "{tag}");
    let delivery = delivery(&mut channel.events).await;
    assert_eq!(delivery.consumer_tag, tag);
    assert_eq!(delivery.message.body, "hello");
    assert_eq!(*delivery.message.properties, properties);
    c.settle(ack(delivery.delivery_tag)).unwrap();
    soon(c.cancel(tag)).await.unwrap();
    soon(c.close()).await.unwrap();
    assert_eq!(
        closed(&mut channel.events).await.kind(),
        ErrorKind::ChannelClosed
    );

    let other = soon(opened.connection.open_channel()).await.unwrap();
    assert_eq!(counts(&other, "q").await, (0, 0));
    soon(opened.connection.close()).await.unwrap();
    let reason = connection_closed(&mut opened.events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
}

#[tokio::test]
async fn fetched_messages_arrive_one_by_one() {
    let world = World::new().await;
    let (_opened, channel) = world.channel().await;
    let c = &channel.channel;
    declare(&channel, "q").await;
    assert_eq!(soon(c.get(name("q"), false)).await.unwrap(), None);
    let large = Bytes::from(vec![7; 300_000]);
    let _ = c.publish(publish("q", large.clone())).unwrap();
    let _ = c.publish(publish("q", "")).unwrap();
    let fetched = soon(c.get(name("q"), false)).await.unwrap().unwrap();
    assert_eq!(fetched.message.body, large);
    assert_eq!((fetched.delivery_tag, fetched.message_count), (1, 1));
    let fetched = soon(c.get(name("q"), true)).await.unwrap().unwrap();
    assert_eq!(fetched.message.body, "");
    c.settle(ack(1)).unwrap();
    assert_eq!(soon(c.purge_queue(name("q"))).await.unwrap(), 0);
    assert_eq!(
        soon(c.delete_queue(name("q"), false, false)).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn acks_in_any_order_settle_what_they_name() {
    const COUNT: u64 = 2000;
    let world = World::new().await;
    let (opened, mut channel) = world.channel().await;
    let c = Arc::clone(&channel.channel);
    declare(&channel, "q").await;
    for n in 0..COUNT {
        let _ = c.publish(publish("q", n.to_string())).unwrap();
    }
    soon(c.consume(Consume::new(name("q")))).await.unwrap();
    let mut kept = BTreeSet::new();
    for n in 0..COUNT {
        let delivery = delivery(&mut channel.events).await;
        assert_eq!(delivery.message.body, n.to_string());
        // Each in its turn, except that some come later and some never.
        match n % 10 {
            3 => drop(kept.insert(delivery.delivery_tag)),
            7 if n > 10 => c.settle(ack(delivery.delivery_tag)).unwrap(),
            _ => c.settle(ack(delivery.delivery_tag)).unwrap(),
        }
    }
    let late: Vec<_> = kept.iter().rev().copied().take(50).collect();
    for tag in &late {
        c.settle(ack(*tag)).unwrap();
    }
    soon(c.close()).await.unwrap();
    let other = soon(opened.connection.open_channel()).await.unwrap();
    let left = u32::try_from(kept.len() - late.len()).unwrap();
    assert_eq!(counts(&other, "q").await, (left, 0));
}

#[tokio::test]
async fn an_ack_given_twice_closes_the_channel() {
    let world = World::new().await;
    let (_opened, mut channel) = world.channel().await;
    let c = Arc::clone(&channel.channel);
    declare(&channel, "q").await;
    let _ = c.publish(publish("q", "1")).unwrap();
    soon(c.consume(Consume::new(name("q")))).await.unwrap();
    let tag = delivery(&mut channel.events).await.delivery_tag;
    c.settle(ack(tag)).unwrap();
    c.settle(ack(tag)).unwrap();
    let reason = closed(&mut channel.events).await;
    assert_eq!(reason.kind(), ErrorKind::PreconditionFailed);
    assert!(reason.to_string().contains("unknown delivery tag 1"));
    let err = c.settle(ack(tag)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
}

#[tokio::test]
async fn the_reason_of_a_close_reaches_every_caller() {
    let world = World::new().await;
    let (opened, channel) = world.channel().await;
    let c = &channel.channel;
    let missing = QueueDeclare {
        passive: true,
        ..QueueDeclare::new(name("missing"))
    };
    let (first, second, third) = soon(async {
        tokio::join!(
            c.declare_queue(missing.clone()),
            c.purge_queue(name("missing")),
            c.declare_queue(missing)
        )
    })
    .await;
    for err in [
        first.unwrap_err(),
        second.unwrap_err(),
        third.unwrap_err(),
        c.publish(publish("q", "")).unwrap_err(),
        c.closed().unwrap(),
    ] {
        assert_eq!(err.kind(), ErrorKind::ConsumerQueueNotFound, "{err:?}");
        assert_eq!(err.scope(), ErrorScope::Channel);
    }
    soon(c.close()).await.unwrap();
    // The connection and its other channels go on, and the number is used again.
    let next = soon(opened.connection.open_channel()).await.unwrap();
    declare(&next, "q").await;
}

#[tokio::test]
async fn publishing_into_a_closing_channel_never_costs_the_connection() {
    let world = World::new().await;
    let opened = world.connect().await;
    for _ in 0..100 {
        let mut channel = soon(opened.connection.open_channel()).await.unwrap();
        let c = Arc::clone(&channel.channel);
        let mut lost = publish("q", "");
        lost.message.exchange = "missing".try_into().unwrap();
        let _ = c.publish(lost).unwrap();
        while c.publish(publish("q", "")).is_ok() {
            tokio::task::yield_now().await;
        }
        closed(&mut channel.events).await;
    }
    assert!(opened.connection.closed().is_none());
}

#[tokio::test]
async fn requests_may_be_dropped_at_any_point() {
    let world = World::new().await;
    let (opened, channel) = world.channel().await;
    let c = &channel.channel;
    declare(&channel, "q").await;
    for n in 0..200 {
        let queue = format!("dropped-{n}");
        {
            let declare = QueueDeclare::new(name(&queue));
            let mut request = pin!(c.declare_queue(declare));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(request.as_mut().poll(&mut cx).is_pending());
            let mut get = pin!(c.get(name(&queue), true));
            assert!(get.as_mut().poll(&mut cx).is_pending());
            let mut opening = pin!(opened.connection.open_channel());
            assert!(opening.as_mut().poll(&mut cx).is_pending());
        }
        // Requests that were begun happen in full, and no other call takes their answers.
        assert_eq!(counts(&channel, &queue).await, (0, 0));
    }
    // Dropped openings have left no channel behind.
    soon(opened.connection.close()).await.unwrap();
    soon(async {
        while !world.broker.connections("*").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn calls_take_effect_in_their_order_behind_a_request() {
    let world = World::new().await;
    let (_opened, channel) = world.channel().await;
    let c = &channel.channel;
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut first = pin!(c.declare_queue(QueueDeclare::new(name("a"))));
        let mut second = pin!(c.declare_queue(QueueDeclare::new(name("q"))));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
    }
    // The queue exists by the time that the message arrives.
    let _ = c.publish(publish("q", "1")).unwrap();
    assert_eq!(soon(c.purge_queue(name("q"))).await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_connection_says_so_and_has_room_again() {
    let world = World::new().await;
    let (_opened, channel) = world.channel().await;
    let c = &channel.channel;
    declare(&channel, "q").await;
    assert!(matches!(
        c.publish(publish("q", "")).unwrap(),
        Handoff::Done
    ));
    let body = Bytes::from(vec![0; 2 << 20]);
    for _ in 0..5 {
        match c.publish(publish("q", body.clone())).unwrap() {
            Handoff::Full(room) => soon(room).await,
            Handoff::Done => panic!("2 MiB are more than 1 MiB"),
        }
    }
    assert_eq!(counts(&channel, "q").await, (6, 0));
}

#[tokio::test]
async fn confirms_come_before_a_close() {
    let world = World::new().await;
    let (mut opened, mut channel) = world.channel().await;
    let c = Arc::clone(&channel.channel);
    declare(&channel, "q").await;
    soon(c.confirm_select()).await.unwrap();
    for _ in 0..1000 {
        let _ = c.publish(publish("q", "x")).unwrap();
    }
    soon(opened.connection.close()).await.unwrap();
    let mut confirmed = 0;
    loop {
        match event(&mut channel.events).await {
            ChannelEvent::Confirm {
                sequence,
                multiple: true,
            } => confirmed = sequence,
            ChannelEvent::Confirm { .. } => confirmed += 1,
            ChannelEvent::Closed(reason) => {
                assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(confirmed, 1000);
    let reason = connection_closed(&mut opened.events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    let err = c.publish(publish("q", "x")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
}

#[tokio::test]
async fn a_return_comes_before_its_confirm() {
    let world = World::new().await;
    let (_opened, mut channel) = world.channel().await;
    let c = Arc::clone(&channel.channel);
    soon(c.confirm_select()).await.unwrap();
    let mut mandatory = publish("nowhere", "back");
    mandatory.mandatory = true;
    let _ = c.publish(mandatory).unwrap();
    match event(&mut channel.events).await {
        ChannelEvent::Return(returned) => {
            assert_eq!(returned.reply_code, 312);
            assert_eq!(returned.message.body, "back");
        }
        other => panic!("expected a return, got {other:?}"),
    }
    let confirm = event(&mut channel.events).await;
    assert!(
        matches!(confirm, ChannelEvent::Confirm { sequence: 1, .. }),
        "{confirm:?}"
    );
}

#[tokio::test]
async fn a_deleted_queue_cancels_its_consumers() {
    let world = World::new().await;
    let (opened, mut channel) = world.channel().await;
    declare(&channel, "q").await;
    let consume = Consume {
        tag: "t".try_into().unwrap(),
        ..Consume::new(name("q"))
    };
    soon(channel.channel.consume(consume)).await.unwrap();
    let other = soon(opened.connection.open_channel()).await.unwrap();
    soon(other.channel.delete_queue(name("q"), false, false))
        .await
        .unwrap();
    let cancelled = event(&mut channel.events).await;
    assert!(
        matches!(&cancelled, ChannelEvent::ConsumerCancelled(tag) if *tag == "t"),
        "{cancelled:?}"
    );
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let world = World::new().await;
    let (opened, channel) = world.channel().await;
    let exclusive = QueueDeclare {
        exclusive: true,
        durable: false,
        ..QueueDeclare::new(name("mine"))
    };
    soon(channel.channel.declare_queue(exclusive))
        .await
        .unwrap();
    let OpenedConnection {
        connection,
        mut events,
    } = opened;
    drop(connection);
    // A channel keeps its connection.
    assert_eq!(
        soon(channel.channel.purge_queue(name("mine")))
            .await
            .unwrap(),
        0
    );
    // Handles may be dropped outside of a runtime.
    std::thread::spawn(move || drop(channel)).join().unwrap();
    let reason = connection_closed(&mut events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    soon(async {
        while !world.broker.connections("*").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_outlives_the_runtime_it_was_opened_on() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    let opened = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(NativeTransport.open(&endpoint)).unwrap()
    });
    let opened = soon(opened).await.unwrap();
    let channel = soon(opened.connection.open_channel()).await.unwrap();
    declare(&channel, "q").await;
    soon(opened.connection.close()).await.unwrap();
}

#[tokio::test]
async fn a_runtime_that_is_shut_down_ends_its_connection() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    let opened = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let here = NativeOnRuntime(runtime.handle().clone());
        runtime.block_on(here.open(&endpoint)).unwrap()
    });
    let mut opened = soon(opened).await.unwrap();
    let reason = connection_closed(&mut opened.events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(opened.connection.closed().is_some());
    soon(opened.connection.close()).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_goes_ends_every_wait() {
    let world = World::new().await;
    let (mut opened, mut channel) = world.channel().await;
    let World { server, .. } = world;
    drop(server);
    let reason = connection_closed(&mut opened.events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(reason.to_string().contains("127.0.0.1:"), "{reason}");
    let reason = closed(&mut channel.events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    let err = soon(channel.channel.purge_queue(name("q")))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    assert!(opened.connection.open_channel().await.is_err());
}

#[tokio::test]
async fn a_refused_login_is_told_in_the_brokers_words() {
    let world = World::new().await;
    let mut endpoint = world.endpoint();
    endpoint.credentials.password = "wrong".into();
    let err = soon(NativeTransport.open(&endpoint)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err:?}");
    assert!(err.to_string().contains(&endpoint.address()), "{err}");
    assert!(err.to_string().contains("ACCESS_REFUSED"), "{err}");

    let mut endpoint = world.endpoint();
    endpoint.vhost = "nowhere".try_into().unwrap();
    let err = soon(NativeTransport.open(&endpoint)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::VirtualHostNotFound, "{err:?}");
}

#[tokio::test]
async fn transactions_and_recover_are_there() {
    let world = World::new().await;
    let (opened, mut channel) = world.channel().await;
    let raw = channel.channel.raw_methods().unwrap();
    declare(&channel, "q").await;
    soon(raw.tx_select()).await.unwrap();
    let _ = channel.channel.publish(publish("q", "undone")).unwrap();
    soon(raw.tx_rollback()).await.unwrap();
    let _ = channel.channel.publish(publish("q", "done")).unwrap();
    soon(raw.tx_commit()).await.unwrap();
    let other = soon(opened.connection.open_channel()).await.unwrap();
    assert_eq!(counts(&other, "q").await, (1, 0));

    let consume = Consume::new(name("q"));
    soon(channel.channel.consume(consume)).await.unwrap();
    assert!(!delivery(&mut channel.events).await.redelivered);
    let raw = channel.channel.raw_methods().unwrap();
    soon(raw.recover(true)).await.unwrap();
    let again = delivery(&mut channel.events).await;
    assert!(again.redelivered);
    channel.channel.settle(ack(again.delivery_tag)).unwrap();
    soon(channel.channel.raw_methods().unwrap().tx_commit())
        .await
        .unwrap();
    raw_nowait(&*other.channel).await;
    assert_eq!(counts(&other, "later").await, (0, 0));
}

async fn raw_nowait(channel: &dyn TransportChannel) {
    let raw = channel.raw_methods().unwrap();
    let declare = QueueDeclare::new(name("later"));
    raw.declare_queue_nowait(declare).await.unwrap();
}
