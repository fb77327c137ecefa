//! The first connection.

use std::sync::Arc;

use mooq_core::{OpenedConnection, Result, Transport};

use super::core::{Core, open_link};
use crate::options::ConnectOptions;
use crate::recovery;

/// Connects to the first host that answers, and sets the supervisor to its work.
///
/// # Errors
/// Why the last host could not be connected to.
pub(super) async fn open(
    transport: Arc<dyn Transport>,
    options: ConnectOptions,
) -> Result<Arc<Core>> {
    let endpoints = options.endpoints()?;
    let mut host = 0;
    let opened = loop {
        let endpoint = endpoints.get(host);
        match open_link(&*transport, endpoint).await {
            Ok(opened) => break opened,
            Err(err) if host + 1 == endpoints.len() => return Err(err),
            Err(err) => tracing::warn!(address = endpoint.address(), %err, "trying the next host"),
        }
        host += 1;
    };
    let OpenedConnection { connection, events } = opened;
    let (core, reports) = Core::new(transport, options, endpoints, host, connection);
    recovery::supervise(&core, events, reports);
    Ok(core)
}
