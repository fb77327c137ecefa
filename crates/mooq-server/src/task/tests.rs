//! A client that writes frames by hand, and the server's answers: codes and texts are those that
//! RabbitMQ 3.10.8, 4.0.5 and 4.3.6 gave to the same bytes.

// A failed expectation is meant to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod closing;
mod content;
mod handshake;
mod links;
mod refusals;

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
use crate::connection::{External, Settings};
use crate::serving::State;

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
            let socket = std::future::ready(Ok((server, External::Off)));
            serve(socket, &broker, settings, stopped).await
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

    /// Answers the server's close, and opens the channel again.
    async fn reopens(&mut self) {
        self.say(1, ChannelCloseOk {}).await;
        self.say(1, ChannelOpen {}).await;
        self.hears(1, ChannelOpenOk {}).await;
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
