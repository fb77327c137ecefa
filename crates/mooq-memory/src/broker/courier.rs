//! The one task that lets arrive what is under way inside a broker: it is there only while
//! something is.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use super::shared::Shared;

pub(super) struct Courier {
    broker: Weak<Shared>,
    /// Whether the task is there. Changed only while the broker's lock is held, unless a runtime
    /// shuts down.
    is_busy: Arc<AtomicBool>,
}

impl Courier {
    pub(super) fn new(broker: Weak<Shared>) -> Self {
        Self {
            broker,
            is_busy: Arc::default(),
        }
    }

    /// Sees to it that what is under way arrives. Says whether there is somebody to do that: there
    /// is nobody without a tokio runtime.
    pub(super) fn call(&self) -> bool {
        if self.is_busy.load(Ordering::Acquire) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        self.is_busy.store(true, Ordering::Release);
        let task = Task {
            broker: self.broker.clone(),
            is_busy: Arc::clone(&self.is_busy),
        };
        runtime.spawn(task.run());
        true
    }
}

struct Task {
    broker: Weak<Shared>,
    is_busy: Arc<AtomicBool>,
}

impl Task {
    async fn run(self) {
        loop {
            // Others come first, so that more can be under way at once.
            yield_now().await;
            let Some(broker) = self.broker.upgrade() else {
                return;
            };
            let is_done = broker.carry_on(|| self.is_busy.store(false, Ordering::Release));
            if is_done {
                return;
            }
        }
    }
}

impl Drop for Task {
    /// A runtime that shuts down drops the task while it waits: another one must be startable.
    fn drop(&mut self) {
        self.is_busy.store(false, Ordering::Release);
    }
}
