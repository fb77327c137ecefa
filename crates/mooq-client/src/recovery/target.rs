//! Target of a restoration.

use std::sync::Arc;

use mooq_core::{Error, ErrorKind, ErrorScope, TransportConnection};
use tokio::time::Instant;

use super::late::Unanswered;
use crate::connection::Core;

/// Target on which a connection's resources are restored.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) core: Arc<Core>,
    pub(super) link: Arc<dyn TransportConnection>,
    /// Time until which the broker may count the lost connection as alive, and its resources as
    /// taken.
    pub(super) taken_until: Instant,
    pub(super) unanswered: Unanswered,
}

/// Returns true if `err` means that as many channels are open as the broker allows.
pub(super) fn none_to_spare(err: &Error) -> bool {
    err.scope() == ErrorScope::Operation && err.kind() == ErrorKind::NotAllowed
}

impl Target {
    /// Returns true if the resource that `err` refuses may become free: it is locked, or else
    /// `taken`.
    pub(super) fn may_become_free(&self, err: &Error, taken: bool) -> bool {
        let taken = taken || err.kind() == ErrorKind::ResourceLocked;
        taken && Instant::now() < self.taken_until
    }
}
