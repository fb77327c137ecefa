//! Codecs beside JSON, chosen by the properties of the message.

use std::future::IntoFuture;

use bytes::Bytes;
use mooq::{
    ByContentType, ByType, Cbor, Channel, CodecError, Compressed, Connection, Delivery, ErrorKind,
    Json, MsgPack, Properties, Protobuf, RawBytes, Retry, Text,
};
use serde::{Deserialize, Serialize};

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{drain, processing, put, record};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    pieces: u32,
    note: Option<String>,
}

fn order(pieces: u32) -> Order {
    Order { pieces, note: None }
}

/// A queue, and the queue of its dead letters.
async fn queues(fixture: &Fixture) -> (Connection, Channel, String, String) {
    let (conn, chan) = fixture.channel().await;
    let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
    chan.declare_queue(&dead).await.unwrap();
    chan.declare_queue(&queue)
        .dead_letter("", &dead)
        .await
        .unwrap();
    (conn, chan, queue, dead)
}

/// The next message of a queue, undecoded.
async fn raw(chan: &Channel, queue: &str) -> Delivery<Bytes> {
    chan.get_one(queue).codec(RawBytes).await.unwrap()
}

fn texts(properties: &Properties) -> [Option<&str>; 3] {
    [
        properties.content_type.as_deref(),
        properties.content_encoding.as_deref(),
        properties.kind.as_deref(),
    ]
}

#[scenario]
async fn msgpack_and_cbor_are_read_as_they_were_published(fixture: Fixture) {
    let (_conn, chan, queue, _) = queues(&fixture).await;
    let publish = chan.publish_with("", &order(3), MsgPack);
    publish.routing_key(&queue).await.unwrap();
    let publish = chan.publish_with("", &order(4), Cbor);
    publish.routing_key(&queue).await.unwrap();

    let got = chan.get_one::<Order>(&queue).codec(MsgPack).await.unwrap();
    let content_type = Some("application/x-msgpack");
    assert_eq!(texts(&got.properties), [content_type, None, None]);
    // A map of two fields, the first of which is `pieces`.
    let body = got.body().unwrap();
    assert!(body.starts_with(b"\x82\xa6pieces\x03"), "{body:?}");
    assert_eq!(got.ack().await.unwrap(), order(3));

    let got = chan.get_one::<Order>(&queue).codec(Cbor).await.unwrap();
    let content_type = Some("application/cbor");
    assert_eq!(texts(&got.properties), [content_type, None, None]);
    assert_eq!(got.ack().await.unwrap(), order(4));
}

#[scenario]
async fn protobuf_is_read_as_it_was_published(fixture: Fixture) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Wire {
        #[prost(uint32, tag = "1")]
        pieces: u32,
        #[prost(string, optional, tag = "2")]
        note: Option<String>,
    }
    let (_conn, chan, queue, _) = queues(&fixture).await;
    let sent = Wire {
        pieces: 3,
        note: Some("gift".into()),
    };
    let publish = chan.publish_with("", &sent, Protobuf);
    publish.routing_key(&queue).await.unwrap();
    let got = chan.get_one::<Wire>(&queue).codec(Protobuf).await.unwrap();
    let content_type = Some("application/protobuf");
    assert_eq!(texts(&got.properties), [content_type, None, None]);
    assert_eq!(got.ack().await.unwrap(), sent);
}

#[scenario]
async fn a_consumer_reads_each_content_type_of_its_set(fixture: Fixture) {
    let (conn, chan, queue, _) = queues(&fixture).await;
    let (recorder, mut calls) = record::<Order>();
    chan.register_callback(&queue)
        .codec(ByContentType::new(MsgPack).or(Json).or(Cbor))
        .callback(recorder.callback())
        .await
        .unwrap();
    let publishes = [
        chan.publish("", &order(1)),
        chan.publish_with("", &order(2), MsgPack),
        chan.publish_with("", &order(3), Cbor),
        chan.publish("", &order(4))
            .content_type("application/json; charset=utf-8"),
        chan.publish_with("", &order(5), MsgPack)
            .content_type("application/msgpack"),
    ];
    for publish in publishes {
        publish.routing_key(&queue).await.unwrap();
    }
    for pieces in 1..=5 {
        assert_eq!(calls.next(&conn).await.msg, order(pieces));
    }
}

#[scenario]
async fn an_unknown_content_type_is_rejected_where_its_policy_says_so(fixture: Fixture) {
    let (conn, chan, queue, dead) = queues(&fixture).await;
    let (recorder, mut calls) = record::<Order>();
    chan.register_callback(&queue)
        .codec(ByContentType::new(Json).or(MsgPack))
        .retry(Retry::never().then_reject())
        .callback(recorder.callback())
        .await
        .unwrap();
    // It would be valid JSON: the content type decides.
    let unknown = chan.publish("", &order(1)).content_type("application/xml");
    unknown.routing_key(&queue).await.unwrap();
    let known = chan.publish_with("", &order(2), MsgPack);
    known.routing_key(&queue).await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, order(2));

    let letter = chan.get::<Order>(&dead).timeout(LIMIT).into_future();
    let letter = processing(&conn, "the dead letter", letter).await.unwrap();
    assert_eq!(letter.ack().await.unwrap(), order(1));
    assert!(calls.so_far().is_empty());
}

#[scenario]
async fn an_unknown_or_missing_content_type_is_named_and_its_message_kept(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let set = ByContentType::new(Json).or(Text);
    let publish = chan.publish("", "a").content_type("application/xml");
    publish.routing_key(&queue).await.unwrap();
    let err = chan.get_one::<String>(&queue).codec(set).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert_eq!(
        err.to_string(),
        "no codec for the content type 'application/xml' (accepted: application/json, text/plain)"
    );
    assert_eq!(drain(&chan, &queue).await, ["a"]);

    let publish = chan.publish("", "b").properties(Properties::default());
    publish.routing_key(&queue).await.unwrap();
    let err = chan.get_one::<String>(&queue).codec(set).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    let set = set.assume("application/json");
    let got = chan.get_one::<String>(&queue).codec(set).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "b");
}

#[scenario]
async fn compressed_bodies_travel_compressed_and_short_ones_as_they_are(fixture: Fixture) {
    let (_conn, chan, queue, _) = queues(&fixture).await;
    let long = "long ".repeat(1_000);
    let codecs = [
        (Compressed::gzip(Json), "gzip"),
        (Compressed::zstd(Json), "zstd"),
    ];
    for (codec, name) in codecs {
        let publish = chan.publish_with("", &long, codec);
        publish.routing_key(&queue).await.unwrap();
        let got = chan.get_one::<String>(&queue).codec(codec).await.unwrap();
        let content_type = Some("application/json");
        assert_eq!(texts(&got.properties), [content_type, Some(name), None]);
        assert!(got.body().unwrap().len() < 500);
        assert_eq!(got.ack().await.unwrap(), long);

        // It is plain JSON, which a consumer without compression reads too.
        let publish = chan.publish_with("", "short", codec);
        publish.routing_key(&queue).await.unwrap();
        let got = raw(&chan, &queue).await;
        assert_eq!(texts(&got.properties), [content_type, None, None]);
        assert_eq!(got.ack().await.unwrap(), "\"short\"");
        put(&chan, &queue, "short").await;
        let got = chan.get_one::<String>(&queue).codec(codec).await.unwrap();
        assert_eq!(got.ack().await.unwrap(), "short");
    }
}

#[scenario]
async fn a_compressed_body_keeps_its_encoding_when_its_properties_are_replaced(fixture: Fixture) {
    let (_conn, chan, queue, _) = queues(&fixture).await;
    let codec = Compressed::gzip(Json).threshold(0);
    let long = "long ".repeat(1_000);
    let mut properties = Properties::default();
    properties.message_id = Some("1".try_into().unwrap());
    chan.publish_with("", &long, codec)
        .properties(properties.clone())
        .routing_key(&queue)
        .await
        .unwrap();
    let got = chan.get_one::<String>(&queue).codec(codec).await.unwrap();
    properties.content_encoding = Some("gzip".try_into().unwrap());
    assert_eq!(*got.properties, properties);
    assert_eq!(got.ack().await.unwrap(), long);
}

#[scenario]
async fn a_compressed_body_that_is_forwarded_is_read_as_before(fixture: Fixture) {
    let (_conn, chan, queue, dead) = queues(&fixture).await;
    let codec = Compressed::zstd(MsgPack);
    let long = "long ".repeat(1_000);
    let publish = chan.publish_with("", &long, codec);
    publish.routing_key(&queue).await.unwrap();
    let got = chan.get_one::<String>(&queue).codec(codec).await.unwrap();
    chan.forward("", &got).routing_key(&dead).await.unwrap();
    got.ack().await.unwrap();
    let got = chan.get_one::<String>(&dead).codec(codec).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), long);
}

#[scenario]
async fn a_body_that_expands_too_far_costs_only_its_own_message(fixture: Fixture) {
    const LIMIT_IN_BYTES: usize = 1 << 20;
    let (conn, chan, queue, dead) = queues(&fixture).await;
    let (recorder, mut calls) = record::<Bytes>();
    let codec = Compressed::gzip(RawBytes);
    chan.register_callback(&queue)
        .codec(codec.expanded_limit(LIMIT_IN_BYTES))
        .retry(Retry::never().then_reject())
        .callback(recorder.callback())
        .await
        .unwrap();
    for length in [LIMIT_IN_BYTES + 1, LIMIT_IN_BYTES] {
        let publish = chan.publish_with("", &vec![0; length], codec);
        publish.routing_key(&queue).await.unwrap();
    }
    assert_eq!(calls.next(&conn).await.msg.len(), LIMIT_IN_BYTES);

    let letter = chan.get::<Bytes>(&dead).codec(RawBytes).timeout(LIMIT);
    let letter = processing(&conn, "the dead letter", letter.into_future()).await;
    let letter = letter.unwrap();
    assert_eq!(letter.properties.content_encoding.as_deref(), Some("gzip"));
    let bomb = letter.ack().await.unwrap();
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    assert!(calls.so_far().is_empty());
}

#[scenario]
async fn a_content_encoding_that_is_not_accepted_is_named(fixture: Fixture) {
    let (_conn, chan, queue, _) = queues(&fixture).await;
    let publish = chan.publish("", "a").content_encoding("br");
    publish.routing_key(&queue).await.unwrap();
    let got = chan.get_one::<String>(&queue);
    let err = got
        .codec(Compressed::gzip(Json).or_zstd())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    let cause = std::error::Error::source(&err).unwrap();
    let cause = cause.downcast_ref::<CodecError>().unwrap();
    assert_eq!(
        cause.to_string(),
        "no decompression for the content encoding 'br' (accepted: gzip, zstd)"
    );
}

#[scenario]
async fn versions_are_told_apart_by_type(fixture: Fixture) {
    #[derive(Serialize, Deserialize)]
    struct Old(u32);

    let (conn, chan, queue, dead) = queues(&fixture).await;
    let orders = ByType::new(ByContentType::new(MsgPack).or(Json))
        .current("order.v2")
        .version("order.v1", |Old(pieces)| order(pieces));
    let (recorder, mut calls) = record::<Order>();
    chan.register_callback(&queue)
        .codec(orders.clone())
        .retry(Retry::never().then_reject())
        .callback(recorder.callback())
        .await
        .unwrap();
    let publishes = [
        chan.publish("", &Old(1)).kind("order.v1"),
        chan.publish("", &order(2)).kind("order.v3"),
        chan.publish("", &order(3)),
        chan.publish_with("", &order(4), &orders),
    ];
    for publish in publishes {
        publish.routing_key(&queue).await.unwrap();
    }
    assert_eq!(calls.next(&conn).await.msg, order(1));
    let current = calls.next(&conn).await;
    let content_type = Some("application/x-msgpack");
    let expected = [content_type, None, Some("order.v2")];
    assert_eq!(texts(&current.properties), expected);
    assert_eq!(current.msg, order(4));

    // The type that the set does not have, and the message without one.
    let mut rejected = Vec::new();
    for _ in 0..2 {
        let letter = chan.get::<Order>(&dead).timeout(LIMIT).into_future();
        let letter = processing(&conn, "the dead letter", letter).await.unwrap();
        rejected.push(letter.ack().await.unwrap().pieces);
    }
    rejected.sort_unstable();
    assert_eq!(rejected, [2, 3]);
    assert!(calls.so_far().is_empty());
}
