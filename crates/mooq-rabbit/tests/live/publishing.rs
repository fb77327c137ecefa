use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use futures_util::StreamExt;
use mooq_core::{
    ChannelEvent, ConnectionEvent, Decimal, DeliveryMode, ErrorKind, ErrorScope, FieldTable,
    FieldValue, Properties, ShortString,
};

use crate::broker::{Broker, Channel, name, soon, to_exchange, to_queue};

/// Removes from `open` what `event` confirms.
fn settle(open: &mut BTreeSet<u64>, event: &ChannelEvent) {
    let ChannelEvent::Confirm { sequence, multiple } = event else {
        panic!("expected Confirm, got {event:?}");
    };
    if *multiple {
        *open = open.split_off(&(sequence + 1));
    } else {
        assert!(open.remove(sequence), "confirmed twice: {sequence}");
    }
}

pub(crate) async fn confirms_account_for_every_publish(broker: &Broker) {
    const IN_FLIGHT: usize = 256;
    const MESSAGES: u64 = 20_000;
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    soon(channel.channel.confirm_select()).await.unwrap();
    let mut open = BTreeSet::new();
    let mut multiple_seen = false;
    for sequence in 1..=MESSAGES {
        channel.publish(&queue, "0123456789").await;
        open.insert(sequence);
        while open.len() >= IN_FLIGHT {
            let event = channel.event().await;
            multiple_seen |= matches!(event, ChannelEvent::Confirm { multiple: true, .. });
            settle(&mut open, &event);
        }
    }
    while !open.is_empty() {
        settle(&mut open, &channel.event().await);
    }
    assert!(multiple_seen, "the broker confirmed one by one");
    let purged = soon(channel.channel.purge_queue(queue)).await.unwrap();
    assert_eq!(u64::from(purged), MESSAGES);
    connection.check_and_close().await;
}

pub(crate) async fn a_return_comes_before_its_confirm(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    soon(channel.channel.confirm_select()).await.unwrap();
    let missing = name();
    let mut publish = to_queue(&missing, "come back");
    publish.mandatory = true;
    let _ = channel.channel.publish(publish).unwrap();
    let ChannelEvent::Return(returned) = channel.event().await else {
        panic!("expected Return");
    };
    assert_eq!(returned.reply_code, 312);
    assert_eq!(returned.reply_text, "NO_ROUTE");
    assert_eq!(returned.message.routing_key.as_str(), missing.as_str());
    assert_eq!(returned.message.body, "come back");
    let confirm = channel.event().await;
    assert!(
        matches!(confirm, ChannelEvent::Confirm { sequence: 1, .. }),
        "{confirm:?}"
    );
    connection.check_and_close().await;
}

pub(crate) async fn an_unroutable_exchange_closes_the_channel(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let _ = channel
        .channel
        .publish(to_exchange("no-such-exchange"))
        .unwrap();
    let err = channel.closed().await;
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Channel);
    let reason = err.reason().unwrap();
    assert_eq!(
        (reason.code, reason.class_id, reason.method_id),
        (404, 60, 40)
    );
    connection.check_and_close().await;
}

/// amqprs says Ok to a publish, an ack or a request on a channel that the broker has closed, and
/// the broker ends the connection for it (504).
pub(crate) async fn publishing_into_a_closing_channel_never_costs_the_connection(broker: &Broker) {
    let connection = broker.connect().await;
    for round in 0..100 {
        let channel = connection.channel().await;
        let queue = channel.queue().await;
        let err = loop {
            // A request in front, so that what follows goes out in one burst after its answer:
            // in the midst of which the close comes, in some of the rounds.
            let request = pin!(channel.channel.purge_queue(queue.clone()));
            let _ = request.poll(&mut Context::from_waker(Waker::noop()));
            let published = (0..60).try_for_each(|count| {
                let publish = if count == round % 60 {
                    to_exchange("no-such-exchange")
                } else {
                    to_queue(&queue, "on and on")
                };
                channel.channel.publish(publish).map(drop)
            });
            match published {
                Ok(()) => tokio::task::yield_now().await,
                Err(err) => break err,
            }
        };
        assert_eq!(err.kind(), ErrorKind::ExchangeNotFound, "{err:?}");
    }
    connection.check_and_close().await;
}

/// The broker stops reading from a connection that publishes during an alarm. It would say so, but
/// only to clients that announce they understand it, which amqprs does not.
pub(crate) async fn an_alarm_is_silence_that_passes(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    let queue = channel.queue().await;
    soon(channel.channel.confirm_select()).await.unwrap();
    let watermark = ["set_vm_memory_high_watermark", "0"];
    broker.rabbitmqctl(&watermark).await;
    channel.publish(&queue, "in the alarm").await;
    let states = ["list_connections", "state"];
    soon(async { while !broker.rabbitmqctl(&states).await.contains("blocked") {} }).await;

    let mut cx = Context::from_waker(Waker::noop());
    let mut opening = connection.connection.open_channel();
    assert!(opening.as_mut().poll(&mut cx).is_pending());
    // A wait with a deadline is given up. That costs nothing.
    let given_up = connection.connection.open_channel();
    assert!(pin!(given_up).poll(&mut cx).is_pending());
    let given_up = channel.channel.purge_queue(queue.clone());
    assert!(pin!(given_up).poll(&mut cx).is_pending());
    broker.rabbitmqctl(&["status"]).await;
    assert!(opening.as_mut().poll(&mut cx).is_pending(), "no answer");
    assert!(channel.events.try_recv().is_none(), "no confirm");

    let watermark = ["set_vm_memory_high_watermark", "0.6"];
    broker.rabbitmqctl(&watermark).await;
    soon(opening).await.unwrap();
    let confirm = channel.event().await;
    assert!(
        matches!(confirm, ChannelEvent::Confirm { sequence: 1, .. }),
        "{confirm:?}"
    );
    connection.check_and_close().await;
}

pub(crate) async fn an_alarm_is_announced(broker: &Broker) {
    let (mut connection, mut channel) = broker.channel().await;
    assert!(connection.connection.announces_blocked());
    let queue = channel.queue().await;
    soon(channel.channel.confirm_select()).await.unwrap();
    broker
        .rabbitmqctl(&["set_vm_memory_high_watermark", "0"])
        .await;
    channel.publish(&queue, "in the alarm").await;
    let event = soon(connection.events.next()).await;
    assert!(
        matches!(&event, Some(ConnectionEvent::Blocked(reason)) if reason == "low on memory"),
        "{event:?}"
    );
    broker
        .rabbitmqctl(&["set_vm_memory_high_watermark", "0.6"])
        .await;
    let event = soon(connection.events.next()).await;
    assert!(
        matches!(event, Some(ConnectionEvent::Unblocked)),
        "{event:?}"
    );
    let confirm = channel.event().await;
    assert!(
        matches!(confirm, ChannelEvent::Confirm { sequence: 1, .. }),
        "{confirm:?}"
    );
    connection.check_and_close().await;
}

fn every_property() -> Properties {
    let text = |text: &str| -> Option<ShortString> { Some(text.try_into().unwrap()) };
    let nested = FieldTable::new().with("deep", "down").unwrap();
    let fields = [
        ("t", FieldValue::Bool(true)),
        ("b", FieldValue::I8(-1)),
        ("B", FieldValue::U8(200)),
        ("s", FieldValue::I16(-300)),
        ("u", FieldValue::U16(60_000)),
        ("I", FieldValue::I32(-70_000)),
        ("i", FieldValue::U32(4_000_000_000)),
        ("l", FieldValue::I64(i64::MIN)),
        ("f", FieldValue::F32(1.5)),
        ("d", FieldValue::F64(-2.25)),
        (
            "D",
            FieldValue::Decimal(Decimal {
                scale: 2,
                value: 314,
            }),
        ),
        ("S", FieldValue::String("grüezi".into())),
        ("x", FieldValue::Bytes(Bytes::from_static(&[0, 255, 7]))),
        (
            "A",
            FieldValue::Array(vec![1.into(), "two".into(), FieldValue::Array(vec![])]),
        ),
        ("T", FieldValue::Timestamp(1_700_000_000)),
        ("F", FieldValue::Table(nested)),
        ("V", FieldValue::Void),
    ];
    let mut properties = Properties::default();
    properties.content_type = text("text/plain");
    properties.content_encoding = text("identity");
    properties.headers = fields
        .into_iter()
        .map(|(key, value)| (key.try_into().unwrap(), value))
        .collect();
    properties.delivery_mode = Some(DeliveryMode::Persistent);
    properties.priority = Some(3);
    properties.correlation_id = text("c");
    properties.reply_to = text("r");
    properties.expiration = text("60000");
    properties.message_id = text("m");
    properties.timestamp = Some(1_700_000_001);
    properties.kind = text("k");
    properties.user_id = text("guest");
    properties.app_id = text("a");
    properties.cluster_id = text("cl");
    properties
}

pub(crate) async fn every_property_and_field_type_survives_the_way(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let queue = channel.queue().await;
    for properties in [Properties::default(), every_property()] {
        let mut publish = to_queue(&queue, "body");
        publish.message.properties = Arc::new(properties.clone());
        let _ = channel.channel.publish(publish).unwrap();
        let fetched = fetch(&channel, &queue).await;
        assert_eq!(*fetched.properties, properties);
        assert_eq!(fetched.routing_key.as_str(), queue.as_str());
        assert_eq!(fetched.exchange, "");
    }
    connection.check_and_close().await;
}

/// amqprs would count a key that comes twice twice, and RabbitMQ close the connection (541).
pub(crate) async fn a_header_that_is_set_twice_is_sent_once(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let queue = channel.queue().await;
    let twice = [("again", 1), ("again", 2)];
    let headers = twice.map(|(key, value)| (key.try_into().unwrap(), value.into()));
    let mut properties = Properties::default();
    properties.headers = headers.into_iter().collect();
    let mut publish = to_queue(&queue, "body");
    publish.message.properties = Arc::new(properties);
    let _ = channel.channel.publish(publish).unwrap();
    let fetched = fetch(&channel, &queue).await;
    let expected = FieldTable::new().with("again", 2).unwrap();
    assert_eq!(fetched.properties.headers, expected);
    connection.check_and_close().await;
}

pub(crate) async fn large_and_empty_bodies_arrive(broker: &Broker) {
    let (connection, channel) = broker.channel().await;
    let queue = channel.queue().await;
    // One byte to each side of what a frame holds, and many frames.
    for size in [0, 1, 131_063, 131_064, 131_065, 3_000_000] {
        let body: Bytes = (0..size).map(|i| (i % 251) as u8).collect();
        channel.publish(&queue, body.clone()).await;
        let fetched = fetch(&channel, &queue).await;
        assert!(fetched.body == body, "{size} bytes");
    }
    connection.check_and_close().await;
}

async fn fetch(channel: &Channel, queue: &mooq_core::QueueName) -> Arc<mooq_core::Message> {
    let fetched = soon(channel.channel.get(queue.clone(), true))
        .await
        .unwrap();
    fetched.expect("a message").message
}

pub(crate) async fn commands_taken_before_a_close_are_sent(broker: &Broker) {
    const MESSAGES: u32 = 3000;
    let (observer, watching) = broker.channel().await;
    let queue = watching.queue().await;
    // Exclusive to the observer's connection, so publishes go by the default exchange.
    let (first, channel) = broker.channel().await;
    for _ in 0..MESSAGES {
        let _ = channel
            .channel
            .publish(to_queue(&queue, "in time"))
            .unwrap();
    }
    soon(first.connection.close()).await.unwrap();
    let purged = soon(watching.channel.purge_queue(queue.clone()))
        .await
        .unwrap();
    assert_eq!(purged, MESSAGES, "published before close");

    let (second, channel) = broker.channel().await;
    for _ in 0..MESSAGES {
        let _ = channel
            .channel
            .publish(to_queue(&queue, "in time"))
            .unwrap();
    }
    let mut events = channel.events;
    drop(channel.channel);
    let last = soon(events.next()).await;
    assert!(matches!(last, Some(ChannelEvent::Closed(_))), "{last:?}");
    let purged = soon(watching.channel.purge_queue(queue)).await.unwrap();
    assert_eq!(purged, MESSAGES, "published before the drop");
    second.check_and_close().await;
    observer.check_and_close().await;
}
