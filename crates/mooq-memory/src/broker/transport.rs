//! The memory transport, which opens a connection for an endpoint.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use mooq_core::{AuthMechanism, Endpoint, Error, ErrorKind, OpenedConnection, Result, Transport};

use super::InMemoryBroker;
use super::connection::MemoryConnection;
use super::shared::Refused;
use mooq_engine::{Capabilities, ClientDetails, Login};

/// Connects to in-memory brokers of this process.
#[derive(Debug, Clone, Default)]
pub struct MemoryTransport {
    /// The one broker that the transport connects to; if there is none, an endpoint's host and port
    /// decide.
    broker: Option<InMemoryBroker>,
}

impl MemoryTransport {
    /// Connects to the broker that runs at an endpoint's host and port.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn to(broker: InMemoryBroker) -> Self {
        Self {
            broker: Some(broker),
        }
    }

    fn find(&self, endpoint: &Endpoint) -> Result<InMemoryBroker> {
        match &self.broker {
            Some(broker) => Some(broker.clone()),
            None => InMemoryBroker::lookup(&endpoint.host, endpoint.port),
        }
        .ok_or_else(|| not_running(endpoint))
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        if endpoint.auth_mechanism == AuthMechanism::External {
            return Err(no_certificate(endpoint));
        }
        let broker = self.find(endpoint)?;
        reach(&broker, endpoint).await?;
        let capabilities = Capabilities {
            connection_blocked: broker.shared.announces_blocked.load(Ordering::Relaxed),
            ..Capabilities::default()
        };
        let login = Login {
            credentials: endpoint.credentials.clone(),
            vhost: Some(endpoint.vhost.clone()),
            connection_name: endpoint.connection_name.clone(),
            capabilities,
            channel_max: None,
            client: ClientDetails::default(),
        };
        let opened = broker
            .shared
            .open_connection(login)
            .map_err(|refused| match refused {
                Refused::NotRunning => not_running(endpoint),
                Refused::ByFault => unreachable(endpoint, "a fault refuses connections"),
                Refused::ByBroker(why) => Error::connection_refused(&endpoint.address(), why),
            })?;
        Ok(OpenedConnection {
            events: opened.events,
            connection: MemoryConnection::new(
                broker.shared,
                opened.id,
                opened.closed,
                capabilities.connection_blocked,
            ),
        })
    }
}

/// Waits until the broker can be reached, up to the client's connect timeout.
async fn reach(broker: &InMemoryBroker, endpoint: &Endpoint) -> Result<()> {
    let name = endpoint.connection_name.as_deref();
    // In most cases there is no delay, and then no timer is needed either.
    if broker.shared.is_reached(name) {
        return Ok(());
    }
    let limit = endpoint.connect_timeout;
    let within_limit = tokio::time::timeout(limit, broker.shared.reached(name)).await;
    within_limit.map_err(|elapsed| {
        Error::connection_timed_out(&endpoint.address(), "answer", limit).with_source(elapsed)
    })
}

fn unreachable(endpoint: &Endpoint, what: &str) -> Error {
    Error::connection(
        ErrorKind::ConnectFailed,
        format!("cannot connect to {}: {what}", endpoint.address()),
    )
}

fn no_certificate(endpoint: &Endpoint) -> Error {
    let what = format!(
        "cannot connect to {endpoint}: a login by certificate (EXTERNAL) takes TLS, which a \
         connection in memory does not have: serve the broker by mooq-server's listen_tls, and \
         connect by amqps"
    );
    Error::connection(ErrorKind::InvalidArgument, what)
}

fn not_running(endpoint: &Endpoint) -> Error {
    let (address, host, port) = (endpoint.address(), &endpoint.host, endpoint.port);
    Error::connection(
        ErrorKind::ConnectFailed,
        format!(
            "no in-memory broker runs at {address}: start one with \
             InMemoryBroker::new(\"{host}\", {port}).run(), and keep it for as long as it is used"
        ),
    )
}
