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
use tokio::time::{Sleep, sleep};

use super::dispatch::{Dispatch, Standing, Start};
use super::signal::Signal;
use crate::connection::ConnectionShared;

/// How long a cycle waits for its first delivery, and how long nothing must arrive for the
/// connection to count as idle.
const QUIET: Duration = Duration::from_millis(100);

/// How many sweeps may start callbacks before other tasks get their turn: as many as the default
/// prefetch, so that a consumer keeps up with a publisher on its thread. With fewer, what is
/// published piles up in the queue, and leaves the processor's caches before it is consumed.
const SWEEPS_PER_TURN: usize = 256;

/// When processing ends by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Forever,
    Cycles(usize),
    UntilIdle,
}

/// A running callback, with the id of its consumer.
struct Running {
    id: u64,
    callback: BoxFuture<'static, ()>,
}

impl Future for Running {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        ready!(self.callback.as_mut().poll(cx));
        Poll::Ready(self.id)
    }
}

/// Runs callbacks until its mode, the shutdown signal or the connection says otherwise.
pub(super) struct Runner {
    dispatch: Arc<Dispatch>,
    /// Keeps the connection open while its events are processed.
    _connection: Arc<ConnectionShared>,
    mode: Mode,
    shutdown: Option<Signal>,
    /// The shutdown signal has come.
    stopping: bool,
    running: FuturesUnordered<Running>,
    /// Consumers whose callbacks have ended since the dispatch was told.
    finished: Vec<u64>,
    /// Kept for its buffer.
    starts: Vec<Start>,
    /// The current cycle has started callbacks.
    cycle_begun: bool,
    /// Runs while nothing happens.
    quiet: Option<Pin<Box<Sleep>>>,
}

impl Future for Runner {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Some(signal) = &this.shutdown {
            signal.wakes(cx.waker());
        }
        for _ in 0..SWEEPS_PER_TURN {
            this.poll_running(cx);
            if this.shutdown.as_mut().is_some_and(Signal::has_come) {
                this.shutdown = None;
                this.stopping = true;
            }
            // A cycle is over only when all that it started has finished.
            let in_cycle = matches!(this.mode, Mode::Cycles(_)) && this.cycle_begun;
            let may_start = !this.stopping && !in_cycle;
            let dispatch = &this.dispatch;
            let failed = match dispatch.proceed(&mut this.finished, may_start, &mut this.starts) {
                Standing::Good => false,
                Standing::Failed => true,
                Standing::Over(end) => return Poll::Ready(end),
            };
            if this.start(cx) {
                this.cycle_begun = true;
                this.quiet = None;
                continue;
            }
            if this.running.is_empty() {
                if let Some(err) = this.dispatch.take_failure() {
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
            if this.dispatch.wait(cx, failed, may_start && !failed) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What to do while no callback runs and none can start.
enum Pause {
    Wait,
    NextCycle,
    Over,
}

impl Runner {
    /// The runner of `connection`, until it is dropped.
    ///
    /// # Errors
    /// `NotAllowed` if there is one already.
    pub(super) fn begin(
        connection: Arc<ConnectionShared>,
        mode: Mode,
        shutdown: Option<BoxFuture<'static, ()>>,
    ) -> Result<Self> {
        let dispatch = Arc::clone(connection.dispatch());
        dispatch.begin()?;
        Ok(Self {
            dispatch,
            _connection: connection,
            mode,
            shutdown: shutdown.map(Signal::new),
            stopping: false,
            running: FuturesUnordered::new(),
            finished: Vec::new(),
            starts: Vec::new(),
            cycle_begun: false,
            quiet: None,
        })
    }

    /// Lets the running callbacks go on.
    fn poll_running(&mut self, cx: &mut Context<'_>) {
        while !self.running.is_empty()
            && let Poll::Ready(Some(id)) = self.running.poll_next_unpin(cx)
        {
            self.finished.push(id);
        }
    }

    /// Starts the callbacks that are to start. True if there was one.
    fn start(&mut self, cx: &mut Context<'_>) -> bool {
        let any = !self.starts.is_empty();
        for Start {
            id,
            handler,
            settings,
            deliver,
            source,
        } in self.starts.drain(..)
        {
            let mut callback = handler.start(deliver, source, settings);
            // Most callbacks end at once, and those need no place among the running.
            match callback.as_mut().poll(cx) {
                Poll::Ready(()) => self.finished.push(id),
                Poll::Pending => self.running.push(Running { id, callback }),
            }
        }
        any
    }

    fn pause(&mut self, cx: &mut Context<'_>) -> Pause {
        if let Mode::Forever = self.mode {
            return Pause::Wait;
        }
        if !self.cycle_begun || matches!(self.mode, Mode::UntilIdle) {
            let quiet = self.quiet.get_or_insert_with(|| Box::pin(sleep(QUIET)));
            if quiet.as_mut().poll(cx).is_pending() {
                return Pause::Wait;
            }
        }
        self.quiet = None;
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
        // Callbacks that are cut off give their deliveries back, before new ones can start.
        self.running.clear();
        self.dispatch.stop();
    }
}
