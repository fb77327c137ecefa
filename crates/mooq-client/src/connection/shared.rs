//! Handle that keeps a connection open.

use std::ops::Deref;
use std::sync::Arc;

use super::Core;

/// Keeps a connection open: the connection closes when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionShared {
    core: Arc<Core>,
}

impl ConnectionShared {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

impl Deref for ConnectionShared {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for ConnectionShared {
    fn drop(&mut self) {
        self.core.abandon();
    }
}
