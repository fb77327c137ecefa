//! The guard that ends a fault when it is dropped.

use std::fmt;

use crate::broker::InMemoryBroker;
use mooq_engine::FaultId;

/// A fault that lasts until the guard is dropped.
#[must_use = "the fault ends when this is dropped"]
pub struct FaultGuard {
    broker: InMemoryBroker,
    fault: FaultId,
}

impl FaultGuard {
    pub(super) fn new(broker: InMemoryBroker, fault: FaultId) -> Self {
        Self { broker, fault }
    }

    /// Number of times that the fault has struck, for faults that strike individual logins,
    /// messages or deliveries.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.broker
            .shared
            .with_engine(|engine| engine.strikes(self.fault))
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
