//! The one task that delivers effects in flight inside a broker. It runs only while something is in
//! flight.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use super::shared::Shared;

pub(super) struct Courier {
    broker: Weak<Shared>,
    /// True while the task runs. Changed only while the broker's lock is held, unless a runtime
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

    /// Ensures that effects in flight are delivered. Returns true if a task does that: without a
    /// tokio runtime there is no task.
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
            finished: false,
        };
        runtime.spawn(task.run());
        true
    }
}

struct Task {
    broker: Weak<Shared>,
    is_busy: Arc<AtomicBool>,
    /// True once nothing is in flight and the flag is cleared: the flag then belongs to the next
    /// task.
    finished: bool,
}

impl Task {
    async fn run(mut self) {
        loop {
            // Yields to other tasks first, so that more can be in flight at once.
            yield_now().await;
            let Some(broker) = self.broker.upgrade() else {
                return;
            };
            broker.carry_on(|| {
                self.is_busy.store(false, Ordering::Release);
                self.finished = true;
            });
            if self.finished {
                return;
            }
        }
    }
}

impl Drop for Task {
    /// Clears the flag. A runtime that shuts down drops the waiting task: another task must be
    /// startable.
    fn drop(&mut self) {
        if !self.finished {
            self.is_busy.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a task, after another one may have started.
    fn busy_after_end_of_task(finished: bool) -> bool {
        let is_busy = Arc::new(AtomicBool::new(true));
        drop(Task {
            broker: Weak::new(),
            is_busy: Arc::clone(&is_busy),
            finished,
        });
        is_busy.load(Ordering::Acquire)
    }

    #[test]
    fn courier_that_has_finished_leaves_the_flag_to_its_successor() {
        assert!(busy_after_end_of_task(true), "a second courier would run");
    }

    #[test]
    fn courier_that_is_dropped_early_lets_another_start() {
        assert!(!busy_after_end_of_task(false));
    }
}
