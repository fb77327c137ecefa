//! Running callbacks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use mooq_core::Result;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use mooq_session::{ConsumerId, Finished, RunnerStatus, Session, Start, Waiting};

use super::attempt::{Attempt, Failure};
use super::failing::{Concluded, conclude};
use super::handler::CallbackConsumer;
use super::handles::ConnectionRef;
use super::inner::Tokio;
use super::moving::Mover;
use super::polling::Polling;
use super::signal::Signal;
use super::wire::WireRef;

/// Time that a cycle waits for its first delivery, and time without an arrival after which the
/// connection counts as idle.
const QUIET: Duration = Duration::from_millis(100);

/// Number of sweeps that may start callbacks before other tasks get their turn: as many as the
/// default prefetch, so that a consumer keeps up with a publisher on its thread. With fewer,
/// published messages pile up in the queue, and leave the processor's caches before they are
/// consumed.
const SWEEPS_PER_TURN: usize = 256;

/// Condition under which processing ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Forever,
    Cycles(usize),
    UntilIdle,
}

/// A running callback, or the move of a message after it, with its consumer.
struct Running {
    id: ConsumerId,
    consumer: Arc<CallbackConsumer>,
    callback: BoxFuture<'static, Option<Box<Failure>>>,
}

impl Future for Running {
    type Output = (ConsumerId, Option<(Box<Failure>, Arc<CallbackConsumer>)>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let failure = ready!(self.callback.as_mut().poll(cx));
        let failure = failure.map(|failure| (failure, Arc::clone(&self.consumer)));
        Poll::Ready((self.id, failure))
    }
}

/// Runs callbacks until its mode, the shutdown signal or the connection ends it.
pub(crate) struct Runner {
    /// Keeps the connection open while its events are processed.
    connection: Arc<ConnectionRef>,
    mover: Arc<Mover>,
    mode: Mode,
    shutdown: Option<Signal>,
    /// The shutdown signal has come.
    stopping: bool,
    running: FuturesUnordered<Running>,
    /// Callbacks that have ended and that the session does not know of yet.
    finished: Vec<Finished<WireRef>>,
    /// Kept for its buffer.
    starts: Vec<Start<Tokio>>,
    /// The current cycle has started callbacks.
    cycle_begun: bool,
    /// Timer that runs while nothing happens.
    idle: Option<Pin<Box<Sleep>>>,
    /// Timer that ends when a delivery is to be retried.
    due: Option<Pin<Box<Sleep>>>,
}

impl Future for Runner {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Some(signal) = &this.shutdown {
            signal.wakes(cx.waker());
        }
        let connection = Arc::clone(&this.connection);
        let _polling = Polling::begin(connection.id());
        for _ in 0..SWEEPS_PER_TURN {
            this.poll_running(cx);
            if this.shutdown.as_mut().is_some_and(Signal::has_come) {
                this.shutdown = None;
                this.stopping = true;
            }
            // A cycle is over only when every callback that it started has finished.
            let in_cycle = matches!(this.mode, Mode::Cycles(_)) && this.cycle_begun;
            let may_start = !this.stopping && !in_cycle;
            let runner_status = connection.with(|session| {
                let now = || Instant::now().into_std();
                session.sweep(&mut this.finished, may_start, &mut this.starts, now)
            });
            let failed = match runner_status {
                RunnerStatus::Good => false,
                RunnerStatus::Failed => true,
                RunnerStatus::Over(end) => return Poll::Ready(end),
            };
            if this.start(cx) {
                this.cycle_begun = true;
                this.idle = None;
                continue;
            }
            if this.running.is_empty() {
                if let Some(err) = connection.with(Session::take_failure) {
                    return Poll::Ready(Err(err));
                }
                if this.stopping {
                    return Poll::Ready(Ok(()));
                }
                match this.pause(cx) {
                    Pause::Over => return Poll::Ready(Ok(())),
                    Pause::NextCycle => continue,
                    Pause::Wait => {}
                }
            }
            let may_start = may_start && !failed;
            let waiting = connection.with(|session| session.wait(cx.waker(), failed, may_start));
            match waiting {
                Waiting::Until(due) if this.is_due(due.map(Instant::from_std), cx) => {}
                Waiting::Until(_) => return Poll::Pending,
                Waiting::Not => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Action while no callback runs and none can start.
enum Pause {
    Wait,
    NextCycle,
    Over,
}

impl Runner {
    /// Starts the runner of `connection`, which stays the only one until it is dropped.
    ///
    /// # Errors
    /// `NotAllowed` if the connection has a runner already.
    pub(crate) fn begin(
        connection: Arc<ConnectionRef>,
        mode: Mode,
        shutdown: Option<BoxFuture<'static, ()>>,
    ) -> Result<Self> {
        connection.with(Session::begin_processing)?;
        Ok(Self {
            mover: Mover::new(&connection),
            connection,
            mode,
            shutdown: shutdown.map(Signal::new),
            stopping: false,
            running: FuturesUnordered::new(),
            finished: Vec::new(),
            starts: Vec::new(),
            cycle_begun: false,
            idle: None,
            due: None,
        })
    }

    /// Polls the running callbacks.
    fn poll_running(&mut self, cx: &mut Context<'_>) {
        while !self.running.is_empty()
            && let Poll::Ready(Some((id, failure))) = self.running.poll_next_unpin(cx)
        {
            self.finish(id, failure);
        }
    }

    /// Records that a callback has ended, unless its message is still to be moved.
    fn finish(&mut self, id: ConsumerId, failure: Option<(Box<Failure>, Arc<CallbackConsumer>)>) {
        let mut retry = None;
        if let Some((failure, consumer)) = failure {
            match conclude(*failure, Arc::clone(&consumer), &self.mover) {
                Concluded::Settled => {}
                Concluded::Again(again) => retry = Some(again),
                Concluded::Moving(callback) => {
                    self.running.push(Running {
                        id,
                        consumer,
                        callback,
                    });
                    return;
                }
            }
        }
        self.finished.push(Finished {
            consumer: id,
            retry,
        });
    }

    /// Starts the callbacks in `starts`. True if there was one.
    fn start(&mut self, cx: &mut Context<'_>) -> bool {
        let any = !self.starts.is_empty();
        let mut starts = std::mem::take(&mut self.starts);
        for start in starts.drain(..) {
            let Start {
                consumer: id,
                callback,
                handed,
            } = start;
            let consumer = callback;
            let handler = Arc::clone(&consumer.handler);
            let attempt = Attempt::new(handed, &consumer.retry);
            let mut callback = handler.start(attempt, Arc::clone(&consumer));
            // Most callbacks end at once, and need no place among the running ones.
            match callback.as_mut().poll(cx) {
                Poll::Ready(failure) => {
                    self.finish(id, failure.map(|failure| (failure, consumer)));
                }
                Poll::Pending => self.running.push(Running {
                    id,
                    consumer,
                    callback,
                }),
            }
        }
        self.starts = starts;
        any
    }

    /// Returns true if it is time to retry a delivery. Otherwise wakes the runner at that time.
    fn is_due(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(due) = due else {
            self.due = None;
            return false;
        };
        let timer = self.due.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn pause(&mut self, cx: &mut Context<'_>) -> Pause {
        if let Mode::Forever = self.mode {
            return Pause::Wait;
        }
        if !self.cycle_begun || matches!(self.mode, Mode::UntilIdle) {
            let idle = self.idle.get_or_insert_with(|| Box::pin(sleep(QUIET)));
            if idle.as_mut().poll(cx).is_pending() {
                return Pause::Wait;
            }
        }
        self.idle = None;
        self.cycle_begun = false;
        match &mut self.mode {
            Mode::Cycles(left) if *left > 1 => {
                *left -= 1;
                Pause::NextCycle
            }
            _ => Pause::Over,
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Callbacks that are cut off requeue their deliveries before new ones can start.
        self.running.clear();
        // Those that have ended keep their retries.
        let mut finished = std::mem::take(&mut self.finished);
        self.connection.with(|session| {
            let now = || Instant::now().into_std();
            session.sweep(&mut finished, false, &mut Vec::new(), now);
            session.stop_processing();
        });
    }
}
