//! Graceful shutdown of a connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};
use mooq_session::{AfterCancel, PortCell};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::handles::ConnectionRef;
use super::inner::ConnectionInner;
use super::polling::in_callback;

/// Stops consuming, waits for callbacks, waits for confirms, and closes.
///
/// # Errors
/// As [`Connection::shutdown`](crate::Connection::shutdown).
pub(crate) async fn shutdown(connection: Arc<ConnectionRef>, limit: Duration) -> Result<()> {
    if in_callback(connection.id()) {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            "shutdown() waits for callbacks, and this one waits for it: call it from another task, \
             for example by tokio::spawn",
        ));
    }
    let runtime = connection.runtime().clone();
    // In a task of its own, so that the shutdown continues if the future is dropped.
    let task = runtime.spawn(async move { in_order(&connection, limit).await });
    task.await.unwrap_or_else(|err| {
        let message = format!("the shutdown did not come to its end: {err}");
        Err(Error::connection(ErrorKind::ConnectionLost, message).with_source(err))
    })
}

async fn in_order(inner: &ConnectionInner, limit: Duration) -> Result<()> {
    let ports = inner.with(|session| session.ports());
    let in_time = timeout(limit, async {
        for consumer in inner.with(|session| session.registered_consumers()) {
            let cancelling =
                inner.call(|session, caller| session.cancel(consumer, AfterCancel::Drain, caller));
            if let Err(err) = cancelling.await {
                tracing::debug!(%err, "the consumer is gone already");
            }
        }
        let (caller, idle) = oneshot::channel();
        inner.with(|session| session.reply_when_idle(caller));
        // An error means that the connection has ended.
        let _ = idle.await;
        for port in &ports {
            poll_fn(|cx| port.with(|port| port.poll_drained(cx))).await;
        }
    })
    .await;
    let running = inner.with(|session| session.running());
    let unconfirmed: usize = ports
        .iter()
        .map(|port| port.with(|port| port.in_flight()))
        .sum();
    drop(ports);
    close(inner).await?;
    in_time.map_err(|_| {
        Error::new(
            ErrorKind::TimedOut,
            format!(
                "the shutdown did not end within {limit:?}: {running} callbacks were cut off, and \
                 {unconfirmed} publishes have no confirm"
            ),
        )
    })
}

/// Closes a connection, and waits until it is closed.
pub(crate) async fn close(inner: &ConnectionInner) -> Result<()> {
    let (caller, closed) = oneshot::channel();
    let now = Instant::now().into_std();
    inner.with(|session| session.close(Some(caller), now));
    match closed.await {
        Ok(reply) => reply.map(drop),
        // The runtime has ended, and the connection with it.
        Err(_) => Ok(()),
    }
}
