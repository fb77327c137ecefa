//! The one task that delivers effects in flight inside a broker. It runs only while something is in
//! flight.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use super::shared::Shared;

pub(super) struct Scheduler {
    broker: Weak<Shared>,
    /// True while the task runs. Changed only while the broker's lock is held, unless a runtime
    /// shuts down.
    is_running: Arc<AtomicBool>,
}

impl Scheduler {
    pub(super) fn new(broker: Weak<Shared>) -> Self {
        Self {
            broker,
            is_running: Arc::default(),
        }
    }

    /// Ensures that effects in flight are delivered. Returns true if a task does that: without a
    /// tokio runtime there is no task.
    pub(super) fn ensure_running(&self) -> bool {
        if self.is_running.load(Ordering::Acquire) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        self.is_running.store(true, Ordering::Release);
        let task = SchedulerTask {
            broker: self.broker.clone(),
            is_running: Arc::clone(&self.is_running),
            finished: false,
        };
        runtime.spawn(task.run());
        true
    }
}

struct SchedulerTask {
    broker: Weak<Shared>,
    is_running: Arc<AtomicBool>,
    /// True once nothing is in flight and the flag is cleared: the flag then belongs to the next
    /// task.
    finished: bool,
}

impl SchedulerTask {
    async fn run(mut self) {
        loop {
            // Yields to other tasks first, so that more can be in flight at once.
            yield_now().await;
            let Some(broker) = self.broker.upgrade() else {
                return;
            };
            broker.carry_on(|| {
                self.is_running.store(false, Ordering::Release);
                self.finished = true;
            });
            if self.finished {
                return;
            }
        }
    }
}

impl Drop for SchedulerTask {
    /// Clears the flag. A runtime that shuts down drops the waiting task: another task must be
    /// startable.
    fn drop(&mut self) {
        if !self.finished {
            self.is_running.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a task, after another one may have started.
    fn running_after_end_of_task(finished: bool) -> bool {
        let is_running = Arc::new(AtomicBool::new(true));
        drop(SchedulerTask {
            broker: Weak::new(),
            is_running: Arc::clone(&is_running),
            finished,
        });
        is_running.load(Ordering::Acquire)
    }

    #[test]
    fn scheduler_task_that_has_finished_leaves_the_flag_to_its_successor() {
        assert!(running_after_end_of_task(true), "a second task would run");
    }

    #[test]
    fn scheduler_task_that_is_dropped_early_lets_another_start() {
        assert!(!running_after_end_of_task(false));
    }
}
