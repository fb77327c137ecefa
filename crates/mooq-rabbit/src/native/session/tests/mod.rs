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

mod calls;
mod closing;
mod messages;
mod peers;

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

fn connection_close() -> method::ConnectionClose {
    method::ConnectionClose {
        reply_code: 320,
        reply_text: "CONNECTION_FORCED - bye".into(),
        class_id: 0,
        method_id: 0,
    }
}
