//! What ends a fault.

use std::fmt;

use crate::broker::InMemoryBroker;
use crate::engine::FaultId;

/// A fault that lasts until this is dropped.
#[must_use = "the fault ends when this is dropped"]
pub struct FaultGuard {
    broker: InMemoryBroker,
    fault: FaultId,
}

impl FaultGuard {
    pub(super) fn new(broker: InMemoryBroker, fault: FaultId) -> Self {
        Self { broker, fault }
    }

    /// How often it has struck, for faults that strike single things: logins, messages,
    /// deliveries.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.broker.shared.look(|engine| engine.strikes(self.fault))
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.broker.shared.end_fault(self.fault);
    }
}

impl fmt::Debug for FaultGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultGuard")
            .field("fault", &self.fault)
            .field("strikes", &self.strikes())
            .finish()
    }
}
