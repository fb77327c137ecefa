//! No call waits for ever.

use std::future::Future;
use std::time::Duration;

use mooq_core::{Error, ErrorKind, Result};

/// `call`, given up after `limit`. Dropping a transport's call is safe by contract.
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

/// The error of a call named `what` that did not end within `limit`.
pub(crate) fn exceeded(what: &str, limit: Duration) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!("{what} did not end within its deadline of {limit:?}"),
    )
}
