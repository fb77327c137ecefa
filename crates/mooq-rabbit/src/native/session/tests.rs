//! The session against a broker that a test plays, without sockets and in a time of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mooq_core::{
    ChannelEvent, ConnectionEvent, Endpoint, ErrorKind, ErrorScope, FieldTable, Message,
    Properties, Publish, QueueName, Settle, Settlement,
};
use mooq_wire::content::Assembler;
use mooq_wire::frame::{FrameDecoder, Payload};
use mooq_wire::method::{self, Method};
use mooq_wire::{Limits, Output};

use super::*;

const FRAME_MAX: u32 = 4096;

struct World {
    session: Session,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let tuned = Tuned {
            channel_max: 2,
            frame_max: FRAME_MAX,
            heartbeat: Some(Duration::from_secs(6)),
        };
        let now = Instant::now();
        Self {
            session: Session::new("rabbit:5672".into(), &tuned, Output::new(), now),
            now,
        }
    }

    /// A world with an open channel.
    fn with_channel() -> (Self, ChannelId) {
        let mut world = Self::new();
        let id = world.open();
        (world, id)
    }

    fn open(&mut self) -> ChannelId {
        let (id, ticket) = self.session.open_channel().unwrap();
        assert_eq!(self.sent(), ["channel.open"]);
        self.say(id.number, method::ChannelOpenOk {});
        assert!(matches!(self.answer(ticket), Ok(Answer::Done)));
        id
    }

    /// The methods that were written, with their channels.
    fn written(&mut self) -> Vec<(u16, Method)> {
        let mut output = Output::new();
        self.session.take_output(self.now, &mut output);
        let mut bytes = BytesMut::from(&output.to_bytes()[..]);
        let limits = Limits::default();
        let decoder = FrameDecoder::new(limits);
        let mut assembler = Assembler::new();
        let mut methods = Vec::new();
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            if frame.payload != Payload::Heartbeat
                && let Some(assembled) = assembler.push(frame.payload, &limits).unwrap()
            {
                methods.push((frame.channel, assembled.method));
            }
        }
        methods
    }

    /// The names of the methods that were written.
    fn sent(&mut self) -> Vec<&'static str> {
        let written = self.written();
        written.iter().map(|(_, method)| method.name()).collect()
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        while self.session.receive(self.now, &mut input) {}
    }

    fn say(&mut self, channel: u16, method: impl Into<Method>) {
        let mut output = Output::new();
        output.method(channel, &method.into());
        self.read(&output.to_bytes());
    }

    /// A delivery to the consumer `tag`.
    fn deliver(&mut self, channel: u16, tag: &str, delivery_tag: u64) {
        self.read(&delivery(
            channel,
            tag,
            delivery_tag,
            &Properties::default(),
        ));
    }

    /// A delivery whose routing key is not UTF-8.
    fn deliver_broken(&mut self, channel: u16, tag: &str, delivery_tag: u64) {
        let bytes = delivery(channel, tag, delivery_tag, &Properties::default());
        self.read(&broken(&bytes, b"KEY"));
    }

    fn consume(&mut self, id: ChannelId, tag: &str, no_ack: bool) {
        let request = method::BasicConsume {
            queue: "orders".try_into().unwrap(),
            consumer_tag: tag.try_into().unwrap(),
            no_local: false,
            no_ack,
            exclusive: false,
            nowait: false,
            arguments: FieldTable::new(),
        };
        let ticket = self.session.request(id, request).unwrap();
        assert_eq!(self.sent(), ["basic.consume"]);
        let consumer_tag = tag.try_into().unwrap();
        self.say(id.number, method::BasicConsumeOk { consumer_tag });
        assert!(matches!(self.answer(ticket), Ok(Answer::Consumer(_))));
    }

    fn settle(&mut self, id: ChannelId, delivery_tag: u64, settlement: Settlement) {
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement,
        };
        self.session.settle(id, settle).unwrap();
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn answer(&mut self, expected: Ticket) -> Result<Answer> {
        match self.session.poll_event() {
            Some(Event::Answer(ticket, answer)) if ticket == expected => answer,
            other => panic!("expected the answer to {expected}, got {other:?}"),
        }
    }

    /// The reason of the connection's end, which has to be the last event.
    fn closed(&mut self) -> Error {
        match self.events().pop() {
            Some(Event::Connection(ConnectionEvent::Closed(reason))) => reason,
            other => panic!("expected the end, got {other:?}"),
        }
    }

    /// The reason of a channel's end, which has to be the only event.
    fn channel_closed(&mut self, id: ChannelId) -> Error {
        match &self.events()[..] {
            [Event::Channel(number, ChannelEvent::Closed(reason))] if *number == id.number => {
                reason.clone()
            }
            other => panic!("expected the channel's end, got {other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.advance(self.now);
    }
}

/// The frames of a delivery with the routing key `KEY`.
fn delivery(channel: u16, tag: &str, delivery_tag: u64, properties: &Properties) -> Bytes {
    let mut output = Output::new();
    let method = deliver(tag, delivery_tag);
    output.content(channel, &method, properties, &"body".into(), FRAME_MAX);
    output.to_bytes()
}

fn deliver(tag: &str, delivery_tag: u64) -> Method {
    Method::BasicDeliver(method::BasicDeliver {
        consumer_tag: tag.try_into().unwrap(),
        delivery_tag,
        redelivered: false,
        exchange: "".try_into().unwrap(),
        routing_key: "KEY".try_into().unwrap(),
    })
}

/// `bytes` with `text` in it replaced by as many bytes that are not UTF-8.
fn broken(bytes: &[u8], text: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
    bytes[at..at + text.len()].fill(0xff);
    bytes
}

fn publish(body: &'static str) -> Publish {
    Publish::new(Message {
        exchange: "".try_into().unwrap(),
        routing_key: "q".try_into().unwrap(),
        properties: Arc::default(),
        body: Bytes::from_static(body.as_bytes()),
    })
}

fn purge(queue: &str) -> method::QueuePurge {
    method::QueuePurge {
        queue: queue.try_into().unwrap(),
        nowait: false,
    }
}

fn channel_close(reply_code: u16) -> method::ChannelClose {
    method::ChannelClose {
        reply_code,
        reply_text: "NOT_FOUND - no queue 'q' in vhost '/'".into(),
        class_id: 50,
        method_id: 30,
    }
}

fn connection_close() -> ConnectionClose {
    ConnectionClose {
        reply_code: 320,
        reply_text: "CONNECTION_FORCED - bye".into(),
        class_id: 0,
        method_id: 0,
    }
}

#[test]
fn a_channel_has_one_request_at_a_time_and_keeps_the_order() {
    let (mut world, id) = World::with_channel();
    let first = world.session.request(id, purge("a")).unwrap();
    world.session.publish(id, publish("1")).unwrap();
    let second = world.session.request(id, purge("b")).unwrap();
    world.session.publish(id, publish("2")).unwrap();
    assert_eq!(world.sent(), ["queue.purge", "basic.publish"]);
    assert_eq!(world.session.unwritten(), 1, "the body that waits");
    world.say(1, method::QueuePurgeOk { message_count: 1 });
    assert!(matches!(world.answer(first), Ok(Answer::Count(1))));
    assert_eq!(world.sent(), ["queue.purge", "basic.publish"]);
    world.say(1, method::QueuePurgeOk { message_count: 2 });
    assert!(matches!(world.answer(second), Ok(Answer::Count(2))));
    assert_eq!(world.session.unwritten(), 0);
}

#[test]
fn acks_of_one_write_are_sent_as_one() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    for tag in 1..=5 {
        world.deliver(1, "t", tag);
    }
    for tag in [1, 2, 3, 5] {
        world.settle(id, tag, Settlement::Ack);
    }
    let ack = |delivery_tag, multiple| {
        let ack = method::BasicAck {
            delivery_tag,
            multiple,
        };
        (1, Method::BasicAck(ack))
    };
    assert_eq!(world.written(), [ack(3, true), ack(5, false)]);
    // Whatever is sent on the channel after an ack comes after it.
    world.settle(id, 4, Settlement::Ack);
    world.session.publish(id, publish("")).unwrap();
    assert_eq!(world.sent(), ["basic.ack", "basic.publish"]);
}

#[test]
fn deliveries_without_acks_stand_in_no_ones_way() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    world.consume(id, "free", true);
    for tag in 1..=4 {
        world.deliver(1, if tag == 2 { "free" } else { "t" }, tag);
    }
    for tag in [1, 3, 4] {
        world.settle(id, tag, Settlement::Ack);
    }
    assert_eq!(world.sent(), ["basic.ack"]);
}

#[test]
fn the_broker_closes_a_channel() {
    let (mut world, id) = World::with_channel();
    let first = world.session.request(id, purge("q")).unwrap();
    let second = world.session.request(id, purge("q")).unwrap();
    world.sent();
    world.say(1, channel_close(404));
    assert_eq!(world.sent(), ["channel.close-ok"]);
    for ticket in [first, second] {
        let err = world.answer(ticket).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConsumerQueueNotFound);
    }
    let reason = world.channel_closed(id);
    assert_eq!(reason.kind(), ErrorKind::ConsumerQueueNotFound);
    assert!(world.session.publish(id, publish("")).is_err());

    // RabbitMQ may close a channel twice.
    world.say(1, channel_close(406));
    assert!(world.sent().is_empty());
    assert!(!world.session.has_ended());

    // The number is used again when no other is left, by another channel.
    world.open();
    let next = world.open();
    assert_eq!(next.number, id.number);
    assert!(world.session.publish(id, publish("")).is_err());
    assert!(world.session.publish(next, publish("")).is_ok());
}

#[test]
fn closes_of_a_channel_may_cross() {
    let (mut world, id) = World::with_channel();
    world.session.close_channel(id, world.now);
    assert_eq!(world.sent(), ["channel.close"]);
    world.say(1, channel_close(404));
    assert_eq!(world.sent(), ["channel.close-ok"]);
    assert!(world.events().is_empty(), "the broker's answer follows");
    world.session.open_channel().unwrap();
    assert!(world.session.open_channel().is_err(), "it is not free yet");
    world.say(1, method::ChannelCloseOk {});
    let events = world.events();
    assert!(
        matches!(&events[..], [Event::Channel(1, ChannelEvent::Closed(_))]),
        "{events:?}"
    );
}

#[test]
fn a_close_waits_for_confirms_but_not_for_ever() {
    for confirmed in [true, false] {
        let (mut world, id) = World::with_channel();
        let select = method::ConfirmSelect { nowait: false };
        world.session.request(id, select).unwrap();
        world.session.publish(id, publish("1")).unwrap();
        world.say(1, method::ConfirmSelectOk {});
        world.events();
        world.session.close_channel(id, world.now);
        assert_eq!(world.sent(), ["confirm.select", "basic.publish"]);
        let err = world.session.publish(id, publish("2")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ChannelClosed);
        world.pass(Duration::from_secs(4));
        assert!(world.sent().is_empty());
        if confirmed {
            let ack = method::BasicAck {
                delivery_tag: 1,
                multiple: false,
            };
            world.say(1, ack);
        } else {
            assert!(world.session.next_deadline().unwrap() <= world.now + Duration::from_secs(1));
            world.pass(Duration::from_secs(1));
        }
        assert_eq!(world.sent(), ["channel.close"]);
        world.events();
        world.say(1, method::ChannelCloseOk {});
        let reason = world.channel_closed(id);
        assert_eq!(reason.kind(), ErrorKind::ChannelClosed);
    }
}

#[test]
fn a_close_waits_for_answers_as_long_as_someone_else_does() {
    let (mut world, id) = World::with_channel();
    let ticket = world.session.request(id, purge("q")).unwrap();
    world.session.close(world.now);
    assert_eq!(world.sent(), ["queue.purge"]);
    for _ in 0..10 {
        world.pass(Duration::from_secs(3));
        world.read(b"\x08\0\0\0\0\0\0\xce");
        assert!(world.sent().is_empty());
    }
    world.session.forsake(id, ticket, world.now);
    world.pass(Duration::from_millis(999));
    assert!(world.sent().is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.sent(), ["connection.close"]);
    world.say(0, ConnectionCloseOk {});
    assert_eq!(world.closed().kind(), ErrorKind::ConnectionClosed);
    assert!(world.session.has_ended());
}

#[test]
fn the_broker_closes_the_connection() {
    let (mut world, id) = World::with_channel();
    let ticket = world.session.request(id, purge("q")).unwrap();
    world.sent();
    world.say(0, connection_close());
    assert_eq!(world.sent(), ["connection.close-ok"]);
    let err = world.answer(ticket).unwrap_err();
    assert_eq!(err.scope(), ErrorScope::Connection);
    let reason = world.closed();
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert_eq!(reason.reason().unwrap().code, 320);
    assert!(world.session.has_ended() && !world.session.is_lost());
    // The last frame has its time, and no more.
    world.pass(LAST_WORDS);
    assert!(world.session.is_lost());
}

#[test]
fn closes_of_the_connection_may_cross() {
    let (mut world, _) = World::with_channel();
    world.session.close(world.now);
    assert_eq!(world.sent(), ["connection.close"]);
    // What arrives until the answer is ignored, or passed on.
    world.deliver(1, "t", 1);
    world.deliver(2, "t", 1);
    world.say(1, channel_close(404));
    world.say(0, connection_close());
    assert_eq!(world.sent().last(), Some(&"connection.close-ok"));
    assert_eq!(world.closed().kind(), ErrorKind::ConnectionClosed);
}

#[test]
fn a_connection_without_handles_closes_in_any_case() {
    let (mut world, _) = World::with_channel();
    world.session.abandon(world.now);
    assert_eq!(world.sent(), ["connection.close"]);
    world.pass(GOOD_ORDER);
    assert!(world.session.is_lost());
    assert_eq!(world.closed().kind(), ErrorKind::ConnectionLost);
}

#[test]
fn heartbeats_go_both_ways() {
    let mut world = World::new();
    let beats = |world: &mut World| {
        let mut output = Output::new();
        world.session.take_output(world.now, &mut output);
        output.to_bytes() == b"\x08\0\0\0\0\0\0\xce"[..]
    };
    assert!(!beats(&mut world));
    world.pass(Duration::from_secs(3));
    assert!(beats(&mut world));
    assert!(!beats(&mut world), "one is enough");
    world.read(b"\x08\0\0\0\0\0\0\xce");
    world.pass(Duration::from_secs(11));
    assert!(!world.session.has_ended());
    world.pass(Duration::from_secs(1));
    let reason = world.closed();
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(reason.to_string().contains("for 12s"), "{reason}");
    assert!(reason.to_string().contains("rabbit:5672"), "{reason}");
}

#[test]
fn an_alarm_is_announced() {
    let mut world = World::new();
    let reason = "low on memory".try_into().unwrap();
    world.say(0, method::ConnectionBlocked { reason });
    world.say(0, method::ConnectionUnblocked {});
    let events = world.events();
    assert!(
        matches!(&events[..], [
            Event::Connection(ConnectionEvent::Blocked(reason)),
            Event::Connection(ConnectionEvent::Unblocked),
        ] if reason == "low on memory"),
        "{events:?}"
    );
}

#[test]
fn a_request_for_less_is_answered() {
    let (mut world, _) = World::with_channel();
    world.say(1, method::ChannelFlow { active: false });
    assert_eq!(world.sent(), ["channel.flow-ok"]);
}

#[test]
fn too_many_channels_are_the_callers_error() {
    let mut world = World::new();
    world.open();
    world.open();
    let err = world.session.open_channel().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    assert_eq!(err.scope(), ErrorScope::Operation);
}

#[test]
fn a_broker_that_violates_the_protocol_ends_the_connection() {
    let violations: [(&str, &dyn Fn(&mut World)); 8] = [
        ("bytes exceeds the limit", &|w| {
            w.read(b"\x01\0\x01\xff\xff\xff\xff")
        }),
        ("ends with 0", &|w| {
            w.read(b"\x01\0\x01\0\0\0\x04\0\x14\0\x0b\0")
        }),
        ("unknown method", &|w| {
            w.read(b"\x01\0\x01\0\0\0\x04\0\x63\0\x63\xce")
        }),
        ("unexpected channel.open-ok", &|w| {
            w.say(1, method::ChannelOpenOk {})
        }),
        ("unexpected connection.tune", &|w| {
            w.say(
                0,
                method::ConnectionTune {
                    channel_max: 0,
                    frame_max: 0,
                    heartbeat: 0,
                },
            );
        }),
        ("channel that was never open", &|w| w.deliver(2, "t", 1)),
        ("expected method frame", &|w| {
            w.read(b"\x03\0\x01\0\0\0\0\xce")
        }),
        ("unexpected channel.close-ok", &|w| {
            w.say(1, method::ChannelCloseOk {})
        }),
    ];
    for (what, violate) in violations {
        let (mut world, id) = World::with_channel();
        violate(&mut world);
        assert_eq!(world.sent(), ["connection.close"], "{what}");
        let events = world.events();
        assert!(
            matches!(&events[0], Event::Channel(1, ChannelEvent::Closed(_))),
            "{events:?}"
        );
        let Some(Event::Connection(ConnectionEvent::Closed(reason))) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{what}");
        assert!(reason.to_string().contains(what), "{reason}");
        assert!(std::error::Error::source(reason).is_some());
        assert!(world.session.publish(id, publish("")).is_err());
    }
}

#[test]
fn a_message_that_is_not_utf8_costs_its_consumer_only() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "bad", false);
    world.consume(id, "good", false);
    world.deliver(1, "bad", 1);
    world.events();
    world.deliver_broken(1, "bad", 2);
    let nack = |delivery_tag| {
        let nack = method::BasicNack {
            delivery_tag,
            multiple: false,
            requeue: true,
        };
        (1, Method::BasicNack(nack))
    };
    let written = world.written();
    assert!(
        matches!(&written[0], (1, Method::BasicCancel(cancel)) if cancel.consumer_tag == "bad"),
        "cancelled first: {written:?}"
    );
    assert_eq!(written[1..], [nack(2)]);
    let events = world.events();
    assert!(
        matches!(&events[..], [Event::Channel(1, ChannelEvent::ConsumerCancelled(tag))]
            if *tag == "bad"),
        "{events:?}"
    );
    // Those on their way are requeued as well.
    world.deliver(1, "bad", 3);
    world.deliver_broken(1, "bad", 4);
    assert_eq!(world.written(), [nack(3), nack(4)]);
    assert!(world.events().is_empty());

    world.deliver(1, "good", 5);
    assert_eq!(world.events().len(), 1);
    for tag in [1, 5] {
        world.settle(id, tag, Settlement::Ack);
    }
    assert_eq!(world.sent(), ["basic.ack"]);
    // The tag is as good as any for another consumer.
    world.consume(id, "bad", false);
    world.deliver(1, "bad", 6);
    assert_eq!(world.events().len(), 1);
}

#[test]
fn a_property_that_is_not_utf8_costs_its_consumer_only() {
    let mut by_id = Properties::default();
    by_id.message_id = Some("VALUE".try_into().unwrap());
    let mut by_header = Properties::default();
    by_header.headers = FieldTable::new().with("VALUE", 1).unwrap();
    for properties in [by_id, by_header] {
        let (mut world, id) = World::with_channel();
        world.consume(id, "t", true);
        world.read(&broken(&delivery(1, "t", 1, &properties), b"VALUE"));
        // Without acknowledgements, there is nothing to give back.
        assert_eq!(world.sent(), ["basic.cancel"]);
        let events = world.events();
        assert!(
            matches!(
                &events[..],
                [Event::Channel(1, ChannelEvent::ConsumerCancelled(_))]
            ),
            "{events:?}"
        );
        assert!(!world.session.has_ended());
    }
}

#[test]
fn text_in_a_header_may_be_any_bytes() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    let mut properties = Properties::default();
    properties.headers = FieldTable::new().with("h", "VALUE").unwrap();
    world.read(&broken(&delivery(1, "t", 1, &properties), b"VALUE"));
    let events = world.events();
    let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
        panic!("{events:?}");
    };
    let expected = FieldTable::new().with("h", Bytes::from_static(&[0xff; 5]));
    assert_eq!(delivered.message.properties.headers, expected.unwrap());
}

#[test]
fn a_fetched_message_that_is_not_utf8_fails_its_fetch_only() {
    let (mut world, id) = World::with_channel();
    let get = method::BasicGet {
        queue: "orders".try_into().unwrap(),
        no_ack: false,
    };
    let ticket = world.session.request(id, get).unwrap();
    let next = world.session.request(id, purge("q")).unwrap();
    world.sent();
    let fetched = Method::BasicGetOk(method::BasicGetOk {
        delivery_tag: 1,
        redelivered: false,
        exchange: "".try_into().unwrap(),
        routing_key: "KEY".try_into().unwrap(),
        message_count: 0,
    });
    let mut output = Output::new();
    output.content(
        1,
        &fetched,
        &Properties::default(),
        &"body".into(),
        FRAME_MAX,
    );
    world.read(&broken(&output.to_bytes(), b"KEY"));
    assert_eq!(world.sent(), ["basic.nack", "queue.purge"]);
    let err = world.answer(ticket).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert_eq!(err.scope(), ErrorScope::Operation);
    for part in ["'orders'", "routing key"] {
        assert!(err.to_string().contains(part), "{err}");
    }
    world.say(1, method::QueuePurgeOk { message_count: 0 });
    assert!(world.answer(next).is_ok());
}

#[test]
fn a_header_that_nests_deep_is_recorded_and_the_message_delivered() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", false);
    // Built by hand, since no table takes it: `deep` is a table in a table, 600 times, and `next`
    // comes after it.
    let mut value = b"V".to_vec();
    for _ in 0..600 {
        let mut table = vec![1, b'k'];
        table.extend(&value);
        value = b"F".to_vec();
        value.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        value.extend(table);
    }
    let mut entries = b"\x04deep".to_vec();
    entries.extend(value);
    entries.extend(b"\x04nextt\x01");
    let mut header = b"\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0".to_vec();
    header.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
    header.extend(entries);
    let mut output = Output::new();
    output.method(1, &deliver("t", 1));
    let mut bytes = output.to_bytes().to_vec();
    bytes.extend(b"\x02\0\x01");
    bytes.extend(u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes.extend(header);
    bytes.push(0xce);
    world
        .session
        .decoder
        .set_limits(Limits::default().recording_deep_values());
    world.read(&bytes);
    let events = world.events();
    let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
        panic!("{events:?}");
    };
    let headers = &delivered.message.properties.headers;
    assert_eq!(headers.too_deep().unwrap(), "deep");
    assert_eq!(headers.get("next"), Some(&true.into()));
}

#[test]
fn large_bodies_arrive_in_pieces() {
    let (mut world, id) = World::with_channel();
    world.consume(id, "t", true);
    let body = Bytes::from(vec![7; 20_000]);
    let mut output = Output::new();
    output.content(
        1,
        &deliver("t", 1),
        &Properties::default(),
        &body,
        FRAME_MAX,
    );
    let bytes = output.to_bytes();
    let (first, second) = bytes.split_at(9_999);
    let mut input = BytesMut::from(first);
    while world.session.receive(world.now, &mut input) {}
    input.extend_from_slice(second);
    while world.session.receive(world.now, &mut input) {}
    let events = world.events();
    let [Event::Channel(1, ChannelEvent::Deliver(delivered))] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(delivered.message.body, body);
}

/// A source of numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

/// Bytes of a broker, some of which are replaced.
fn mutated(random: &mut Random, template: &[u8]) -> Vec<u8> {
    let mut bytes = template.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.below(256) as u8;
    }
    bytes
}

#[test]
fn no_bytes_break_a_handshake() {
    let endpoint = Endpoint::default();
    let start = Method::ConnectionStart(method::ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::new().with("a", "b").unwrap(),
        mechanisms: Bytes::from_static(b"PLAIN"),
        locales: Bytes::from_static(b"en_US"),
    });
    let tune = Method::ConnectionTune(method::ConnectionTune {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 60,
    });
    let mut output = Output::new();
    output.method(0, &start);
    output.method(0, &tune);
    output.method(0, &method::ConnectionOpenOk {}.into());
    let template = output.to_bytes();
    let mut whole = BytesMut::from(&template[..]);
    let tuned = Handshake::new(&endpoint, 6)
        .receive(&mut whole)
        .unwrap()
        .unwrap();
    assert_eq!(tuned.heartbeat, Some(Duration::from_secs(6)));
    assert_eq!((tuned.channel_max, tuned.frame_max), (2047, 131_072));

    let mut random = Random(3);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut input = BytesMut::from(&mutated(&mut random, &template)[..]);
        if let Err(refusal) = Handshake::new(&endpoint, 6).receive(&mut input) {
            let error = refusal.error("rabbit:5672");
            assert!(error.to_string().contains("rabbit:5672"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn no_bytes_break_a_connection() {
    let mut output = Output::new();
    let mut properties = Properties::default();
    properties.headers = FieldTable::new()
        .with("a", vec![1.into(), "b".into()])
        .unwrap();
    properties.message_id = Some("id".try_into().unwrap());
    output.content(1, &deliver("t", 1), &properties, &"body".into(), FRAME_MAX);
    output.method(1, &method::QueuePurgeOk { message_count: 1 }.into());
    let ack = method::BasicAck {
        delivery_tag: 1,
        multiple: true,
    };
    output.method(1, &ack.into());
    let template = output.to_bytes();
    let mut random = Random(11);
    let (mut ended, mut went_on) = (0, 0);
    for _ in 0..20_000 {
        let (mut world, id) = World::with_channel();
        world.consume(id, "t", false);
        world.session.request(id, purge("q")).unwrap();
        let bytes = mutated(&mut random, &template);
        world.read(&bytes);
        world.written();
        if world.session.has_ended() {
            ended += 1;
            assert_eq!(world.closed().kind(), ErrorKind::ConnectionLost);
        } else {
            went_on += 1;
            // It can still be closed.
            world.events();
            world.session.abandon(world.now);
            world.pass(GOOD_ORDER);
            assert!(world.session.is_lost());
        }
    }
    assert!(ended > 1000 && went_on > 1000, "{ended} {went_on}");
}

#[test]
fn a_name_in_a_request_stands_for_a_queue() {
    let (mut world, id) = World::with_channel();
    let declare = method::QueueDeclare {
        queue: QueueName::default(),
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: false,
        arguments: FieldTable::new(),
    };
    let ticket = world.session.request(id, declare).unwrap();
    let declared = method::QueueDeclareOk {
        queue: "amq.gen-1".try_into().unwrap(),
        message_count: 0,
        consumer_count: 0,
    };
    world.say(1, declared);
    assert!(
        matches!(world.answer(ticket), Ok(Answer::Declared(declared))
        if declared.name == "amq.gen-1")
    );
    let get = method::BasicGet {
        queue: QueueName::default(),
        no_ack: true,
    };
    let ticket = world.session.request(id, get).unwrap();
    world.sent();
    let fetched = Method::BasicGetOk(method::BasicGetOk {
        delivery_tag: 1,
        redelivered: false,
        exchange: "KEY".try_into().unwrap(),
        routing_key: "".try_into().unwrap(),
        message_count: 0,
    });
    let mut output = Output::new();
    output.content(
        1,
        &fetched,
        &Properties::default(),
        &"body".into(),
        FRAME_MAX,
    );
    world.read(&broken(&output.to_bytes(), b"KEY"));
    let err = world.answer(ticket).unwrap_err();
    assert!(err.to_string().contains("queue 'amq.gen-1'"), "{err}");
    assert!(world.sent().is_empty(), "nothing to give back");
}
