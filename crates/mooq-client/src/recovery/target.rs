//! What things are put on again.

use std::sync::Arc;

use mooq_core::{Error, ErrorKind, ErrorScope, TransportConnection};
use tokio::time::Instant;

use super::late::Unanswered;
use crate::connection::Core;

/// Where the things of a connection are put again.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) core: Arc<Core>,
    pub(super) link: Arc<dyn TransportConnection>,
    /// Until then the broker may count the lost connection as alive, and what it held as taken.
    pub(super) taken_until: Instant,
    pub(super) unanswered: Unanswered,
}

/// Whether as many channels are open as the broker allows.
pub(super) fn none_to_spare(err: &Error) -> bool {
    err.scope() == ErrorScope::Operation && err.kind() == ErrorKind::NotAllowed
}

impl Target {
    /// Whether what `err` refuses may become free: it is locked, or else `taken`.
    pub(super) fn may_become_free(&self, err: &Error, taken: bool) -> bool {
        let taken = taken || err.kind() == ErrorKind::ResourceLocked;
        taken && Instant::now() < self.taken_until
    }
}
