//! A transport that counts what passes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use metrics::gauge;
use mooq_core::{
    Endpoint, Error, OpenedChannel, OpenedConnection, Result, ShortString, Transport,
    TransportConnection,
};

use crate::channel;
use crate::names::CONNECTIONS;

/// A transport that counts what passes through another one: for a transport of your own, which the
/// connection is opened with.
#[derive(Debug)]
pub struct Metered(Arc<dyn Transport>);

impl Metered {
    /// Counts what passes through `transport`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self(transport)
    }
}

#[async_trait]
impl Transport for Metered {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        let OpenedConnection { connection, events } = self.0.open(endpoint).await?;
        gauge!(CONNECTIONS).increment(1);
        Ok(OpenedConnection {
            connection: Arc::new(Connection(connection)),
            events,
        })
    }
}

/// A connection that counts while it is kept.
struct Connection(Arc<dyn TransportConnection>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        gauge!(CONNECTIONS).decrement(1);
    }
}

#[async_trait]
impl TransportConnection for Connection {
    async fn open_channel(&self) -> Result<OpenedChannel> {
        self.0.open_channel().await.map(channel::metered)
    }

    fn closed(&self) -> Option<Error> {
        self.0.closed()
    }

    fn frame_max(&self) -> u32 {
        self.0.frame_max()
    }

    fn announces_blocked(&self) -> bool {
        self.0.announces_blocked()
    }

    async fn update_secret(&self, secret: &str, reason: &ShortString) -> Result<()> {
        self.0.update_secret(secret, reason).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
