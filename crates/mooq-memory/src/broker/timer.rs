//! The one task that makes time pass for a broker. It runs only while there is a deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::shared::Shared;
use mooq_engine::Time;

/// The deadline of a timer without a task.
const NEVER: u64 = u64::MAX;

pub(super) struct Timer {
    broker: Weak<Shared>,
    armed: Arc<Armed>,
}

/// State that the task and its broker share.
struct Armed {
    /// The time at which the task wakes up; `None` while there is no task.
    at: Mutex<Option<Instant>>,
    /// The wake-up time in the engine's microseconds, readable without the mutex: it is read after
    /// every method. The maximum value while there is no task.
    micros: AtomicU64,
    /// Wakes the task early: there is an earlier deadline, or the broker is gone.
    earlier: Notify,
}

impl Timer {
    pub(super) fn new(broker: Weak<Shared>) -> Self {
        Self {
            broker,
            armed: Arc::new(Armed {
                at: Mutex::default(),
                micros: AtomicU64::new(NEVER),
                earlier: Notify::default(),
            }),
        }
    }

    /// Ensures that the time of a broker, whose engine was created at `started`, advances by
    /// `deadline` at the latest.
    ///
    /// Without a tokio runtime there is no task to do that: time then advances with the next call.
    #[inline]
    pub(super) fn wake_by(&self, deadline: Time, started: Instant) {
        if deadline.as_micros() < self.armed.micros.load(Ordering::Acquire) {
            self.wake_earlier(deadline, started);
        }
    }

    fn wake_earlier(&self, deadline: Time, started: Instant) {
        // A deadline that no clock reaches counts as none.
        let Some(instant) = started.checked_add(deadline.since_start()) else {
            return;
        };
        let mut at = self.armed.lock();
        match *at {
            Some(armed) if armed <= instant => {}
            Some(_) => {
                self.armed.set(&mut at, Some((deadline, instant)));
                self.armed.earlier.notify_one();
            }
            None => {
                if let Ok(runtime) = Handle::try_current() {
                    self.armed.set(&mut at, Some((deadline, instant)));
                    drop(at);
                    let task = Task {
                        broker: self.broker.clone(),
                        started,
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

    fn set(&self, at: &mut MutexGuard<'_, Option<Instant>>, next: Option<(Time, Instant)>) {
        **at = next.map(|(_, instant)| instant);
        let micros = next.map_or(NEVER, |(time, _)| time.as_micros());
        self.micros.store(micros, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    broker: Weak<Shared>,
    /// The time at which the broker's engine was created.
    started: Instant,
    armed: Arc<Armed>,
    /// True if there is no further deadline: the next deadline gets another task.
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
                let next = next.and_then(|next| {
                    let instant = self.started.checked_add(next.since_start())?;
                    Some((next, instant))
                });
                self.finished = next.is_none();
                self.armed.set(&mut self.armed.lock(), next);
            });
        }
    }
}

impl Drop for Task {
    /// Disarms the timer. A runtime that shuts down drops the waiting task: another task must be
    /// startable.
    fn drop(&mut self) {
        if !self.finished {
            self.armed.set(&mut self.armed.lock(), None);
        }
    }
}
