//! Errors of opening a connection to peers that are not RabbitMQ. No broker is needed.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

use std::time::Duration;

use mooq_core::{Endpoint, Error, ErrorKind, ErrorScope, Transport};
use mooq_rabbit::RabbitTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use mooq_rig::peer::{self, accept};

const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

async fn open(endpoint: &Endpoint) -> Error {
    RabbitTransport.open(endpoint).await.unwrap_err()
}

/// A listener, and an endpoint that leads to it.
async fn peer() -> (TcpListener, Endpoint) {
    let (listener, endpoint) = peer::listen().await;
    (listener, with_secret(endpoint))
}

/// Returns the endpoint with a password that no error may show.
fn with_secret(mut endpoint: Endpoint) -> Endpoint {
    endpoint.credentials.password = "hunter2".into();
    endpoint
}

fn check(err: &Error, endpoint: &Endpoint) {
    assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert!(err.to_string().contains(&endpoint.address()), "{err}");
    assert!(std::error::Error::source(err).is_some(), "{err:?}");
    assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
}

/// Returns the error about a peer that answers the protocol header with `answer` and hangs up.
async fn answer(answer: &'static [u8]) -> Error {
    let (listener, endpoint) = peer().await;
    let peer = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let mut header = [0; 8];
        stream.read_exact(&mut header).await.unwrap();
        assert_eq!(header, PROTOCOL_HEADER);
        stream.write_all(answer).await.unwrap();
    });
    let err = open(&endpoint).await;
    peer.await.unwrap();
    check(&err, &endpoint);
    err
}

#[tokio::test]
async fn a_refused_port_is_told_from_other_failures() {
    // Bound, so that nobody else listens there meanwhile.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = with_secret(peer::endpoint(nobody.local_addr().unwrap()));
    let err = open(&endpoint).await;
    check(&err, &endpoint);
    assert!(err.to_string().contains("refused"), "{err}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_from_other_failures() {
    let mut endpoint = Endpoint::default();
    // Too long for a label: known to be wrong without asking any server.
    endpoint.host = "x".repeat(64);
    let err = open(&endpoint).await;
    check(&err, &endpoint);
    assert!(err.to_string().contains("does not resolve"), "{err}");
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_is_an_error_at_once() {
    let mut endpoint = Endpoint::default();
    // Nothing can connect to the broadcast address, and the kernel knows.
    endpoint.host = "255.255.255.255".into();
    check(&open(&endpoint).await, &endpoint);
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let (_listener, mut endpoint) = peer().await;
    endpoint.connect_timeout = Duration::from_millis(100);
    let err = open(&endpoint).await;
    check(&err, &endpoint);
    assert!(err.to_string().contains("within 100ms"), "{err}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_at_once_is_no_refused_login() {
    let err = answer(b"").await;
    assert!(err.to_string().contains("hung up"), "{err}");
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_an_error() {
    answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    answer(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").await;
    // Whole frames: a method that does not exist, a heartbeat out of place, a broken end.
    answer(b"\x01\0\0\0\0\0\x04\0\x63\0\x63\xce").await;
    answer(b"\x08\0\0\0\0\0\0\xce").await;
    answer(b"\x08\0\0\0\0\0\0\xcd").await;
    // The answer of a broker that speaks another version.
    answer(b"AMQP\x00\x01\x00\x00").await;
}

#[tokio::test]
async fn a_dropped_attempt_hangs_up() {
    let (listener, endpoint) = peer().await;
    let attempt = tokio::spawn(async move { RabbitTransport.open(&endpoint).await.is_ok() });
    let mut stream = accept(&listener).await;
    let mut header = [0; 8];
    stream.read_exact(&mut header).await.unwrap();
    attempt.abort();
    assert_eq!(stream.read(&mut header).await.unwrap(), 0);
}

#[tokio::test]
async fn options_that_amqprs_cannot_handle_are_refused_before_anything_is_sent() {
    let refused = |change: fn(&mut Endpoint)| async move {
        let mut endpoint = Endpoint::default();
        change(&mut endpoint);
        let err = open(&endpoint).await;
        assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err:?}");
        assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
    };
    refused(|endpoint| endpoint.heartbeat = Duration::from_secs(1)).await;
    refused(|endpoint| endpoint.heartbeat = Duration::ZERO).await;
    refused(|endpoint| endpoint.heartbeat = Duration::from_secs(70_000)).await;
    refused(|endpoint| endpoint.credentials.password = "hunter2\0".into()).await;
}

#[tokio::test]
async fn other_schemes_are_refused() {
    let url = "memory://localhost";
    let err = open(&url.parse().unwrap()).await;
    assert_eq!(err.kind(), ErrorKind::UnsupportedScheme, "{err:?}");
    assert!(err.to_string().contains(url), "{err}");
}
