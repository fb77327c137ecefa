//! What things are put on again.

use std::sync::Arc;

use mooq_core::{Error, ErrorKind, TransportConnection};

use super::late::Unanswered;
use crate::connection::Core;

/// Where the things of a connection are put again, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) core: Arc<Core>,
    pub(super) link: Arc<dyn TransportConnection>,
    pub(super) patience: Patience,
    pub(super) unanswered: Unanswered,
}

/// Whether a broker that still counts the lost connection as alive is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// What is locked may become free.
    Left,
    /// What is locked is somebody else's.
    Over,
}

impl Patience {
    /// Whether to wait: `err` says that something is locked, or it is `in_use`.
    pub(super) fn with(self, err: &Error, in_use: bool) -> bool {
        self == Self::Left && (in_use || err.kind() == ErrorKind::ResourceLocked)
    }
}
