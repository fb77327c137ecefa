//! Opening of the first connection.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use mooq_core::mailbox::mailbox;
use mooq_core::{Endpoints, Error, ErrorKind, OpenedConnection, Result, Transport};
use mooq_session::{Host, Options, Recovery, Session};
use tokio::time::{Instant, sleep};

use super::driver;
use super::inner::ConnectionInner;
use super::link::open_link;
use super::timeout::after;
use super::wire::LinkRef;
use crate::api::options::ConnectOptions;

/// Connects to the first host that answers, and starts its driver.
///
/// # Errors
/// The reason why no host could be connected to: the last host's, unless one refuses the login or
/// the like.
pub(crate) async fn open(
    transport: Arc<dyn Transport>,
    options: &ConnectOptions,
) -> Result<Arc<ConnectionInner>> {
    let endpoints = options.endpoints()?;
    let transport = mooq_credentials::over(transport, options.provider.as_ref());
    let (host, opened) = match options.wait_for_broker {
        None => try_all(&*transport, &endpoints).await?,
        Some(limit) => {
            let policy = &options.recovery;
            keep_trying(&*transport, &endpoints, policy, limit).await?
        }
    };
    let OpenedConnection { connection, events } = opened;
    let (sender, work) = mailbox();
    let now = Instant::now().into_std();
    let own = session_options(options, &endpoints);
    let session = Session::new(own.clone(), host, LinkRef(connection), now);
    let buffer = options.publish_buffer;
    let inner = ConnectionInner::new(transport, endpoints, &own, buffer, session, sender.clone());
    let inner = Arc::new(inner);
    driver::start(&inner, work, sender, events);
    Ok(inner)
}

fn session_options(options: &ConnectOptions, endpoints: &Endpoints) -> Options {
    let hosts = endpoints.iter().map(|endpoint| Host {
        address: endpoint.address(),
        heartbeat: endpoint.heartbeat,
    });
    Options {
        recovery: options.recovery.clone(),
        while_disconnected: options.while_disconnected,
        timeout: options.timeout,
        hosts: hosts.collect(),
        seed: endpoints.get(0).jitter_seed(),
    }
}

/// Tries each host once. Returns the number of the host that answers.
///
/// # Errors
/// The last host's error, unless an earlier host was there: its error is not one that time mends.
async fn try_all(
    transport: &dyn Transport,
    endpoints: &Endpoints,
) -> Result<(usize, OpenedConnection)> {
    let mut host = 0;
    let mut refusal = None;
    loop {
        let endpoint = endpoints.get(host);
        let err = match open_link(transport, endpoint).await {
            Ok(opened) => return Ok((host, opened)),
            Err(err) => err,
        };
        host += 1;
        if host == endpoints.len() {
            return Err(refusal.unwrap_or(err));
        }
        tracing::warn!(address = endpoint.address(), %err, "trying the next host");
        if !is_absence(&err) {
            refusal.get_or_insert(err);
        }
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
    let mut jitter = Rng::with_seed(endpoints.get(0).jitter_seed());
    let mut attempt = 0;
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
        let delay = policy.jittered_delay(attempt, &mut jitter);
        tracing::info!(%err, ?delay, "the broker is not there yet: trying again");
        sleep(delay.min(left)).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Returns true if the broker, or the provider of the credentials, may only not be running yet.
fn is_absence(err: &Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ConnectFailed
            | ErrorKind::CredentialsUnavailable
            | ErrorKind::TimedOut
            | ErrorKind::ConnectionLost
    )
}
