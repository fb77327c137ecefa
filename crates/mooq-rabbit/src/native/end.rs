//! The end of a channel or a connection, and the reason of it.

use std::pin::pin;
use std::sync::OnceLock;

use mooq_core::Error;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct End {
    reason: OnceLock<Error>,
    ended: Notify,
}

impl End {
    /// Stores the reason, unless there is one.
    pub(super) fn set(&self, reason: Error) {
        let _ = self.reason.set(reason);
        self.ended.notify_waiters();
    }

    pub(super) fn reason(&self) -> Option<&Error> {
        self.reason.get()
    }

    /// Waits for the end.
    pub(super) async fn wait(&self) -> Error {
        loop {
            let mut ended = pin!(self.ended.notified());
            // Registered before the check, or a notification in between would be missed.
            ended.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason.clone();
            }
            ended.await;
        }
    }
}
