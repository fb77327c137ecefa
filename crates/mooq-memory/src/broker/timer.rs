//! The one task that makes time pass for a broker: it is there only while something is to happen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::shared::Shared;

pub(super) struct Timer {
    broker: Weak<Shared>,
    armed: Arc<Armed>,
}

/// What the task and its broker share.
#[derive(Default)]
struct Armed {
    /// When the task wakes up; none while there is no task.
    at: Mutex<Option<Instant>>,
    /// Wakes the task before that: something is to happen earlier, or the broker is gone.
    earlier: Notify,
}

impl Timer {
    pub(super) fn new(broker: Weak<Shared>) -> Self {
        Self {
            broker,
            armed: Arc::default(),
        }
    }

    /// Sees to it that the broker's time passes at `deadline` at the latest.
    ///
    /// Without a tokio runtime there is nobody to do that: then it passes with the next call.
    pub(super) fn wake_by(&self, deadline: Instant) {
        let mut at = self.armed.lock();
        match *at {
            Some(armed) if armed <= deadline => {}
            Some(_) => {
                *at = Some(deadline);
                self.armed.earlier.notify_one();
            }
            None => {
                if let Ok(runtime) = Handle::try_current() {
                    *at = Some(deadline);
                    drop(at);
                    let task = Task {
                        broker: self.broker.clone(),
                        armed: Arc::clone(&self.armed),
                        finished: false,
                    };
                    runtime.spawn(task.run());
                }
            }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.armed.earlier.notify_one();
    }
}

impl Armed {
    fn at(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    broker: Weak<Shared>,
    armed: Arc<Armed>,
    /// Nothing is to happen any more: the next deadline gets another task.
    finished: bool,
}

impl Task {
    async fn run(mut self) {
        while !self.finished
            && let Some(at) = self.armed.at()
        {
            if timeout_at(at, self.armed.earlier.notified()).await.is_ok() {
                if self.broker.strong_count() == 0 {
                    return;
                }
                continue; // It is to wake up at another time.
            }
            let Some(broker) = self.broker.upgrade() else {
                return;
            };
            broker.tick(|next| {
                self.finished = next.is_none();
                *self.armed.lock() = next;
            });
        }
    }
}

impl Drop for Task {
    /// A runtime that shuts down drops the task while it waits: another one must be startable.
    fn drop(&mut self) {
        if !self.finished {
            *self.armed.lock() = None;
        }
    }
}
