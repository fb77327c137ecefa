//! Connections with a peer that plays RabbitMQ, up to the point where it does what RabbitMQ would
//! not, or not when a test asks for it. No broker is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test, the functions beside it too"
)]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ConnectionEvent, Endpoint, Error, ErrorKind, ExchangeName, Handoff, Message, OpenedConnection,
    Properties, Publish, Result, RoutingKey, Transport, TransportChannel,
};
use mooq_rabbit::{OnRuntime, RabbitTransport};
use mooq_rig::peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};

/// Class and method.
type Method = (u16, u16);

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const QOS_OK: Method = (60, 11);

/// RabbitMQ's limit for the size of a frame, in bytes.
const FRAME_MAX: u32 = 131_072;

/// Waits for `future`, but not for ever.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(180), future)
        .await
        .expect("it takes too long")
}

/// Waits until there are `count` tasks.
async fn until_tasks(count: usize) {
    let metrics = Handle::current().metrics();
    soon(async {
        while metrics.num_alive_tasks() != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

struct Listener {
    listener: TcpListener,
    endpoint: Endpoint,
}

impl Listener {
    async fn new() -> Self {
        let (listener, mut endpoint) = peer::listen().await;
        endpoint.heartbeat = Duration::from_secs(2);
        Self { listener, endpoint }
    }

    async fn accept(&self) -> Broker {
        Broker(peer::accept(&self.listener).await)
    }

    /// The same, and `attempt` gets no further than that.
    async fn accept_from<F: Future<Output: Debug> + Unpin>(&self, attempt: &mut F) -> Broker {
        soon(async {
            tokio::select! {
                broker = self.accept() => broker,
                opened = attempt => panic!("{opened:?}"),
            }
        })
        .await
    }

    /// Outcome of opening a connection with a broker that wants `frame_max`, and the broker.
    async fn open(&self, frame_max: u32) -> (Result<OpenedConnection>, Broker) {
        let broker = async {
            let mut broker = self.accept().await;
            broker.log_in(frame_max).await;
            broker
        };
        let transport = OnRuntime(Handle::current());
        soon(async { tokio::join!(transport.open(&self.endpoint), broker) }).await
    }

    async fn connect(&self) -> (OpenedConnection, Broker) {
        let (opened, broker) = self.open(FRAME_MAX).await;
        (opened.unwrap(), broker)
    }
}

/// The next event, which has to be the last.
async fn closed(events: &mut Receiver<ConnectionEvent>) -> Error {
    match soon(events.next()).await {
        Some(ConnectionEvent::Closed(reason)) => reason,
        other => panic!("expected Closed, got {other:?}"),
    }
}

/// The broker's end of a connection.
struct Broker(TcpStream);

impl Broker {
    async fn send(&mut self, channel: u16, (class, method): Method, arguments: &[u8]) {
        let size = u32::try_from(4 + arguments.len()).unwrap();
        let mut frame = vec![1];
        frame.extend(channel.to_be_bytes());
        frame.extend(size.to_be_bytes());
        frame.extend(class.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xce);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Waits for a method on any channel, and gives its arguments. Heartbeats pass.
    async fn expect(&mut self, expected: Method) -> Vec<u8> {
        loop {
            let kind = self.0.read_u8().await.unwrap();
            let _channel = self.0.read_u16().await.unwrap();
            let size = self.0.read_u32().await.unwrap();
            let mut payload = vec![0; size as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            assert_eq!(self.0.read_u8().await.unwrap(), 0xce);
            if kind == 8 {
                continue;
            }
            let mut payload = &payload[..];
            let class = payload.read_u16().await.unwrap();
            let method = payload.read_u16().await.unwrap();
            assert_eq!((class, method), expected);
            return payload.to_vec();
        }
    }

    /// Up to the client's login, which this gives.
    async fn start(&mut self) -> Vec<u8> {
        self.0.read_exact(&mut [0; 8]).await.unwrap();
        let start = b"\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US";
        self.send(0, START, start).await;
        self.expect(START_OK).await
    }

    async fn log_in(&mut self, frame_max: u32) {
        self.start().await;
        self.tune(frame_max).await;
        self.opened().await;
    }

    async fn tune(&mut self, frame_max: u32) {
        let mut tune = 2047_u16.to_be_bytes().to_vec();
        tune.extend(frame_max.to_be_bytes());
        tune.extend(60_u16.to_be_bytes());
        self.send(0, TUNE, &tune).await;
    }

    async fn opened(&mut self) {
        self.expect(TUNE_OK).await;
        self.expect(OPEN).await;
        self.send(0, OPEN_OK, b"\0").await;
    }
}

/// As RabbitMQ is for 3 seconds, to a client that does not announce that it would understand more.
#[tokio::test]
async fn a_broker_that_is_silent_about_a_login_is_asked_again() {
    let mut listener = Listener::new().await;
    listener.endpoint.connect_timeout = Duration::from_secs(20);
    let refuse = async {
        let mut silent = listener.accept().await;
        let login = silent.start().await;
        assert!(!contains(&login, b"authentication_failure_close"));
        let mut asked = Broker(listener.listener.accept().await.unwrap().0);
        let login = asked.start().await;
        assert!(contains(&login, b"\x1cauthentication_failure_closet\x01"));
        assert!(contains(&login, b"\0guest\0guest"));
        asked
            .send(0, CLOSE, b"\x01\x93\x0dREFUSED - you\0\x0a\0\x0b")
            .await;
        asked.expect(CLOSE_OK).await;
        silent
    };
    let opened = async { RabbitTransport.open(&listener.endpoint).await };
    let (opened, _silent) = soon(async { tokio::join!(opened, refuse) }).await;
    let err = opened.unwrap_err();
    let reason = err.reason().expect("the broker's words");
    assert_eq!((reason.code, &*reason.text), (403, "REFUSED - you"));
    assert_eq!((reason.class_id, reason.method_id), (10, 11));
    assert!(
        err.to_string().contains(&listener.endpoint.address()),
        "{err}"
    );
}

/// As RabbitMQ does on a busy machine: its delay is over before it has got to the second login.
#[tokio::test]
async fn a_broker_that_hangs_up_before_it_has_said_why_is_waited_for() {
    let mut listener = Listener::new().await;
    listener.endpoint.connect_timeout = Duration::from_secs(60);
    let refuse = async {
        let mut silent = listener.accept().await;
        silent.start().await;
        let mut asked = Broker(listener.listener.accept().await.unwrap().0);
        asked.start().await;
        // RabbitMQ's delay, the rest of it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        silent.0.shutdown().await.unwrap();
        assert_eq!(silent.0.read(&mut [0]).await.unwrap(), 0);
        asked
            .send(0, CLOSE, b"\x01\x93\x0dREFUSED - you\0\x0a\0\x0b")
            .await;
        asked.expect(CLOSE_OK).await;
    };
    let opened = async { RabbitTransport.open(&listener.endpoint).await };
    let (opened, ()) = soon(async { tokio::join!(opened, refuse) }).await;
    let err = opened.unwrap_err();
    let reason = err.reason().expect("the broker's words");
    assert_eq!((reason.code, &*reason.text), (403, "REFUSED - you"));
}

/// It may look a user up somewhere slow, and accepts the login in the end.
#[tokio::test]
async fn a_login_that_takes_its_time_is_waited_for() {
    let listener = Listener::new().await;
    let accept = async {
        let mut slow = listener.accept().await;
        slow.start().await;
        let mut asked = Broker(listener.listener.accept().await.unwrap().0);
        asked.start().await;
        asked.tune(FRAME_MAX).await;
        // It is left at that.
        assert_eq!(asked.0.read(&mut [0]).await.unwrap(), 0);
        slow.tune(FRAME_MAX).await;
        slow.opened().await;
        slow
    };
    let opened = async { RabbitTransport.open(&listener.endpoint).await };
    let (opened, _slow) = soon(async { tokio::join!(opened, accept) }).await;
    opened.unwrap();
}

/// amqprs takes the heartbeat for an answer to `connection.open`, and gives the login up.
#[tokio::test]
async fn a_broker_whose_heartbeat_overtakes_its_answer_is_logged_in_to_again() {
    let listener = Listener::new().await;
    let accept = async {
        let mut slow = listener.accept().await;
        slow.start().await;
        slow.tune(FRAME_MAX).await;
        slow.expect(TUNE_OK).await;
        slow.expect(OPEN).await;
        slow.0.write_all(b"\x08\0\0\0\0\0\0\xce").await.unwrap();
        let mut again = listener.accept().await;
        again.log_in(FRAME_MAX).await;
        again
    };
    let transport = OnRuntime(Handle::current());
    let opened = transport.open(&listener.endpoint);
    let (opened, _broker) = soon(async { tokio::join!(opened, accept) }).await;
    opened.unwrap();
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// amqprs' connection, which is open already, spawns a task as it is dropped.
#[test]
fn an_attempt_may_be_dropped_outside_of_a_runtime() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(Listener::new());
    let transport = OnRuntime(runtime.handle().clone());
    let mut attempt = transport.open(&listener.endpoint);
    let mut broker = runtime.block_on(async {
        let mut broker = listener.accept_from(&mut attempt).await;
        soon(broker.log_in(FRAME_MAX)).await;
        // The tasks that open the connection have ended once amqprs' reader and writer are there, and
        // the one that ends channels.
        until_tasks(3).await;
        broker
    });
    drop(attempt);
    runtime.block_on(soon(broker.expect(CLOSE)));
}

#[test]
fn a_runtime_that_ends_during_an_attempt_is_not_the_brokers_fault() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let listener = first.block_on(Listener::new());
    let transport = OnRuntime(first.handle().clone());
    let mut attempt = transport.open(&listener.endpoint);
    let _broker = first.block_on(listener.accept_from(&mut attempt));
    drop(first);
    let err = runtime().block_on(soon(attempt)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
    assert!(err.to_string().contains("the attempt broke down"), "{err}");
}

/// amqprs would take 8 from it, and panic over the first publish.
#[tokio::test]
async fn a_limit_of_frames_that_amqprs_cannot_keep_is_refused() {
    for (frame_max, said) in [(0, "frame_max is 0"), (7, "7 bytes"), (4095, "4095 bytes")] {
        let listener = Listener::new().await;
        let (opened, mut broker) = listener.open(frame_max).await;
        let err = opened.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
        assert!(err.to_string().contains(said), "{err}");
        assert!(
            err.to_string().contains(&listener.endpoint.address()),
            "{err}"
        );
        soon(broker.expect(CLOSE)).await;
    }
    let listener = Listener::new().await;
    let (opened, _broker) = listener.open(4096).await;
    opened.unwrap();
}

/// The writer lives on, sends heartbeats, and so the broker would keep all that is consumed from.
#[tokio::test]
async fn a_connection_is_closed_though_amqprs_reader_has_panicked() {
    let listener = Listener::new().await;
    let (opened, mut broker) = listener.connect().await;
    let OpenedConnection {
        connection,
        mut events,
    } = opened;
    // amqprs panics over a channel that it has not opened.
    broker.send(7, QOS_OK, b"").await;
    let reason = closed(&mut events).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{reason:?}");
    drop(connection);
    soon(broker.expect(CLOSE)).await;
    // Once it hangs up, as RabbitMQ does, nothing is left.
    drop(broker);
    until_tasks(0).await;
}

/// Publishes so much that amqprs' writer is stuck in the socket and its queue has hardly any room,
/// and no more will leave it than a few large messages.
async fn fill(channel: &dyn TransportChannel) {
    let publish = |bytes| {
        let publish = Publish::new(Message {
            exchange: ExchangeName::default(),
            routing_key: RoutingKey::default(),
            properties: Arc::new(Properties::default()),
            body: vec![0; bytes].into(),
        });
        channel.publish(publish).unwrap()
    };
    for _ in 0..32 {
        drop(publish(1 << 20));
    }
    // As many as amqprs' own queue takes, and then the channel's until it is full.
    for _ in 0..8192 + 4096 {
        drop(publish(1));
    }
    match publish(1) {
        Handoff::Full(room) => soon(room).await,
        Handoff::Done => panic!("it takes more and more"),
    }
}

#[tokio::test]
async fn an_opening_that_waits_for_a_stuck_writer_does_not_keep_the_connection() {
    let listener = Listener::new().await;
    let (opened, mut broker) = listener.connect().await;
    let OpenedConnection { connection, events } = opened;
    let channel = soon(async {
        let answer = async {
            broker.expect(CHANNEL_OPEN).await;
            broker.send(1, CHANNEL_OPEN_OK, &[0; 4]).await;
        };
        tokio::join!(connection.open_channel(), answer).0.unwrap()
    })
    .await;
    // From here on the broker neither reads nor writes.
    fill(&*channel.channel).await;
    // More than find room.
    let openings = join_all((0..500).map(|_| connection.open_channel()));
    for opening in soon(openings).await {
        let err = opening.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err:?}");
    }
    drop((channel, connection, events));
    // amqprs' writer.
    until_tasks(1).await;
}

/// A table with one entry, in which this many tables nest, as it is on the wire.
fn nested_tables(levels: usize) -> Vec<u8> {
    let mut table = Vec::with_capacity(6 * levels + 6);
    let length = |left: usize| u32::try_from(6 * left).unwrap().to_be_bytes();
    table.extend(length(levels));
    for left in (0..levels).rev() {
        // Without a name, a table.
        table.extend(b"\0F");
        table.extend(length(left));
    }
    table
}

/// The threads that amqprs runs on have the stack for it, though nothing bounds a frame at login. On
/// one of the default size the process would abort.
#[tokio::test]
async fn a_broker_whose_properties_nest_deep_is_read() {
    for levels in [5_000, 21_000, 50_000] {
        let listener = Listener::new().await;
        let refuse = async {
            let mut broker = listener.accept().await;
            broker.0.read_exact(&mut [0; 8]).await.unwrap();
            let mut start = b"\0\x09".to_vec();
            start.extend(nested_tables(levels));
            start.extend(b"\0\0\0\x05PLAIN\0\0\0\x05en_US");
            broker.send(0, START, &start).await;
            broker.expect(START_OK).await;
            broker.tune(FRAME_MAX).await;
            broker.opened().await;
            broker
        };
        let opened = async { RabbitTransport.open(&listener.endpoint).await };
        let (opened, _broker) = soon(async { tokio::join!(opened, refuse) }).await;
        opened.unwrap();
    }
}
