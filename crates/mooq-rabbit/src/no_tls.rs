//! What stands for TLS where the feature `tls` is off: nothing of it can be.

use std::io;
use std::net::SocketAddr;

use amqprs::connection::OpenConnectionArguments;
use mooq_core::{Endpoint, ErrorKind};

use crate::unusable::Unusable;

/// There is none.
pub(crate) enum Tls {}

impl Tls {
    pub(crate) async fn of(_: &Endpoint) -> Result<Self, Unusable> {
        Err(Unusable::only(
            ErrorKind::UnsupportedScheme,
            "TLS needs the feature 'tls', which is not compiled in",
        ))
    }

    pub(crate) fn set(&self, _: &mut OpenConnectionArguments) {
        match *self {}
    }

    pub(crate) async fn refusal(&self, _: SocketAddr) -> Option<io::Error> {
        match *self {}
    }
}
