//! Stand-ins for TLS if the feature `tls` is off; none of them can be constructed.

use std::io;
use std::net::SocketAddr;

use amqprs::connection::OpenConnectionArguments;
use mooq_core::{Endpoint, ErrorKind};

use tokio::net::TcpStream;

use crate::invalid_endpoint::InvalidEndpoint;

/// TLS settings, which cannot exist without the feature.
pub(crate) enum Tls {}

impl Tls {
    pub(crate) async fn of(_: &Endpoint) -> Result<Self, InvalidEndpoint> {
        Err(InvalidEndpoint::only(
            ErrorKind::UnsupportedScheme,
            "TLS needs the feature 'tls', which is not compiled in",
        ))
    }

    pub(crate) fn set(&self, _: &mut OpenConnectionArguments) {
        match *self {}
    }

    pub(crate) async fn connect(&self, _: TcpStream) -> io::Result<TcpStream> {
        match *self {}
    }

    pub(crate) async fn refusal(&self, _: SocketAddr) -> Option<io::Error> {
        match *self {}
    }
}
