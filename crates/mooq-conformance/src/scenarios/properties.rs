//! Properties and headers of messages.

use std::time::Duration;

use bytes::Bytes;
use mooq::{
    Channel, Decimal, Delivery, DeliveryMode, ErrorKind, FieldTable, FieldValue, Properties,
    RawBytes, Text,
};

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{ready_in, record};

#[scenario]
async fn every_property_arrives_as_it_was_sent(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    chan.publish("", "body")
        .routing_key(&queue)
        .content_type("text/plain")
        .content_encoding("identity")
        .header("attempt", 3)
        .transient()
        .priority(7)
        .correlation_id("correlation")
        .reply_to("reply-queue")
        .expiration(Duration::from_secs(3600))
        .message_id("message")
        .timestamp(1_700_000_000)
        .kind("order.created")
        .user_id("guest")
        .app_id("shop")
        .await
        .unwrap();
    let got = get(&chan, &queue).await;
    let text = |text: &str| Some(text.try_into().unwrap());
    let mut expected = Properties::default();
    expected.content_type = text("text/plain");
    expected.content_encoding = text("identity");
    expected.headers = FieldTable::new().with("attempt", 3).unwrap();
    expected.delivery_mode = Some(DeliveryMode::Transient);
    expected.priority = Some(7);
    expected.correlation_id = text("correlation");
    expected.reply_to = text("reply-queue");
    expected.expiration = text("3600000");
    expected.message_id = text("message");
    expected.timestamp = Some(1_700_000_000);
    expected.kind = text("order.created");
    expected.user_id = text("guest");
    expected.app_id = text("shop");
    assert_eq!(*got.properties, expected);
}

#[scenario]
async fn a_message_is_persistent_json_unless_said_otherwise(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    chan.publish("", "body").routing_key(&queue).await.unwrap();
    let mut expected = Properties::default();
    expected.content_type = Some("application/json".try_into().unwrap());
    expected.delivery_mode = Some(DeliveryMode::Persistent);
    assert_eq!(*get(&chan, &queue).await.properties, expected);
}

#[scenario]
async fn raw_bytes_carry_their_own_content_type(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let publish = chan.publish_with("", "\u{0}raw", RawBytes);
    publish.routing_key(&queue).transient().await.unwrap();
    let got: Delivery<Bytes> = chan.get_one(&queue).codec(RawBytes).await.unwrap();
    let content_type = got.properties.content_type.as_deref();
    assert_eq!(content_type, Some("application/octet-stream"));
    assert_eq!(got.properties.delivery_mode, Some(DeliveryMode::Transient));
    assert_eq!(got.ack().await.unwrap(), "\u{0}raw");
}

#[scenario]
async fn text_is_published_and_read_without_quotes(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let publish = chan.publish_with("", "gr\u{fc}n", Text);
    publish.routing_key(&queue).await.unwrap();
    let got = chan.get_one::<Vec<u8>>(&queue).codec(RawBytes);
    let got = got.await.unwrap();
    let content_type = got.properties.content_type.as_deref();
    assert_eq!(content_type, Some("text/plain"));
    assert_eq!(got.requeue().await.unwrap(), "gr\u{fc}n".as_bytes());
    let got = chan.get::<String>(&queue).codec(Text).timeout(LIMIT);
    assert_eq!(got.await.unwrap().ack().await.unwrap(), "gr\u{fc}n");
}

#[scenario]
async fn headers_of_every_type_arrive_with_their_type(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let mut headers = every_type();
    let nested = every_type();
    headers.insert("table".try_into().unwrap(), nested.clone());
    let array = nested.into_iter().map(|(_, value)| value).collect();
    headers.insert("array".try_into().unwrap(), FieldValue::Array(array));
    let mut publish = chan.publish("", "body").routing_key(&queue);
    for (key, value) in &headers {
        publish = publish.header(key, value.clone());
    }
    publish.await.unwrap();
    let got = get(&chan, &queue).await;
    for (key, sent) in &headers {
        assert_eq!(got.properties.headers.get(key), Some(sent), "{key}");
    }
    assert_eq!(got.properties.headers.len(), headers.len());
}

/// One header of each type that is not a container, most at their limits.
fn every_type() -> FieldTable {
    let values = [
        ("bool", FieldValue::Bool(true)),
        ("i8", FieldValue::I8(i8::MIN)),
        ("u8", FieldValue::U8(u8::MAX)),
        ("i16", FieldValue::I16(i16::MIN)),
        ("u16", FieldValue::U16(u16::MAX)),
        ("i32", FieldValue::I32(i32::MIN)),
        ("u32", FieldValue::U32(u32::MAX)),
        ("i64", FieldValue::I64(i64::MIN)),
        ("f32", FieldValue::F32(1.5)),
        ("f64", FieldValue::F64(-0.1)),
        (
            "decimal",
            FieldValue::Decimal(Decimal {
                scale: 2,
                value: 314,
            }),
        ),
        ("string", FieldValue::String("t\u{e9}xt".into())),
        ("empty string", FieldValue::String(String::new())),
        ("bytes", FieldValue::Bytes(Bytes::from_static(b"\x00\xff"))),
        ("timestamp", FieldValue::Timestamp(1_700_000_000)),
        ("void", FieldValue::Void),
        ("empty array", FieldValue::Array(Vec::new())),
        ("empty table", FieldValue::Table(FieldTable::new())),
    ];
    let entry = |(key, value): (&str, FieldValue)| (key.try_into().unwrap(), value);
    values.into_iter().map(entry).collect()
}

#[scenario]
async fn properties_given_whole_are_all_that_a_message_carries(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let to_queue = |body| chan.publish("", body).routing_key(&queue);
    let bare = Properties::default();
    let publish = to_queue("bare").priority(9).header("lost", true);
    publish.properties(bare.clone()).await.unwrap();
    let got = get(&chan, &queue).await;
    assert_eq!(*got.properties, bare);
    got.ack().await.unwrap();

    let mut some = Properties::default();
    some.message_id = Some("message".try_into().unwrap());
    some.headers = FieldTable::new().with("kept", 1).unwrap();
    let publish = to_queue("more").properties(some.clone());
    let more = FieldTable::new().with("kept", 2).unwrap();
    publish.headers(more).priority(3).await.unwrap();
    some.headers = FieldTable::new().with("kept", 2).unwrap();
    some.priority = Some(3);
    assert_eq!(*get(&chan, &queue).await.properties, some);
}

#[scenario]
async fn a_forwarded_message_keeps_its_body_key_and_properties(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let [exchange, next] = ["exchange", "next"].map(|name| fixture.name(name));
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    chan.declare_queue(&next).await.unwrap();
    chan.bind_queue(&next, &exchange, &queue).await.unwrap();
    // JSON with other spaces than the codec's, and no content type.
    let mut sent = Properties::default();
    sent.message_id = Some("message".try_into().unwrap());
    sent.correlation_id = Some("correlation".try_into().unwrap());
    sent.timestamp = Some(1_700_000_000);
    sent.headers = every_type();
    let publish = chan.publish_with("", "[1,  2 ]", RawBytes);
    let publish = publish.routing_key(&queue).properties(sent.clone());
    publish.await.unwrap();

    let got = chan.get_one::<Vec<u32>>(&queue).await.unwrap();
    chan.forward(&exchange, &got).await.unwrap();
    got.ack().await.unwrap();
    let copy = chan.get_one::<Bytes>(&next).codec(RawBytes).await.unwrap();
    assert_eq!(*copy.properties, sent);
    assert_eq!(copy.routing_key, queue.as_str());
    assert_eq!(copy.exchange, exchange.as_str());

    // Single properties can be changed.
    let again = chan.forward("", &copy).routing_key(&next);
    again.message_id("another").header("try", 2).await.unwrap();
    assert_eq!(copy.ack().await.unwrap(), "[1,  2 ]");
    let again = chan.get_one::<Bytes>(&next).codec(RawBytes).await.unwrap();
    sent.message_id = Some("another".try_into().unwrap());
    sent.headers = sent.headers.with("try", 2).unwrap();
    assert_eq!(*again.properties, sent);
}

#[scenario]
async fn a_forwarded_message_leaves_the_counts_of_its_queue_behind(fixture: Fixture) {
    let (_conn, chan, next) = queue(&fixture).await;
    let quorum = fixture.name("quorum");
    let declare = chan.declare_queue(&quorum);
    let declare = declare.argument("x-queue-type", "quorum");
    declare.await.unwrap();
    let publish = chan.publish("", "body").routing_key(&quorum);
    publish.header("mine", 1).await.unwrap();
    let got = chan.get_one::<String>(&quorum).await.unwrap();
    got.requeue().await.unwrap();
    let got = chan.get_one::<String>(&quorum).timeout(LIMIT).await;
    let got = got.unwrap();
    let counts = ["x-delivery-count", "x-acquired-count"];
    let counted = |got: &Delivery<String>| {
        let headers = &got.properties.headers;
        counts.iter().any(|count| headers.get(count).is_some())
    };
    assert!(counted(&got), "{:?}", got.properties);
    chan.forward("", &got).routing_key(&next).await.unwrap();
    let copy = get(&chan, &next).await;
    assert!(!counted(&copy), "{:?}", copy.properties);
    let mine = copy.properties.headers.get("mine");
    assert_eq!(mine, Some(&FieldValue::I32(1)));
}

#[scenario]
async fn a_delivery_that_no_broker_sent_is_forwarded_only_with_a_body(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let made = Delivery::new(7);
    let err = chan.forward("", &made).routing_key(&queue).await;
    let err = err.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument);
    assert!(err.to_string().contains("with_body"), "{err}");
    assert_eq!(ready_in(&chan, &queue).await, 0);
    let made = made.with_body("7");
    chan.forward("", &made).routing_key(&queue).await.unwrap();
    assert_eq!(chan.get_one::<i32>(&queue).await.unwrap().msg, 7);
}

#[scenario]
async fn a_callback_sees_the_properties(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.publish(&exchange, "body")
        .message_id("m-1")
        .header("tenant", "blue")
        .await
        .unwrap();
    let call = calls.next(&conn).await;
    assert_eq!(call.properties.message_id.as_deref(), Some("m-1"));
    let tenant = call.properties.headers.get("tenant");
    assert_eq!(tenant.and_then(FieldValue::as_str), Some("blue"));
}

#[scenario]
async fn names_and_keys_of_255_bytes_and_any_script_arrive(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let name = |what: &str| {
        let mut name = fixture.name(what) + "-\u{1f430}-";
        while name.len() < 255 {
            name.push('x');
        }
        name
    };
    let (exchange, queue) = (name("exchange"), name("queue"));
    let key = "\u{e4}".repeat(127) + "k";
    assert_eq!((exchange.len(), queue.len(), key.len()), (255, 255, 255));
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    chan.declare_queue(&queue).await.unwrap();
    chan.bind_queue(&queue, &exchange, &key).await.unwrap();
    let publish = chan.publish(&exchange, "body").routing_key(&key);
    publish.message_id("i".repeat(255)).await.unwrap();
    let got = get(&chan, &queue).await;
    assert_eq!(got.exchange, exchange.as_str());
    assert_eq!(got.routing_key, key.as_str());
    let id = got.properties.message_id.as_deref();
    assert_eq!(id, Some("i".repeat(255).as_str()));
}

#[scenario]
async fn user_id_other_than_the_login_is_refused(fixture: Fixture) {
    let (_conn, chan, queue) = queue(&fixture).await;
    let publish = chan.publish("", "forged").routing_key(&queue);
    let err = publish.user_id("admin").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    crate::expect_reason(
        &err,
        406,
        (60, 40),
        "PRECONDITION_FAILED - user_id property set to 'admin' but authenticated user was 'guest'",
    );
    let (_conn, other) = fixture.channel().await;
    assert_eq!(ready_in(&other, &queue).await, 0);
}

/// A channel and a queue.
async fn queue(fixture: &Fixture) -> (mooq::Connection, Channel, String) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    (conn, chan, queue)
}

async fn get(chan: &Channel, queue: &str) -> Delivery<String> {
    chan.get_one(queue).await.expect("the message is there")
}
