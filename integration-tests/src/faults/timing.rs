//! Timing of calls against their deadlines, on a machine that may be busy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Time by which a call may miss its deadline.
pub const MARGIN: Duration = Duration::from_millis(100);

/// Interval of the timer that measures hold-ups of the machine.
const TICK: Duration = Duration::from_millis(5);

/// Lateness that counts as being in time: timers are exact to a millisecond.
const PUNCTUAL: Duration = Duration::from_millis(1);

/// Measures calls. Clones share their measurements.
///
/// A call can neither start its clock nor end while its runtime is held up by other processes or
/// tasks. A timer beside the calls measures these hold-ups, and hold-ups during a call are not
/// counted against it: so the margin can be small.
#[derive(Debug, Clone)]
pub struct Timing {
    measured: Arc<Mutex<Measured>>,
    _ticking: Arc<AbortOnDrop>,
}

#[derive(Debug, Default)]
struct Measured {
    /// Hold-ups of the runtime: when a timer was due, and when it went off.
    held_up: Vec<(Instant, Instant)>,
    calls: u64,
    /// Calls that ended after deadline and margin.
    late: Vec<Call>,
    /// The call that ended closest before its deadline, or latest after it.
    worst: Option<Call>,
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Name of the call.
    pub what: &'static str,
    /// Time limit of the call.
    pub limit: Duration,
    began: Instant,
    ended: Instant,
}

impl Call {
    /// Duration of the call.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.ended - self.began
    }

    /// The time when the call was due, and when it ended.
    #[must_use]
    pub fn due_and_ended(&self) -> (Instant, Instant) {
        (self.began + self.limit, self.ended)
    }

    fn over(&self) -> Duration {
        self.took().saturating_sub(self.limit)
    }
}

impl Measured {
    fn note(&mut self, call: Call) {
        self.calls += 1;
        if call.over() > MARGIN {
            self.late.push(call);
        }
        if self.worst.is_none_or(|worst| worst.over() < call.over()) {
            self.worst = Some(call);
        }
    }

    fn overdue(&self) -> Vec<Call> {
        let overdue = self
            .late
            .iter()
            .filter(|call| call.over() > MARGIN + self.held_up(call.began, call.ended));
        overdue.copied().collect()
    }

    fn held_up(&self, begin: Instant, end: Instant) -> Duration {
        let times = self.held_up.iter();
        times
            .map(|(due, off)| overlap((begin, end), (*due, *off)))
            .sum()
    }
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Timing {
    /// Begins to measure the runtime that this is called on.
    #[must_use]
    pub fn begin() -> Self {
        let measured = Arc::<Mutex<Measured>>::default();
        let ticking = tokio::spawn(tick(Arc::clone(&measured)));
        Self {
            measured,
            _ticking: Arc::new(AbortOnDrop(ticking.abort_handle())),
        }
    }

    /// Measures a call.
    pub async fn of<T>(
        &self,
        what: &'static str,
        limit: Duration,
        call: impl IntoFuture<Output = T>,
    ) -> T {
        let began = Instant::now();
        let outcome = call.await;
        let ended = Instant::now();
        lock(&self.measured).note(Call {
            what,
            limit,
            began,
            ended,
        });
        outcome
    }

    /// Number of calls that have ended.
    #[must_use]
    pub fn calls(&self) -> u64 {
        lock(&self.measured).calls
    }

    /// The call that missed its deadline by most, if any did.
    #[must_use]
    pub fn worst(&self) -> Option<Call> {
        lock(&self.measured)
            .worst
            .filter(|call| !call.over().is_zero())
    }

    /// The longest hold-up of the runtime.
    #[must_use]
    pub fn longest_hold_up(&self) -> Duration {
        let measured = lock(&self.measured);
        let longest = measured.held_up.iter().map(|(due, off)| *off - *due).max();
        longest.unwrap_or_default()
    }

    /// Calls that ended later than deadline, margin and hold-ups explain.
    #[must_use]
    pub fn overdue(&self) -> Vec<Call> {
        lock(&self.measured).overdue()
    }

    /// Duration of hold-ups of the runtime within this time.
    #[must_use]
    pub fn held_up(&self, begin: Instant, end: Instant) -> Duration {
        lock(&self.measured).held_up(begin, end)
    }
}

/// Overlap of two spans of time.
fn overlap(one: (Instant, Instant), other: (Instant, Instant)) -> Duration {
    let begin = one.0.max(other.0);
    one.1.min(other.1).saturating_duration_since(begin)
}

async fn tick(measured: Arc<Mutex<Measured>>) {
    loop {
        let due = Instant::now() + TICK;
        sleep_until(due).await;
        let off = Instant::now();
        if off - due > PUNCTUAL {
            lock(&measured).held_up.push((due, off));
        }
    }
}

fn lock(measured: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    /// Measurements of a call that took `time` from `began`.
    fn took(time: Duration, began: Instant) -> Measured {
        let mut measured = Measured::default();
        measured.note(Call {
            what: "call",
            limit: LIMIT,
            began,
            ended: began + time,
        });
        measured
    }

    #[test]
    fn a_call_is_overdue_that_ends_later_than_its_margin() {
        let began = Instant::now();
        assert_eq!(took(LIMIT, began).overdue().len(), 0);
        assert_eq!(took(LIMIT + MARGIN, began).overdue().len(), 0);
        let late = took(LIMIT + MARGIN + TICK, began).overdue();
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].took(), LIMIT + MARGIN + TICK);
    }

    #[test]
    fn a_call_may_end_later_by_as_long_as_it_was_held_up() {
        let began = Instant::now() + LIMIT;
        let ended = began + LIMIT + 3 * MARGIN;
        let mut measured = took(ended - began, began);
        assert_eq!(measured.overdue().len(), 1);
        // Hold-ups before or after the call are no excuse.
        measured.held_up.push((began - LIMIT, began));
        measured.held_up.push((ended, ended + LIMIT));
        assert_eq!(measured.overdue().len(), 1);
        // Only half of this hold-up is within the call.
        measured.held_up.push((began - MARGIN, began + MARGIN));
        assert_eq!(measured.overdue().len(), 1);
        measured.held_up.push((ended - MARGIN, ended + MARGIN));
        assert_eq!(measured.overdue().len(), 0);
    }

    #[tokio::test]
    async fn calls_are_counted_and_return_their_values() {
        let timing = Timing::begin();
        assert_eq!(timing.of("ready", LIMIT, async { 1 }).await, 1);
        assert_eq!(timing.calls(), 1);
        assert!(timing.worst().is_none());
    }
}
