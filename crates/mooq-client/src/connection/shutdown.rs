//! Graceful shutdown of a connection.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use super::{ConnectionShared, Core};
use crate::consumer::in_callback;

/// Stops consuming, waits for callbacks, waits for confirms, and closes.
///
/// # Errors
/// As [`Connection::shutdown`](super::Connection::shutdown).
pub(super) async fn shutdown(connection: Arc<ConnectionShared>, limit: Duration) -> Result<()> {
    if in_callback(connection.dispatch()) {
        return Err(Error::new(
            ErrorKind::NotAllowed,
            "shutdown() waits for callbacks, and this one waits for it: call it from another task, \
             for example by tokio::spawn",
        ));
    }
    let runtime = connection.runtime().clone();
    // In a task of its own, so that the shutdown goes on if the future is dropped.
    let task = runtime.spawn(async move { in_order(&connection, limit).await });
    task.await.unwrap_or_else(|err| {
        let message = format!("the shutdown did not come to its end: {err}");
        Err(Error::connection(ErrorKind::ConnectionLost, message).with_source(err))
    })
}

async fn in_order(core: &Core, limit: Duration) -> Result<()> {
    let channels = core.channels_in_order();
    let in_time = timeout(limit, async {
        for channel in &channels {
            channel.stop_consuming().await;
        }
        core.dispatch().quiet().await;
        for channel in &channels {
            channel.wait_for_confirms().await;
        }
    })
    .await;
    let running = core.dispatch().running();
    let unconfirmed: usize = channels
        .iter()
        .map(|channel| channel.ledger(|ledger| ledger.in_flight()))
        .sum();
    drop(channels);
    core.begin_close();
    core.wait_closed().await;
    core.close_result()?;
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
