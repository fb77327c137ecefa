//! The transport: from an endpoint to a connection.

use async_trait::async_trait;
use mooq_core::{Endpoint, Error, ErrorKind, OpenedConnection, Result, Transport};

use super::InMemoryBroker;
use super::connection::MemoryConnection;
use super::shared::Refused;
use crate::engine::{Capabilities, Login};

/// Connects to in-memory brokers of this process.
#[derive(Debug, Clone, Default)]
pub struct MemoryTransport {
    /// The one broker it leads to; if there is none, an endpoint's host and port decide.
    broker: Option<InMemoryBroker>,
}

impl MemoryTransport {
    /// Connects to whichever broker runs under an endpoint's host and port.
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
        let broker = self.find(endpoint)?;
        reach(&broker, endpoint).await?;
        let login = Login {
            credentials: endpoint.credentials.clone(),
            vhost: Some(endpoint.vhost.clone()),
            connection_name: endpoint.connection_name.clone(),
            capabilities: Capabilities::default(),
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
            connection: MemoryConnection::new(broker.shared, opened.id, opened.closed),
        })
    }
}

/// Waits until the broker can be reached, as long as the client would.
async fn reach(broker: &InMemoryBroker, endpoint: &Endpoint) -> Result<()> {
    let name = endpoint.connection_name.as_deref();
    // Mostly there is nothing to wait for, and then no timer is needed either.
    if broker.shared.is_reached(name) {
        return Ok(());
    }
    let limit = endpoint.connect_timeout;
    let within_limit = tokio::time::timeout(limit, broker.shared.reached(name)).await;
    within_limit.map_err(|elapsed| {
        unreachable(endpoint, &format!("it did not answer within {limit:?}")).with_source(elapsed)
    })
}

fn unreachable(endpoint: &Endpoint, what: &str) -> Error {
    Error::connection(
        ErrorKind::BrokerConnectionError,
        format!("cannot connect to {}: {what}", endpoint.address()),
    )
}

fn not_running(endpoint: &Endpoint) -> Error {
    let (address, host, port) = (endpoint.address(), &endpoint.host, endpoint.port);
    Error::connection(
        ErrorKind::BrokerConnectionError,
        format!(
            "no in-memory broker runs at {address}: start one with \
             InMemoryBroker::new(\"{host}\", {port}).run(), and keep it for as long as it is used"
        ),
    )
}
