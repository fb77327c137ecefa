//! A client that writes frames by hand, and the server's answers: codes and texts are those that
//! RabbitMQ 3.10.8, 4.0.5 and 4.3.6 gave to the same bytes.

// A failed expectation is meant to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use mooq_core::{FieldTable, Properties};
use mooq_memory::{Alarm, InMemoryBroker, Options, Profile};
use mooq_wire::frame::{FrameDecoder, PROTOCOL_HEADER, Payload};
use mooq_wire::method::*;
use mooq_wire::{Limits, Output};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::serve;
use crate::connection::Settings;
use crate::listener::State;

struct Client {
    socket: DuplexStream,
    input: BytesMut,
    /// Stops the server when it is dropped.
    stop: watch::Sender<State>,
    server: JoinHandle<io::Result<()>>,
}

/// Time after which a client that waits for the server gives up.
const SILENCE: Duration = Duration::from_secs(3600);

/// Input of a client.
#[derive(Debug, PartialEq)]
enum Read {
    Method(u16, Method),
    Heartbeat,
    /// The server has hung up.
    End,
}

impl Client {
    /// Connects to a broker.
    fn connect(broker: &InMemoryBroker) -> Self {
        let (socket, server) = tokio::io::duplex(1 << 20);
        let (stop, stopped) = watch::channel(State::Serving);
        let broker = broker.clone();
        let settings = Settings::of(&broker.options());
        let server = tokio::spawn(async move {
            serve(std::future::ready(Ok(server)), &broker, settings, stopped).await
        });
        Self {
            socket,
            input: BytesMut::new(),
            stop,
            server,
        }
    }

    /// Connects and logs in, up to channel 1.
    async fn open(broker: &InMemoryBroker) -> Self {
        let mut client = Self::connect(broker);
        client.log_in("\0guest\0guest").await;
        client.say(0, tune_ok(131_072, 0)).await;
        client.say(0, open_vhost("/")).await;
        client.hears(0, ConnectionOpenOk {}).await;
        client.say(1, ChannelOpen {}).await;
        client.hears(1, ChannelOpenOk {}).await;
        client
    }

    /// Logs in, up to `connection.tune`.
    async fn log_in(&mut self, response: &'static str) {
        self.write(&PROTOCOL_HEADER).await;
        let Read::Method(0, Method::ConnectionStart(_)) = self.read().await else {
            panic!("expected connection.start")
        };
        self.say(0, start_ok("PLAIN", response.as_bytes())).await;
        let tune = ConnectionTune {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 60,
        };
        self.hears(0, tune).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    async fn say(&mut self, channel: u16, method: impl Into<Method>) {
        let mut output = Output::new();
        output.method(channel, &method.into());
        self.write(&output.to_bytes()).await;
    }

    async fn hears(&mut self, channel: u16, method: impl Into<Method>) {
        assert_eq!(self.read().await, Read::Method(channel, method.into()));
    }

    /// Checks that nothing arrives for a minute.
    async fn hears_nothing(&mut self) {
        let heard = timeout(Duration::from_secs(60), self.read()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    async fn read(&mut self) -> Read {
        let decoder = FrameDecoder::new(Limits::default());
        loop {
            if let Some(frame) = decoder.decode(&mut self.input).unwrap() {
                return match frame.payload {
                    Payload::Method(bytes) => {
                        let method = Method::decode(bytes, decoder.limits()).unwrap();
                        Read::Method(frame.channel, method)
                    }
                    Payload::Heartbeat => Read::Heartbeat,
                    other => panic!("{other:?}"),
                };
            }
            let read = timeout(SILENCE, self.socket.read_buf(&mut self.input)).await;
            if read.expect("the server sends data in time").unwrap() == 0 {
                assert!(self.input.is_empty(), "{:?}", self.input);
                return Read::End;
            }
        }
    }

    /// Returns all remaining bytes, unparsed.
    async fn read_to_end(&mut self) -> Bytes {
        while self.socket.read_buf(&mut self.input).await.unwrap() > 0 {}
        self.input.split().freeze()
    }
}

fn start_ok(mechanism: &str, response: &[u8]) -> ConnectionStartOk {
    let capabilities = FieldTable::new()
        .with("authentication_failure_close", true)
        .unwrap();
    ConnectionStartOk {
        client_properties: FieldTable::new()
            .with("capabilities", capabilities)
            .unwrap(),
        mechanism: mechanism.try_into().unwrap(),
        response: Bytes::copy_from_slice(response),
        locale: "en_US".try_into().unwrap(),
    }
}

fn tune_ok(frame_max: u32, heartbeat: u16) -> ConnectionTuneOk {
    ConnectionTuneOk {
        channel_max: 2047,
        frame_max,
        heartbeat,
    }
}

fn open_vhost(name: &str) -> ConnectionOpen {
    ConnectionOpen {
        virtual_host: name.try_into().unwrap(),
    }
}

fn frame(frame_type: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![frame_type];
    frame.put_u16(channel);
    frame.put_u32(payload.len() as u32);
    frame.put_slice(payload);
    frame.put_u8(206);
    frame
}

/// A method frame with these arguments, valid or not.
fn method(channel: u16, class: u16, number: u16, arguments: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_u16(class);
    payload.put_u16(number);
    payload.put_slice(arguments);
    frame(1, channel, &payload)
}

/// A content header of this class and weight, which announces a body of this size.
fn header(class: u16, weight: u16, size: u64, flags: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_u16(class);
    payload.put_u16(weight);
    payload.put_u64(size);
    payload.put_u16(flags);
    frame(2, 1, &payload)
}

/// `basic.publish` to the default exchange, without its content.
fn publish() -> Vec<u8> {
    method(1, 60, 40, b"\0\0\0\x01q\0")
}

/// The server's answer to these bytes on a connection with channel 1.
async fn refusal(profile: Profile, bytes: &[u8]) -> Option<(u16, String, (u16, u16))> {
    let mut client = Client::open(&InMemoryBroker::start_as(profile)).await;
    client.write(bytes).await;
    match client.read().await {
        Read::Method(0, Method::ConnectionClose(close)) => {
            // Everything before the answer is ignored now.
            client.write(&method(1, 90, 10, b"")).await;
            client.say(0, ConnectionCloseOk {}).await;
            assert_eq!(client.read().await, Read::End);
            let method = (close.class_id, close.method_id);
            Some((close.reply_code, close.reply_text, method))
        }
        Read::End => None,
        other => panic!("{other:?}"),
    }
}

/// The bytes that are sent, and the code, the text and the method of the answer.
type Case = (Vec<u8>, u16, &'static str, (u16, u16));

#[tokio::test(start_paused = true)]
async fn malformed_frames_and_methods_out_of_place_end_the_connection() {
    let no_content = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    let no_header = "UNEXPECTED_FRAME - expected content header for class 60, got non content \
                     header frame instead";
    let no_body = "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    let unimplemented = "COMMAND_INVALID - unimplemented method";
    let unexpected = "CHANNEL_ERROR - unexpected method in connection state running";
    let then = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let begun = |size| then(publish(), header(60, 0, size, 0));
    let mut wrong_end = method(1, 20, 10, b"\0");
    *wrong_end.last_mut().unwrap() = 0;
    let mut too_large = vec![3, 0, 1];
    too_large.put_u32(131_073);

    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        (method(1, 50, 10, b"\0\0"), 501, "FRAME_ERROR - cannot decode <<0,0>>", (50, 10)),
        (method(1, 90, 10, b"x"), 501, "FRAME_ERROR - cannot decode <<120>>", (90, 10)),
        (frame(5, 1, b""), 501, "FRAME_ERROR - type 5, all octets = <<>>: unknown_frame", (0, 0)),
        (frame(8, 0, b"x"), 501, "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame", (0, 0)),
        (wrong_end, 501, "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,0}", (0, 0)),
        (too_large, 501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}", (0, 0)),
        (then(publish(), frame(2, 1, b"\0")), 501, "FRAME_ERROR - type 2, all octets = <<0>>: unknown_frame", (0, 0)),
        (frame(8, 1, b""), 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>", (0, 0)),
        (frame(3, 0, b"x"), 505, "UNEXPECTED_FRAME - type 3, all octets = <<\"x\">>", (0, 0)),
        (header(60, 0, 0, 0), 505, no_content, (0, 0)),
        (frame(3, 1, b"x"), 505, no_content, (0, 0)),
        (then(publish(), method(1, 90, 10, b"")), 505, no_header, (60, 40)),
        (then(publish(), frame(3, 1, b"x")), 505, no_header, (60, 40)),
        (then(publish(), header(60, 1, 0, 0)), 505, no_header, (60, 40)),
        (then(publish(), header(50, 0, 0, 0)), 505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead", (60, 40)),
        (then(begun(4), method(1, 90, 10, b"")), 505, no_body, (60, 40)),
        (then(begun(2), frame(3, 1, b"xxxx")), 505, no_body, (60, 40)),
        (method(1, 10, 40, b"\x01/\0\0"), 503, unimplemented, (10, 40)),
        (method(1, 20, 21, b"\x01"), 503, unimplemented, (20, 21)),
        (method(1, 50, 11, b"\x01q\0\0\0\0\0\0\0\0"), 503, unimplemented, (50, 11)),
        (method(0, 90, 10, b""), 504, unexpected, (90, 10)),
        (method(0, 10, 51, b""), 504, unexpected, (10, 51)),
        (method(0, 10, 60, b"\x01r"), 504, unexpected, (10, 60)),
        (method(2, 60, 10, b"\0\0\0\0\0\0\0"), 504, "CHANNEL_ERROR - expected 'channel.open'", (60, 10)),
        (method(1, 20, 10, b"\0"), 504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10)),
        (method(1, 20, 20, b"\0"), 540, "NOT_IMPLEMENTED - active=false", (20, 20)),
        (method(1, 50, 10, b"\0\0\x02\xff\xfe\0\0\0\0\0"), 501, "FRAME_ERROR - Malformed UTF-8 in shortstr", (0, 0)),
    ];
    for (bytes, code, text, id) in cases {
        let expected = Some((code, text.to_owned(), id));
        assert_eq!(refusal(Profile::V4_0, &bytes).await, expected);
    }
    // Bytes that crash RabbitMQ's reader get no answer.
    for bytes in [
        method(1, 60, 41, b""),
        method(1, 61, 41, b""),
        method(1, 50, 10, b"\0\0\x01q\0\0\0\0\x03\x01k?"),
    ] {
        assert_eq!(refusal(Profile::V4_0, &bytes).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn body_longer_than_announced_has_its_own_error_from_4_3_on() {
    let bytes = [publish(), header(60, 0, 2, 0), frame(3, 1, b"xxxx")].concat();
    let text = "FRAME_ERROR - content body frame exceeds remaining content size";
    let expected = Some((501, text.to_owned(), (60, 40)));
    assert_eq!(refusal(Profile::V4_3, &bytes).await, expected);
}

#[tokio::test(start_paused = true)]
async fn other_protocols_are_answered_with_the_one_that_is_spoken() {
    let sasl = *b"AMQP\x03\x01\0\0";
    for (profile, sent, answer) in [
        (Profile::V4_0, *b"AMQP\0\0\x09\0", PROTOCOL_HEADER),
        (Profile::V4_0, *b"AMQP\0\x01\0\0", sasl),
        (Profile::V4_0, *b"GET / HT", sasl),
        (Profile::V3_10, *b"AMQP\0\x01\0\0", PROTOCOL_HEADER),
        (Profile::V3_10, *b"GET / HT", PROTOCOL_HEADER),
    ] {
        let mut client = Client::connect(&InMemoryBroker::start_as(profile));
        client.write(&sent).await;
        assert_eq!(client.read_to_end().await, answer[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn login_refusal_is_sent_if_the_client_announces_support() {
    let broker = InMemoryBroker::start();
    let mut client = Client::connect(&broker);
    client.write(&PROTOCOL_HEADER).await;
    client.read().await;
    client.say(0, start_ok("PLAIN", b"\0guest\0wrong")).await;
    let close = ConnectionClose {
        reply_code: 403,
        reply_text: "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. \
                     For details see the broker logfile."
            .into(),
        class_id: 0,
        method_id: 0,
    };
    client.hears(0, close).await;
    assert_eq!(client.read().await, Read::End);
}

#[tokio::test(start_paused = true)]
async fn error_before_the_login_is_answered_with_three_seconds_of_silence() {
    let mut ill_behaved = start_ok("PLAIN", b"\0guest\0wrong");
    ill_behaved.client_properties = FieldTable::new();
    for method in [
        Method::from(ill_behaved),
        start_ok("EXTERNAL", b"").into(),
        start_ok("PLAIN", b"guest").into(),
        tune_ok(131_072, 0).into(),
        ChannelOpen {}.into(),
    ] {
        let mut client = Client::connect(&InMemoryBroker::start());
        client.write(&PROTOCOL_HEADER).await;
        client.read().await;
        let began = Instant::now();
        client.say(0, method).await;
        assert_eq!(client.read().await, Read::End);
        assert_eq!(began.elapsed().as_secs(), 3);
    }
    // Limits beyond the server's get no answer either.
    for tune in [tune_ok(131_073, 0), tune_ok(0, 0), tune_ok(4095, 0)] {
        let mut client = Client::connect(&InMemoryBroker::start());
        client.log_in("\0guest\0guest").await;
        let began = Instant::now();
        client.say(0, tune).await;
        assert_eq!(client.read().await, Read::End);
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_given_up_after_ten_seconds() {
    for sent in [&b""[..], b"AMQP"] {
        let mut client = Client::connect(&InMemoryBroker::start());
        let began = Instant::now();
        client.write(sent).await;
        assert_eq!(client.read().await, Read::End);
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_virtual_hosts_are_named() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 0)).await;
    client.say(0, open_vhost("nope")).await;
    let close = ConnectionClose {
        reply_code: 530,
        reply_text: "NOT_ALLOWED - vhost nope not found".into(),
        class_id: 10,
        method_id: 40,
    };
    client.hears(0, close).await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_twice_in_each_interval_and_missed_after_two() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 10)).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    let began = Instant::now();
    for beat in 1..=4 {
        assert_eq!(client.read().await, Read::Heartbeat);
        assert_eq!(began.elapsed().as_secs(), 5 * beat);
    }
    // Any data from the client is a sign of life.
    client.write(&frame(8, 0, b"")).await;
    let heard = Instant::now();
    while client.read().await == Read::Heartbeat {}
    assert_eq!(heard.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_back_as_it_was_published_however_it_is_cut() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    let body: Bytes = (0..300_000).map(|i| i as u8).collect::<Vec<_>>().into();
    let mut properties = Properties::default();
    properties.message_id = Some("id".try_into().unwrap());
    let publish = Method::BasicPublish(BasicPublish {
        exchange: "".try_into().unwrap(),
        routing_key: "q".try_into().unwrap(),
        mandatory: false,
        immediate: false,
    });
    let mut output = Output::new();
    output.content(1, &publish, &properties, &body, 131_072);
    // Pieces that end anywhere.
    for piece in output.to_bytes().chunks(1013) {
        client.write(piece).await;
    }
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;

    let [message] = &broker.ready_messages("q")[..] else {
        panic!("expected one message")
    };
    assert_eq!(message.message.body, body);
    assert_eq!(*message.message.properties, properties);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_gives_its_messages_back() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    client.write(&publish()).await;
    client.write(&header(60, 0, 0, 0)).await;
    client
        .say(
            1,
            BasicGet {
                queue: "q".try_into().unwrap(),
                no_ack: false,
            },
        )
        .await;
    let Read::Method(1, Method::BasicGetOk(_)) = client.read().await else {
        panic!("expected a message")
    };
    assert_eq!(broker.ready_messages("q").len(), 0);
    drop(client);
    broker.wait_idle().await;
    assert_eq!(broker.ready_messages("q").len(), 1);
    assert!(broker.connections("*").is_empty());
}

#[tokio::test(start_paused = true)]
async fn connection_may_be_closed_by_both_sides_at_once() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&method(0, 90, 10, b"")).await;
    let Read::Method(0, Method::ConnectionClose(_)) = client.read().await else {
        panic!("expected connection.close")
    };
    let close = ConnectionClose {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    };
    client.say(0, close).await;
    client.hears(0, ConnectionCloseOk {}).await;
    assert_eq!(client.read().await, Read::End);
}

/// `basic.publish` to an exchange that does not exist.
fn publish_to_nowhere() -> Vec<u8> {
    let publish = method(1, 60, 40, b"\0\0\x04nope\x01q\0");
    [publish, header(60, 0, 0, 0)].concat()
}

fn channel_close() -> ChannelClose {
    ChannelClose {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    }
}

fn encoded(channel: u16, method: impl Into<Method>) -> Bytes {
    let mut output = Output::new();
    output.method(channel, &method.into());
    output.to_bytes()
}

impl Client {
    async fn hears_that_nothing_is_there(&mut self) {
        let Read::Method(1, Method::ChannelClose(close)) = self.read().await else {
            panic!("expected channel.close")
        };
        let text = "NOT_FOUND - no exchange 'nope' in vhost '/'";
        assert_eq!((close.reply_code, &*close.reply_text), (404, text));
    }

    /// Answers the server's close, and opens the channel again.
    async fn reopens(&mut self) {
        self.say(1, ChannelCloseOk {}).await;
        self.say(1, ChannelOpen {}).await;
        self.hears(1, ChannelOpenOk {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn channel_closed_by_both_sides_at_once_is_closed_for_both() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    // The client's close is read before the broker has closed the channel, and after.
    let close = encoded(1, channel_close());
    client
        .write(&[&publish_to_nowhere(), &close[..]].concat())
        .await;
    client.hears_that_nothing_is_there().await;
    client.hears(1, ChannelCloseOk {}).await;
    client.reopens().await;

    client.write(&publish_to_nowhere()).await;
    client.hears_that_nothing_is_there().await;
    client.say(1, channel_close()).await;
    client.hears(1, ChannelCloseOk {}).await;
    // The close is not answered yet: everything but the answer is ignored.
    client.write(&publish_to_nowhere()).await;
    client.reopens().await;

    // Requests in between get no answer.
    let purge = encoded(
        1,
        QueuePurge {
            queue: "q".try_into().unwrap(),
            nowait: false,
        },
    );
    client
        .write(&[&publish_to_nowhere(), &purge[..], &close].concat())
        .await;
    client.hears_that_nothing_is_there().await;
    client.hears(1, ChannelCloseOk {}).await;
    client.reopens().await;
}

#[tokio::test(start_paused = true)]
async fn channel_closed_by_both_sides_is_answered_though_the_client_answers_at_once() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&publish_to_nowhere()).await;
    client.hears_that_nothing_is_there().await;
    let both = [
        encoded(1, channel_close()),
        encoded(1, ChannelCloseOk {}),
        encoded(1, ChannelOpen {}),
    ];
    client.write(&both.concat()).await;
    client.hears(1, ChannelCloseOk {}).await;
    client.hears(1, ChannelOpenOk {}).await;
    // The channel is a new one.
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;
    client.say(1, channel_close()).await;
    client.hears(1, ChannelCloseOk {}).await;
}

#[tokio::test(start_paused = true)]
async fn channel_that_the_client_has_not_given_up_cannot_be_opened_again() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&publish_to_nowhere()).await;
    client.hears_that_nothing_is_there().await;
    client.say(1, channel_close()).await;
    client.hears(1, ChannelCloseOk {}).await;
    client.say(1, ChannelOpen {}).await;
    let Read::Method(0, Method::ConnectionClose(close)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(
        close.reply_text,
        "CHANNEL_ERROR - second 'channel.open' seen"
    );
}

#[tokio::test(start_paused = true)]
async fn channel_is_closed_and_opened_again_without_waiting() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    let again = [encoded(1, channel_close()), encoded(1, ChannelOpen {})].concat();
    client.write(&[&again[..], &again].concat()).await;
    for _ in 0..2 {
        client.hears(1, ChannelCloseOk {}).await;
        client.hears(1, ChannelOpenOk {}).await;
    }
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;
}

#[tokio::test(start_paused = true)]
async fn frames_may_be_limited_to_8192_bytes_and_no_less_from_4_1_on() {
    for (profile, smallest) in [
        (Profile::V3_10, 4096),
        (Profile::V4_0, 4096),
        (Profile::V4_1, 8192),
        (Profile::V4_3, 8192),
    ] {
        let mut client = Client::connect(&InMemoryBroker::start_as(profile));
        client.log_in("\0guest\0guest").await;
        client.say(0, tune_ok(smallest - 1, 0)).await;
        assert_eq!(client.read().await, Read::End);

        let mut client = Client::connect(&InMemoryBroker::start_as(profile));
        client.log_in("\0guest\0guest").await;
        client.say(0, tune_ok(smallest, 0)).await;
        client.say(0, open_vhost("/")).await;
        client.hears(0, ConnectionOpenOk {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn greeting_and_limits_are_those_of_the_options() {
    for (profile, version) in [
        (Profile::V3_10, "3.10.8"),
        (Profile::V4_0, "4.0.5"),
        (Profile::V4_1, "4.1.8"),
        (Profile::V4_2, "4.2.9"),
        (Profile::V4_3, "4.3.6"),
    ] {
        let mut options = Options::of(profile);
        options.channel_max = 7;
        options.frame_max = 65_536;
        options.heartbeat = Duration::from_secs(9);
        let mut client = Client::connect(&InMemoryBroker::start_with_options(options));
        client.write(&PROTOCOL_HEADER).await;
        let Read::Method(0, Method::ConnectionStart(start)) = client.read().await else {
            panic!("expected connection.start")
        };
        let told = start.server_properties.get("version");
        assert_eq!(told.and_then(|value| value.as_str()), Some(version));
        client.say(0, start_ok("PLAIN", b"\0guest\0guest")).await;
        let tune = ConnectionTune {
            channel_max: 7,
            frame_max: 65_536,
            heartbeat: 9,
        };
        client.hears(0, tune).await;
    }
}

#[tokio::test(start_paused = true)]
async fn login_refusal_names_the_mechanism() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.write(&PROTOCOL_HEADER).await;
    client.read().await;
    let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05wrong";
    client.say(0, start_ok("AMQPLAIN", response)).await;
    let Read::Method(0, Method::ConnectionClose(close)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(
        close.reply_text,
        "ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. For details \
         see the broker logfile."
    );
}

#[tokio::test(start_paused = true)]
async fn channels_are_limited_to_the_number_that_the_client_chose() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.log_in("\0guest\0guest").await;
    let tune = ConnectionTuneOk {
        channel_max: 1,
        ..tune_ok(131_072, 0)
    };
    client.say(0, tune).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    client.say(1, ChannelOpen {}).await;
    client.hears(1, ChannelOpenOk {}).await;
    client.say(2, ChannelOpen {}).await;
    let close = ConnectionClose {
        reply_code: 530,
        reply_text: "NOT_ALLOWED - number of channels opened (1) has reached the negotiated \
                     channel_max (1)"
            .into(),
        class_id: 20,
        method_id: 10,
    };
    client.hears(0, close).await;
}

#[tokio::test(start_paused = true)]
async fn unopened_channel_that_gets_a_method_ends_the_connection() {
    let text = "CHANNEL_ERROR - expected 'channel.open'";
    // A publish is refused before its content arrives.
    for (class, number, arguments) in [
        (30, 10, &b"\x01/\0"[..]),
        (60, 40, b"\0\0\0\x01q\0"),
        (20, 41, b""),
        (20, 21, b"\x01"),
    ] {
        let bytes = method(2, class, number, arguments);
        let expected = Some((504, text.to_owned(), (class, number)));
        assert_eq!(refusal(Profile::V4_0, &bytes).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_for_access_are_granted() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&method(1, 30, 10, b"\x01/\0")).await;
    client.hears(1, AccessRequestOk { ticket: 1 }).await;
}

#[tokio::test(start_paused = true)]
async fn body_over_the_limit_is_refused_once_it_is_complete() {
    let mut options = Options::default();
    options.max_message_size = Some(100);
    let mut client = Client::open(&InMemoryBroker::start_with_options(options)).await;
    client
        .write(&[publish(), header(60, 0, 101, 0), frame(3, 1, &[0; 50])].concat())
        .await;
    // Other channels go on, and nothing is said before the end.
    client.write(&method(2, 20, 10, b"\0")).await;
    client.hears(2, ChannelOpenOk {}).await;
    client.write(&frame(3, 1, &[0; 51])).await;
    let close = ChannelClose {
        reply_code: 406,
        reply_text: "PRECONDITION_FAILED - message size 101 is larger than configured max size 100"
            .into(),
        class_id: 60,
        method_id: 40,
    };
    client.hears(1, close).await;
    client.reopens().await;
    client
        .write(&[publish(), header(60, 0, 100, 0), frame(3, 1, &[0; 100])].concat())
        .await;
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;
}

#[tokio::test(start_paused = true)]
async fn body_announced_over_512_mib_ends_the_connection_from_4_3_on() {
    const MAX: u64 = 512 << 20;
    for (profile, size) in [(Profile::V4_0, u64::MAX), (Profile::V4_3, MAX)] {
        let mut client = Client::open(&InMemoryBroker::start_as(profile)).await;
        client
            .write(&[publish(), header(60, 0, size, 0)].concat())
            .await;
        client.hears_nothing().await;
    }
    let bytes = [publish(), header(60, 0, MAX + 1, 0)].concat();
    let text = "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912";
    let expected = Some((501, text.to_owned(), (60, 40)));
    assert_eq!(refusal(Profile::V4_3, &bytes).await, expected);
}

#[tokio::test(start_paused = true)]
async fn connection_is_closed_once_for_two_errors_at_once() {
    let errors = [method(1, 20, 10, b"\0"), frame(5, 1, b"")].concat();
    let expected = Some((
        504,
        "CHANNEL_ERROR - second 'channel.open' seen".into(),
        (20, 10),
    ));
    assert_eq!(refusal(Profile::V4_0, &errors).await, expected);
}

#[tokio::test(start_paused = true)]
async fn frozen_link_passes_nothing_until_it_thaws() {
    let broker = InMemoryBroker::start();
    let mut client = Client::connect(&broker);
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 11)).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    client.say(1, ChannelOpen {}).await;
    client.hears(1, ChannelOpenOk {}).await;

    let frozen = broker.faults().freeze();
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.write(&method(1, 30, 10, b"\x01/\0")).await;
    let secret = ConnectionUpdateSecret {
        new_secret: Bytes::from_static(b"secret"),
        reason: "it is time".try_into().unwrap(),
    };
    client.say(0, secret).await;
    client.write(&frame(5, 1, b"")).await;
    // Neither answers nor heartbeats come, for five heartbeat intervals.
    client.hears_nothing().await;
    drop(frozen);
    client.hears(1, ConfirmSelectOk {}).await;
    client.hears(1, AccessRequestOk { ticket: 1 }).await;
    client.hears(0, ConnectionUpdateSecretOk {}).await;
    let Read::Method(0, Method::ConnectionClose(close)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(close.reply_code, 501);
}

#[tokio::test(start_paused = true)]
async fn slow_link_keeps_answers_in_order() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    let _slow = broker.faults().slow(Duration::from_secs(5));
    let began = Instant::now();
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.write(&method(1, 30, 10, b"\x01/\0")).await;
    client.write(&frame(5, 1, b"")).await;
    client.hears(1, ConfirmSelectOk {}).await;
    client.hears(1, AccessRequestOk { ticket: 1 }).await;
    let Read::Method(0, Method::ConnectionClose(_)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn frozen_broker_does_not_greet() {
    let broker = InMemoryBroker::start();
    let frozen = broker.faults().freeze();
    let mut client = Client::connect(&broker);
    client.write(&PROTOCOL_HEADER).await;
    let greeted = timeout(Duration::from_secs(9), client.read()).await;
    assert!(greeted.is_err(), "{greeted:?}");
    drop(frozen);
    let Read::Method(0, Method::ConnectionStart(_)) = client.read().await else {
        panic!("expected connection.start")
    };
}

/// Publishes messages of 64 KiB, up to 64 MiB, until the server does not read on for a minute.
/// Returns the number of bytes that it has taken.
async fn publish_until_blocked(client: &mut Client) -> usize {
    let body = frame(3, 1, &[0; 1 << 16]);
    let message = [publish(), header(60, 0, 1 << 16, 0), body].concat();
    let mut written = 0;
    while written < 64 << 20 {
        let mut rest = &message[..];
        while !rest.is_empty() {
            let writing = client.socket.write(rest);
            let Ok(count) = timeout(Duration::from_secs(60), writing).await else {
                return written;
            };
            let count = count.unwrap();
            written += count;
            rest = &rest[count..];
        }
    }
    written
}

#[tokio::test(start_paused = true)]
async fn blocked_publisher_is_not_read_from() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    let alarm = broker.raise_alarm(Alarm::Memory);
    // The capacity of the pipe and the buffers.
    let written = publish_until_blocked(&mut client).await;
    assert!(written < 4 << 20, "{written} bytes");
    drop(alarm);
    let written = publish_until_blocked(&mut client).await;
    assert!(written >= 64 << 20, "{written} bytes");
}

#[tokio::test(start_paused = true)]
async fn frozen_publisher_is_not_read_from() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    let _frozen = broker.faults().freeze();
    let written = publish_until_blocked(&mut client).await;
    assert!(written < 4 << 20, "{written} bytes");
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_is_not_read_from() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    // Without acks, so that every message comes back at once.
    client
        .write(&method(1, 60, 20, b"\0\0\x01q\x01t\x02\0\0\0\0"))
        .await;
    client
        .hears(
            1,
            BasicConsumeOk {
                consumer_tag: "t".try_into().unwrap(),
            },
        )
        .await;
    let written = publish_until_blocked(&mut client).await;
    assert!(written < 8 << 20, "{written} bytes");
}

#[tokio::test(start_paused = true)]
async fn server_stops_at_once_whatever_its_client_does() {
    let broker = InMemoryBroker::start();
    // A client that waits for a frozen link to log in.
    let frozen = broker.faults().freeze();
    let waiting = Client::connect(&broker);
    drop(frozen);
    // A client that has not hung up after its connection has ended.
    let mut lingering = Client::open(&broker).await;
    let close = ConnectionClose {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    };
    lingering.say(0, close).await;
    lingering.hears(0, ConnectionCloseOk {}).await;
    let _frozen = broker.faults().freeze();
    for client in [waiting, lingering] {
        let began = Instant::now();
        client.stop.send_replace(State::Stopped);
        client.server.await.unwrap().unwrap();
        assert_eq!(began.elapsed().as_secs(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_to_a_client_that_never_stops_sending() {
    let broker = InMemoryBroker::start();
    let mut client = Client::connect(&broker);
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 10)).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    let (mut reader, mut writer) = tokio::io::split(client.socket);
    let flooding = tokio::spawn(async move {
        let heartbeats = frame(8, 0, b"").repeat(10_000);
        while writer.write_all(&heartbeats).await.is_ok() {}
    });
    // The flood keeps the paused clock from advancing by itself.
    tokio::time::advance(Duration::from_secs(6)).await;
    let mut heartbeat = [0; 8];
    reader.read_exact(&mut heartbeat).await.unwrap();
    assert_eq!(heartbeat[..], frame(8, 0, b""));
    flooding.abort();
}

#[tokio::test(start_paused = true)]
async fn properties_come_back_octet_for_octet() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    // No headers, delivery mode 3, and a correlation id that is not UTF-8.
    let properties = b"\0\0\0\0\x03\x02\xff\xfe";
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(0);
    header.put_u16(1 << 13 | 1 << 12 | 1 << 10);
    header.put_slice(properties);
    let header = frame(2, 1, &header);
    client.write(&[publish(), header.clone()].concat()).await;
    client.write(&method(1, 60, 70, b"\0\0\x01q\x01")).await;
    let Read::Method(1, Method::BasicGetOk(_)) = client.read().await else {
        panic!("expected a message")
    };
    while client.input.len() < header.len() {
        client.socket.read_buf(&mut client.input).await.unwrap();
    }
    assert_eq!(client.input, header);
}

#[tokio::test(start_paused = true)]
async fn floats_that_are_no_numbers_end_the_connection() {
    let nan = [b"\0\0\0\x0b\x01kd", &f64::NAN.to_be_bytes()[..]].concat();
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(0);
    header.put_u16(1 << 13);
    header.put_slice(&nan);
    let bytes = [publish(), frame(2, 1, &header)].concat();
    let expected = Some((541, "INTERNAL_ERROR".into(), (0, 0)));
    assert_eq!(refusal(Profile::V4_0, &bytes).await, expected);
    // RabbitMQ's reader crashes on such floats in a method.
    let declare = [b"\0\0\x01q\0", &nan[..]].concat();
    assert_eq!(
        refusal(Profile::V4_0, &method(1, 50, 10, &declare)).await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_delivery_modes_are_refused_before_4_0() {
    let mut client = Client::open(&InMemoryBroker::start_as(Profile::V3_10)).await;
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(0);
    header.put_u16(1 << 12);
    header.put_u8(3);
    client
        .write(&[publish(), frame(2, 1, &header)].concat())
        .await;
    let close = ChannelClose {
        reply_code: 406,
        reply_text: "PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,3}".into(),
        class_id: 60,
        method_id: 40,
    };
    client.hears(1, close).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_named_connections_spare_those_with_another_name() {
    let broker = InMemoryBroker::start();
    // Every name but one.
    let refusing = broker.faults().connection("!spared").refuse_connections();
    let frozen = broker.faults().connection("!spared").freeze();
    let mut start_ok = start_ok("PLAIN", b"\0guest\0guest");
    let name = "connection_name".try_into().unwrap();
    start_ok.client_properties.insert(name, "spared".to_owned());
    let mut client = Client::connect(&broker);
    client.write(&PROTOCOL_HEADER).await;
    let Read::Method(0, Method::ConnectionStart(_)) = client.read().await else {
        panic!("expected connection.start")
    };
    client.say(0, start_ok).await;
    let Read::Method(0, Method::ConnectionTune(_)) = client.read().await else {
        panic!("expected connection.tune")
    };
    assert_eq!(refusing.strikes(), 0);
    drop(frozen);
}
