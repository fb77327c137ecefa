//! A client's side of a connection, which the broker keeps for listings.

use std::net::SocketAddr;
use std::time::Duration;

use mooq_core::FieldTable;

use super::command::Mechanism;

/// Details of a client that do not change what the broker does.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ClientDetails {
    /// The client's description of itself, from `connection.start-ok`.
    pub properties: FieldTable,
    /// The mechanism that the client logged in by.
    pub mechanism: Mechanism,
    /// The largest frame that client and broker agreed on, in bytes; 0 for no limit.
    pub frame_max: u32,
    /// The interval of heartbeats that client and broker agreed on. None for no heartbeats.
    pub heartbeat: Option<Duration>,
    /// Both ends of the client's socket. None for a client in this process.
    pub socket: Option<ClientSocket>,
    /// True for a part of the broker that acts as a client, as RabbitMQ's management plugin does:
    /// neither an alarm nor a frozen link holds it up.
    pub internal: bool,
}

/// Both ends of a client's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSocket {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client has connected to.
    pub local: SocketAddr,
    /// True if the client speaks TLS.
    pub tls: bool,
}
