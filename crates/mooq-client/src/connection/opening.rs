//! Opening of the first connection.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, OpenedConnection, Result, Transport};
use tokio::time::{Instant, sleep};

use super::core::Core;
use super::link::open_link;
use crate::options::{ConnectOptions, Endpoints};
use crate::recovery::{self, Recovery};
use crate::timeout::after;

/// Connects to the first host that answers, and starts the supervisor.
///
/// # Errors
/// The reason why the last host could not be connected to.
pub(super) async fn open(
    transport: Arc<dyn Transport>,
    options: ConnectOptions,
) -> Result<Arc<Core>> {
    let endpoints = options.endpoints()?;
    let (host, opened) = match options.patience() {
        None => try_all(&*transport, &endpoints).await?,
        Some(limit) => {
            let policy = options.recovery_policy();
            keep_trying(&*transport, &endpoints, policy, limit).await?
        }
    };
    let OpenedConnection { connection, events } = opened;
    let (core, reports) = Core::new(transport, options, endpoints, host, connection);
    recovery::supervise(&core, events, reports);
    Ok(core)
}

/// Tries each host once. Returns the number of the host that answers.
async fn try_all(
    transport: &dyn Transport,
    endpoints: &Endpoints,
) -> Result<(usize, OpenedConnection)> {
    let mut host = 0;
    loop {
        let endpoint = endpoints.get(host);
        match open_link(transport, endpoint).await {
            Ok(opened) => return Ok((host, opened)),
            Err(err) if host + 1 == endpoints.len() => return Err(err),
            Err(err) => tracing::warn!(address = endpoint.address(), %err, "trying the next host"),
        }
        host += 1;
    }
}

/// Retries all hosts while none of them can be reached, for `limit`.
async fn keep_trying(
    transport: &dyn Transport,
    endpoints: &Endpoints,
    policy: &Recovery,
    limit: Duration,
) -> Result<(usize, OpenedConnection)> {
    let end = after(limit);
    let mut delay = policy.first_delay;
    loop {
        let err = match try_all(transport, endpoints).await {
            Err(err) if is_absence(&err) => err,
            ended => return ended,
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = format!("no broker was there within {limit:?}: {err}");
            return Err(Error::connection(err.kind(), message).with_source(err));
        }
        tracing::info!(%err, ?delay, "the broker is not there yet: trying again");
        sleep(delay.min(left)).await;
        delay = delay.saturating_mul(2).min(policy.max_delay);
    }
}

/// Returns true if the broker may only not be running yet.
fn is_absence(err: &Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::BrokerConnectionError | ErrorKind::TimedOut | ErrorKind::ConnectionLost
    )
}
