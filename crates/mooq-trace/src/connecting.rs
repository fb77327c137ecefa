//! Spans for connecting and recovery.

use std::sync::Arc;

use async_trait::async_trait;
use mooq_client::{Connection, Event};
use mooq_core::{Endpoint, OpenedConnection, Result, Transport};
use tracing::Instrument;
use tracing::field::Empty;

use crate::failure::record_error;

/// A transport with a span for each connection that it opens, also when a lost one is opened again.
#[derive(Debug)]
pub struct Traced(Arc<dyn Transport>);

impl Traced {
    /// Traces the connections that `transport` opens.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self(transport)
    }
}

#[async_trait]
impl Transport for Traced {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        let span = tracing::info_span!(
            "connect",
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_description = Empty,
            messaging.system = "rabbitmq",
            server.address = endpoint.host,
            server.port = i64::from(endpoint.port),
            error.type = Empty,
        );
        let opened = self.0.open(endpoint).instrument(span.clone()).await;
        if let Err(err) = &opened {
            record_error(&span, err);
        }
        opened
    }
}

/// Makes a span of each recovery of a connection, from its loss to its restoration or its end, in a
/// task that ends with the connection and does not keep it open.
///
/// # Panics
/// Panics outside a tokio runtime.
pub fn trace_recovery(connection: &Connection) {
    let mut events = connection.events();
    let endpoint = connection.endpoint().clone();
    tokio::spawn(async move {
        let mut recovery = None;
        while let Some(event) = events.next().await {
            match event {
                Event::Lost(reason) => {
                    recovery = Some(tracing::info_span!(
                        parent: None,
                        "recover",
                        otel.kind = "client",
                        messaging.system = "rabbitmq",
                        server.address = endpoint.host,
                        server.port = i64::from(endpoint.port),
                        mooq.lost = %reason,
                    ));
                }
                Event::Reconnected { .. } => recovery = None,
                _ => {}
            }
        }
        drop(recovery);
    });
}
