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
        let found = match &self.broker {
            Some(broker) => Some(broker.clone()),
            None => InMemoryBroker::lookup(&endpoint.host, endpoint.port),
        };
        found
            .filter(InMemoryBroker::is_running)
            .ok_or_else(|| not_running(endpoint))
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        let broker = self.find(endpoint)?;
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
                Refused::ByBroker(why) => Error::connection_refused(&endpoint.address(), why),
            })?;
        Ok(OpenedConnection {
            events: opened.events,
            connection: MemoryConnection::new(broker.shared, opened.id, opened.closed),
        })
    }
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
