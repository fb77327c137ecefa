//! Timeouts: no call waits for ever.

use std::future::Future;
use std::time::Duration;

use mooq_core::Result;
use mooq_session::later;
use mooq_session::reasons::exceeded;
use tokio::time::Instant;

/// Runs `call`, and gives up after `limit`. Dropping a transport's call is safe by contract.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(exceeded(what, limit)),
    }
}

/// Returns the time `limit` from now.
pub(crate) fn after(limit: Duration) -> Instant {
    later(Instant::now().into_std(), limit).into()
}
