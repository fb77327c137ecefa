//! Listeners of peers that a test plays.

use std::net::SocketAddr;

use mooq_core::Endpoint;
use tokio::net::{TcpListener, TcpStream};

/// A listener on a free port, and an endpoint that leads to it.
pub async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    (listener, endpoint)
}

/// An endpoint that leads to an address.
#[must_use]
pub fn endpoint(address: SocketAddr) -> Endpoint {
    let mut endpoint = Endpoint::default();
    endpoint.host = address.ip().to_string();
    endpoint.port = address.port();
    endpoint
}

/// Accepts the connection that a client of mooq-rabbit talks over: the second one. The client uses
/// the first only to check that the port is open.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap();
    listener.accept().await.unwrap().0
}
