//! A transport with a provider of credentials before it.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_core::{
    AuthMechanism, Endpoint, Error, OpenedChannel, OpenedConnection, Result, ShortString,
    Transport, TransportConnection,
};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::provider::Provider;
use crate::renewal::Renewal;

/// Returns a transport that asks the provider, if there is one, before it opens a connection over
/// `transport`, and again before the credentials expire.
#[must_use]
pub fn over(transport: Arc<dyn Transport>, provider: Option<&Provider>) -> Arc<dyn Transport> {
    match provider.cloned() {
        Some(provider) => Arc::new(WithCredentials {
            transport,
            provider,
        }),
        None => transport,
    }
}

/// Asks a provider for the credentials of each connection that it opens.
#[derive(Debug)]
struct WithCredentials {
    transport: Arc<dyn Transport>,
    provider: Provider,
}

#[async_trait]
impl Transport for WithCredentials {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        // A login by certificate has no use for them.
        if endpoint.auth_mechanism != AuthMechanism::Plain {
            return self.transport.open(endpoint).await;
        }
        let began = Instant::now();
        let credentials = self.provider.ask(endpoint).await?;
        let asked = Instant::now();
        let lifetime = credentials.lifetime;
        let mut login = endpoint.clone();
        login.credentials = credentials;
        login.connect_timeout = endpoint.connect_timeout.saturating_sub(asked - began);
        let OpenedConnection { connection, events } = self.transport.open(&login).await?;
        let Some(lifetime) = lifetime else {
            return Ok(OpenedConnection { connection, events });
        };
        let renewal = Renewal {
            provider: self.provider.clone(),
            endpoint: endpoint.clone(),
            connection: Arc::downgrade(&connection),
            events: events.sender(),
        };
        let renewal = tokio::spawn(renewal.run(asked, lifetime)).abort_handle();
        Ok(OpenedConnection {
            connection: Arc::new(Renewed {
                connection,
                renewal,
            }),
            events,
        })
    }
}

/// A connection whose credentials are renewed for as long as it is held.
#[derive(Debug)]
struct Renewed {
    connection: Arc<dyn TransportConnection>,
    renewal: AbortHandle,
}

impl Drop for Renewed {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

#[async_trait]
impl TransportConnection for Renewed {
    async fn open_channel(&self) -> Result<OpenedChannel> {
        self.connection.open_channel().await
    }

    fn closed(&self) -> Option<Error> {
        self.connection.closed()
    }

    fn frame_max(&self) -> u32 {
        self.connection.frame_max()
    }

    fn announces_blocked(&self) -> bool {
        self.connection.announces_blocked()
    }

    async fn update_secret(&self, secret: &str, reason: &ShortString) -> Result<()> {
        self.connection.update_secret(secret, reason).await
    }

    async fn close(&self) -> Result<()> {
        self.renewal.abort();
        self.connection.close().await
    }
}
