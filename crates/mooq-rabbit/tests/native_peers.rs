//! The native driver against peers that are no RabbitMQ, or none that keeps to the rules. No broker
//! is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test, the functions beside it too"
)]

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, Consume, Endpoint, Error, ErrorKind, ErrorScope, FieldTable,
    FieldValue, OpenedConnection, Properties, QueueName, Result, Transport, TransportChannel,
};
use mooq_rabbit::{NativeOnRuntime, NativeTransport};
use mooq_wire::content::Assembler;
use mooq_wire::frame::{FrameDecoder, Payload};
use mooq_wire::method::{self, Method};
use mooq_wire::{Limits, Output};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

/// RabbitMQ's limit for the size of a frame, in bytes.
const FRAME_MAX: u32 = 131_072;

/// Waits for `future`, but not for ever.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .expect("it takes too long")
}

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = Endpoint::default();
    endpoint.host = "127.0.0.1".into();
    endpoint.port = listener.local_addr().unwrap().port();
    endpoint.credentials.password = "hunter2".into();
    endpoint.heartbeat = Duration::from_secs(30);
    (listener, endpoint)
}

/// Connections on the test's runtime, whose clock it pauses.
fn here() -> NativeOnRuntime {
    NativeOnRuntime(Handle::current())
}

fn check(err: &Error, endpoint: &Endpoint) {
    assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert!(err.to_string().contains(&endpoint.address()), "{err}");
    assert!(err.source().is_some(), "{err:?}");
    assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
}

/// The broker's end of a connection.
struct Peer {
    stream: TcpStream,
    input: BytesMut,
    assembler: Assembler,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        Self {
            stream: listener.accept().await.unwrap().0,
            input: BytesMut::new(),
            assembler: Assembler::new(),
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn say(&mut self, channel: u16, method: impl Into<Method>) {
        let mut output = Output::new();
        output.method(channel, &method.into());
        self.write(&output.to_bytes()).await;
    }

    /// The client's next method.
    async fn hear(&mut self) -> Method {
        let limits = Limits::default();
        let decoder = FrameDecoder::new(limits);
        loop {
            while let Some(frame) = decoder.decode(&mut self.input).unwrap() {
                if frame.payload == Payload::Heartbeat {
                    continue;
                }
                if let Some(assembled) = self.assembler.push(frame.payload, &limits).unwrap() {
                    return assembled.method;
                }
            }
            let read = self.stream.read_buf(&mut self.input).await.unwrap();
            assert_ne!(read, 0, "the client hung up");
        }
    }

    async fn expect(&mut self, name: &str) -> Method {
        let method = soon(self.hear()).await;
        assert_eq!(method.name(), name);
        method
    }

    /// Up to the client's login, which this gives.
    async fn start(&mut self) -> method::ConnectionStartOk {
        self.header().await;
        self.say(0, start()).await;
        match self.expect("connection.start-ok").await {
            Method::ConnectionStartOk(start_ok) => start_ok,
            other => panic!("{other:?}"),
        }
    }

    async fn header(&mut self) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).await.unwrap();
        assert_eq!(&header, b"AMQP\0\0\x09\x01");
    }

    async fn tune(&mut self, tune: method::ConnectionTune) -> method::ConnectionTuneOk {
        self.start().await;
        self.say(0, tune).await;
        let tuned = match self.expect("connection.tune-ok").await {
            Method::ConnectionTuneOk(tuned) => tuned,
            other => panic!("{other:?}"),
        };
        self.expect("connection.open").await;
        self.say(0, method::ConnectionOpenOk {}).await;
        tuned
    }
}

fn start() -> Method {
    Method::ConnectionStart(method::ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::new(),
        mechanisms: Bytes::from_static(b"AMQPLAIN PLAIN"),
        locales: Bytes::from_static(b"en_US"),
    })
}

fn limits(channel_max: u16, frame_max: u32, heartbeat: u16) -> method::ConnectionTune {
    method::ConnectionTune {
        channel_max,
        frame_max,
        heartbeat,
    }
}

/// A connection to a peer that has these limits.
async fn tuned(
    endpoint: &Endpoint,
    listener: &TcpListener,
    tune: method::ConnectionTune,
) -> (OpenedConnection, Peer, method::ConnectionTuneOk) {
    let here = here();
    let peer = async {
        let mut peer = Peer::accept(listener).await;
        let tuned = peer.tune(tune).await;
        (peer, tuned)
    };
    let (opened, (peer, tuned)) = soon(async { tokio::join!(here.open(endpoint), peer) }).await;
    (opened.unwrap(), peer, tuned)
}

async fn connect() -> (OpenedConnection, Peer) {
    let (listener, endpoint) = listen().await;
    let (opened, peer, _) = tuned(&endpoint, &listener, limits(2047, FRAME_MAX, 60)).await;
    (opened, peer)
}

/// A connection with a channel on which queue `orders` is consumed.
async fn consuming() -> (
    OpenedConnection,
    Arc<dyn TransportChannel>,
    Receiver<ChannelEvent>,
    Peer,
) {
    let (opened, mut peer) = connect().await;
    let broker = async {
        peer.expect("channel.open").await;
        peer.say(1, method::ChannelOpenOk {}).await;
    };
    let (channel, ()) =
        soon(async { tokio::join!(opened.connection.open_channel(), broker) }).await;
    let channel = channel.unwrap();
    let consume = Consume {
        tag: "t".try_into().unwrap(),
        ..Consume::new("orders".try_into().unwrap())
    };
    let broker = async {
        peer.expect("basic.consume").await;
        let consumer_tag = "t".try_into().unwrap();
        peer.say(1, method::BasicConsumeOk { consumer_tag }).await;
    };
    let (tag, ()) = soon(async { tokio::join!(channel.channel.consume(consume), broker) }).await;
    assert_eq!(tag.unwrap(), "t");
    (opened, channel.channel, channel.events, peer)
}

/// The frames of a delivery with the routing key `KEY`.
fn delivery(delivery_tag: u64, properties: &Properties) -> Vec<u8> {
    let deliver = Method::BasicDeliver(method::BasicDeliver {
        consumer_tag: "t".try_into().unwrap(),
        delivery_tag,
        redelivered: false,
        exchange: "".try_into().unwrap(),
        routing_key: "KEY".try_into().unwrap(),
    });
    let mut output = Output::new();
    output.content(1, &deliver, properties, &"body".into(), FRAME_MAX);
    output.to_bytes().to_vec()
}

async fn lost(events: &mut Receiver<ConnectionEvent>) -> Error {
    match soon(events.next()).await {
        Some(ConnectionEvent::Closed(reason)) => {
            assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{reason:?}");
            reason
        }
        other => panic!("expected Closed, got {other:?}"),
    }
}

/// Returns the error about a peer that answers the protocol header with `answer` and hangs up.
async fn answer(answer: &[u8]) -> Error {
    let (listener, endpoint) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        peer.header().await;
        peer.write(answer).await;
    };
    let (opened, ()) = soon(async { tokio::join!(NativeTransport.open(&endpoint), peer) }).await;
    let err = opened.unwrap_err();
    check(&err, &endpoint);
    err
}

#[tokio::test]
async fn a_refused_port_and_an_unknown_name_are_told_apart() {
    // Bound, so that nobody else listens there meanwhile.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (_, mut endpoint) = listen().await;
    endpoint.port = nobody.local_addr().unwrap().port();
    let err = NativeTransport.open(&endpoint).await.unwrap_err();
    check(&err, &endpoint);
    assert!(err.to_string().contains("refused"), "{err}");
    // Too long for a label: known to be wrong without asking any server.
    endpoint.host = "x".repeat(64);
    let err = NativeTransport.open(&endpoint).await.unwrap_err();
    check(&err, &endpoint);
    assert!(err.to_string().contains("does not resolve"), "{err}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let (_listener, mut endpoint) = listen().await;
    endpoint.connect_timeout = Duration::from_millis(100);
    let err = soon(NativeTransport.open(&endpoint)).await.unwrap_err();
    check(&err, &endpoint);
    assert!(err.to_string().contains("within 100ms"), "{err}");
}

#[tokio::test]
async fn a_peer_that_trickles_is_given_up_in_time() {
    let (listener, endpoint) = listen().await;
    let here = here();
    let trickle = async {
        let mut peer = Peer::accept(&listener).await;
        peer.header().await;
        // From here on, time passes where nothing else happens.
        tokio::time::pause();
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut output = Output::new();
        output.method(0, &start());
        for byte in output.to_bytes() {
            seconds.tick().await;
            peer.stream.write_all(&[byte]).await.unwrap();
        }
    };
    let opened = soon(async {
        tokio::select! {
            opened = here.open(&endpoint) => opened,
            () = trickle => panic!("the client waited for all of it"),
        }
    });
    let err = opened.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
    assert!(err.to_string().contains("finish the handshake"), "{err}");
}

#[tokio::test]
async fn a_dropped_attempt_hangs_up() {
    let (listener, endpoint) = listen().await;
    let attempt = tokio::spawn(async move { NativeTransport.open(&endpoint).await.is_ok() });
    let mut peer = Peer::accept(&listener).await;
    peer.header().await;
    attempt.abort();
    assert_eq!(peer.stream.read_buf(&mut peer.input).await.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_said_to() {
    let not_amqp = |err: &Error| assert!(err.to_string().contains("not AMQP 0-9-1"), "{err}");
    not_amqp(&answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
    not_amqp(&answer(&[0xff; 12]).await);
    // Whole frames: a method that does not exist, a broken end.
    not_amqp(&answer(b"\x01\0\0\0\0\0\x04\0\x63\0\x63\xce").await);
    not_amqp(&answer(b"\x08\0\0\0\0\0\0\xcd").await);
    // The answer of a broker that speaks another version.
    not_amqp(&answer(b"AMQP\x00\x01\x00\x00").await);
    // Frames out of place.
    answer(b"\x08\0\0\0\0\0\0\xce").await;
    answer(b"\x01\0\0\0\0\0\x05\0\x0a\0\x29\0\xce").await;
    let err = answer(b"").await;
    assert!(err.to_string().contains("hung up"), "{err}");
}

#[tokio::test]
async fn a_frame_of_four_gigabytes_is_refused_by_its_head() {
    let err = answer(b"\x01\0\0\xff\xff\xff\xff").await;
    assert!(format!("{err:?}").contains("4294967295"), "{err:?}");

    let (mut opened, mut peer) = connect().await;
    peer.write(b"\x01\0\0\xff\xff\xff\xff").await;
    let reason = lost(&mut opened.events).await;
    let source = reason.source().unwrap().to_string();
    assert!(source.contains("limit of 131072 bytes"), "{source}");
    // The broker learns of it.
    match peer.expect("connection.close").await {
        Method::ConnectionClose(close) => assert_eq!(close.reply_code, 501),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn frames_before_the_login_may_be_as_large_as_rabbitmqs() {
    let (listener, endpoint) = listen().await;
    let with = |size: usize| {
        let padding = Bytes::from(vec![0; size]);
        let mut output = Output::new();
        let Method::ConnectionStart(mut start) = start() else {
            panic!("{:?}", start());
        };
        start.server_properties = FieldTable::new().with("padding", padding).unwrap();
        output.method(0, &start.into());
        output.to_bytes()
    };
    for (size, is_taken) in [(8000, true), (9000, false)] {
        let peer = async {
            let mut peer = Peer::accept(&listener).await;
            peer.header().await;
            peer.write(&with(size)).await;
            if is_taken {
                peer.expect("connection.start-ok").await;
            }
        };
        let (opened, ()) =
            soon(async { tokio::join!(NativeTransport.open(&endpoint), peer) }).await;
        let said = opened.unwrap_err().to_string();
        assert_eq!(said.contains("hung up"), is_taken, "{said}");
    }
}

#[tokio::test]
async fn a_refused_login_is_known_at_once() {
    let (listener, mut endpoint) = listen().await;
    endpoint.connection_name = Some("billing".try_into().unwrap());
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        let login = peer.start().await;
        assert_eq!(login.mechanism, "PLAIN");
        assert_eq!(login.response, "\0guest\0hunter2");
        let properties = login.client_properties;
        assert_eq!(
            properties.get("connection_name"),
            Some(&FieldValue::from("billing"))
        );
        let Some(FieldValue::Table(capabilities)) = properties.get("capabilities") else {
            panic!("{properties:?}");
        };
        for capability in [
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "authentication_failure_close",
        ] {
            assert_eq!(capabilities.get(capability), Some(&true.into()));
        }
        let close = method::ConnectionClose {
            reply_code: 403,
            reply_text: "ACCESS_REFUSED - Login was refused using …".into(),
            class_id: 0,
            method_id: 0,
        };
        peer.say(0, close).await;
        peer.expect("connection.close-ok").await;
    };
    let (opened, ()) = soon(async { tokio::join!(NativeTransport.open(&endpoint), peer) }).await;
    let err = opened.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err:?}");
    assert!(err.to_string().contains(&endpoint.address()), "{err}");
    assert!(err.to_string().contains("Login was refused"), "{err}");
    assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
}

#[tokio::test]
async fn the_lower_limit_wins_and_none_is_none() {
    let (listener, mut endpoint) = listen().await;
    endpoint.heartbeat = Duration::from_secs(6);
    for (tune, expected) in [
        (limits(2047, FRAME_MAX, 60), (2047, FRAME_MAX, 6)),
        (limits(10, 4096, 2), (10, 4096, 2)),
        (limits(0, 0, 0), (u16::MAX, 1 << 20, 6)),
        (limits(1, u32::MAX, 1), (1, 1 << 20, 1)),
    ] {
        let (opened, mut peer, tuned) = tuned(&endpoint, &listener, tune).await;
        assert_eq!(
            (tuned.channel_max, tuned.frame_max, tuned.heartbeat),
            expected
        );
        assert_eq!(opened.connection.frame_max(), tuned.frame_max);
        assert!(opened.connection.announces_blocked());
        let close = async {
            peer.expect("connection.close").await;
            peer.say(0, method::ConnectionCloseOk {}).await;
        };
        let (closed, ()) = soon(async { tokio::join!(opened.connection.close(), close) }).await;
        closed.unwrap();
    }
}

#[tokio::test]
async fn a_limit_of_frames_under_amqps_is_refused() {
    let (listener, endpoint) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        peer.start().await;
        peer.say(0, limits(0, 4095, 0)).await;
    };
    let (opened, ()) = soon(async { tokio::join!(NativeTransport.open(&endpoint), peer) }).await;
    let err = opened.unwrap_err();
    check(&err, &endpoint);
    assert!(err.to_string().contains("4095 bytes"), "{err}");
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up_after_two_heartbeats() {
    let (listener, endpoint) = listen().await;
    let (mut opened, mut peer, _) = tuned(&endpoint, &listener, limits(0, 0, 2)).await;
    // From here on, time passes where nothing else happens.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let reason = lost(&mut opened.events).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{reason}");
    assert!(reason.to_string().contains("nothing came"), "{reason}");
    assert!(reason.to_string().contains(&endpoint.address()), "{reason}");
    let read = peer.stream.read_buf(&mut peer.input).await.unwrap();
    assert!(peer.input[..read].starts_with(b"\x08\0\0\0\0\0\0\xce"));
}

#[tokio::test]
async fn a_peer_that_hangs_up_ends_every_wait() {
    let (opened, channel, mut events, peer) = consuming().await;
    let mut purge = channel.purge_queue("q".try_into().unwrap());
    let hang_up = async { drop(peer) };
    let (purged, ()) = soon(async { tokio::join!(&mut purge, hang_up) }).await;
    assert_eq!(purged.unwrap_err().kind(), ErrorKind::ConnectionLost);
    let event = soon(events.next()).await.unwrap();
    assert!(matches!(event, ChannelEvent::Closed(_)), "{event:?}");
    assert!(opened.connection.closed().is_some());
}

#[tokio::test]
async fn a_peer_that_never_answers_a_close_is_left_after_the_last_handle() {
    let (opened, mut peer) = connect().await;
    let OpenedConnection {
        connection,
        mut events,
    } = opened;
    drop(connection);
    peer.expect("connection.close").await;
    tokio::time::pause();
    lost(&mut events).await;
    assert_eq!(
        soon(peer.stream.read_buf(&mut peer.input)).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn tables_nested_deep_cost_a_header_and_nothing_else() {
    let (opened, _channel, mut events, mut peer) = consuming().await;
    // 10,000 tables in one another, with names of one letter: as deep as a frame allows.
    let mut value = b"V".to_vec();
    let mut parts = Vec::new();
    let mut length = 1;
    for _ in 0..10_000 {
        length += 2;
        parts.push(length);
        length += 5;
    }
    let mut nested = Vec::new();
    for length in parts.iter().rev() {
        nested.push(b'F');
        nested.extend(u32::try_from(*length).unwrap().to_be_bytes());
        nested.extend(b"\x01k");
    }
    nested.append(&mut value);
    let mut entries = b"\x04deep".to_vec();
    entries.extend(nested);
    entries.extend(b"\x04nextt\x01");
    let mut header = b"\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0".to_vec();
    header.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
    header.extend(entries);
    let whole = delivery(1, &Properties::default());
    // The method, and then a header of our own for an empty body.
    let method = whole.iter().position(|byte| *byte == 0xce).unwrap() + 1;
    let mut bytes = whole[..method].to_vec();
    bytes.extend(b"\x02\0\x01");
    bytes.extend(u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes.extend(header);
    bytes.push(0xce);
    peer.write(&bytes).await;
    match soon(events.next()).await {
        Some(ChannelEvent::Deliver(delivery)) => {
            let headers = &delivery.message.properties.headers;
            assert_eq!(headers.too_deep().unwrap(), "deep");
            assert_eq!(headers.get("next"), Some(&true.into()));
        }
        other => panic!("expected a delivery, got {other:?}"),
    }
    assert!(opened.connection.closed().is_none());
}

#[tokio::test]
async fn a_message_that_is_not_utf8_costs_its_consumer_only() {
    let (opened, channel, mut events, mut peer) = consuming().await;
    let mut bytes = delivery(1, &Properties::default());
    let at = bytes.windows(3).position(|w| w == b"KEY").unwrap();
    bytes[at] = 0xff;
    peer.write(&bytes).await;
    peer.write(&delivery(2, &Properties::default())).await;
    let event = soon(events.next()).await.unwrap();
    assert!(
        matches!(&event, ChannelEvent::ConsumerCancelled(tag) if *tag == "t"),
        "{event:?}"
    );
    peer.expect("basic.cancel").await;
    for tag in [1, 2] {
        match peer.expect("basic.nack").await {
            Method::BasicNack(nack) => {
                assert_eq!((nack.delivery_tag, nack.requeue), (tag, true));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(channel.closed().is_none());
    assert!(opened.connection.closed().is_none());
    let queue: QueueName = "q".try_into().unwrap();
    let broker = async {
        peer.expect("queue.purge").await;
        peer.say(1, method::QueuePurgeOk { message_count: 3 }).await;
    };
    let purged: (Result<u32>, ()) =
        soon(async { tokio::join!(channel.purge_queue(queue), broker) }).await;
    assert_eq!(purged.0.unwrap(), 3);
}

#[tokio::test]
async fn closes_from_both_sides_cost_one_channel_only() {
    let (opened, channel, mut events, mut peer) = consuming().await;
    let close = method::ChannelClose {
        reply_code: 404,
        reply_text: "NOT_FOUND - no exchange 'x' in vhost '/'".into(),
        class_id: 60,
        method_id: 40,
    };
    let broker = async {
        peer.expect("channel.close").await;
        peer.say(1, close).await;
        peer.expect("channel.close-ok").await;
        peer.say(1, method::ChannelCloseOk {}).await;
        peer.expect("channel.open").await;
        peer.say(2, method::ChannelOpenOk {}).await;
    };
    let client = async {
        channel.close().await.unwrap();
        opened.connection.open_channel().await.unwrap()
    };
    let (_next, ()) = soon(async { tokio::join!(client, broker) }).await;
    let event = soon(events.next()).await.unwrap();
    assert!(matches!(event, ChannelEvent::Closed(_)), "{event:?}");
    assert!(opened.connection.closed().is_none());
}
