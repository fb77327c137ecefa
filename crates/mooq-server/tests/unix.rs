//! Clients that connect by a Unix socket.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::io::ErrorKind;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use mooq_core::FieldTable;
use mooq_memory::InMemoryBroker;
use mooq_server::Listen;
use mooq_wire::frame::{FrameDecoder, PROTOCOL_HEADER, Payload};
use mooq_wire::method::{ConnectionOpen, ConnectionStartOk, ConnectionTuneOk, Method};
use mooq_wire::{Limits, Output};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Client {
    socket: UnixStream,
    input: BytesMut,
}

impl Client {
    async fn connect(path: &Path) -> std::io::Result<Self> {
        let socket = UnixStream::connect(path).await?;
        let input = BytesMut::new();
        Ok(Self { socket, input })
    }

    async fn say(&mut self, method: impl Into<Method>) {
        let mut output = Output::new();
        output.method(0, &method.into());
        self.socket.write_all_buf(&mut output).await.unwrap();
    }

    /// The server's next method. `None` once it has hung up.
    async fn hear(&mut self) -> Option<Method> {
        let decoder = FrameDecoder::new(Limits::default());
        loop {
            if let Some(frame) = decoder.decode(&mut self.input).unwrap() {
                let Payload::Method(bytes) = frame.payload else {
                    panic!("{frame:?}");
                };
                return Some(Method::decode(bytes, decoder.limits()).unwrap());
            }
            if self.socket.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn log_in(&mut self) {
        self.socket.write_all(&PROTOCOL_HEADER).await.unwrap();
        let start = self.hear().await;
        assert!(
            matches!(start, Some(Method::ConnectionStart(_))),
            "{start:?}"
        );
        self.say(ConnectionStartOk {
            client_properties: FieldTable::new(),
            mechanism: "PLAIN".try_into().unwrap(),
            response: Bytes::from_static(b"\0guest\0guest"),
            locale: "en_US".try_into().unwrap(),
        })
        .await;
        let tune = self.hear().await;
        let Some(Method::ConnectionTune(tune)) = tune else {
            panic!("{tune:?}");
        };
        self.say(ConnectionTuneOk {
            channel_max: tune.channel_max,
            frame_max: tune.frame_max,
            heartbeat: 0,
        })
        .await;
        let virtual_host = "/".try_into().unwrap();
        self.say(ConnectionOpen { virtual_host }).await;
        let open = self.hear().await;
        assert!(
            matches!(open, Some(Method::ConnectionOpenOk(_))),
            "{open:?}"
        );
    }
}

#[tokio::test]
async fn client_logs_in_by_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.sock");
    let broker = InMemoryBroker::start();
    let server = broker.listen_unix(&path).await.unwrap();
    assert_eq!(server.path(), path);
    let mut client = Client::connect(&path).await.unwrap();
    client.log_in().await;
    assert_eq!(broker.connections("*").len(), 1);

    server.stop().await;
    assert!(client.hear().await.is_none());
    assert!(!path.exists());
    let gone = Client::connect(&path).await.err().unwrap();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn socket_of_a_server_that_was_killed_is_replaced_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let broker = InMemoryBroker::start();

    // A listener of the standard library leaves its file, as a process that is killed does.
    let stale = directory.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let server = broker.listen_unix(&stale).await.unwrap();
    Client::connect(&stale).await.unwrap().log_in().await;

    let taken = broker.listen_unix(&stale).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert!(taken.to_string().contains("stale.sock"), "{taken}");
    Client::connect(&stale).await.unwrap().log_in().await;
    drop(server);

    let file = directory.path().join("notes.txt");
    std::fs::write(&file, "mine").unwrap();
    let taken = broker.listen_unix(&file).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
