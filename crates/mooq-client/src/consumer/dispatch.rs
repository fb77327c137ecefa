//! Choice of the callbacks to start.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use foldhash::fast::RandomState;
use mooq_core::{Error, ErrorKind, ErrorScope, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::attempt::{Attempt, Retry};
use super::handler::{CallbackConsumer, Handler, Settings};
use crate::channel::Next;
use crate::lock::lock;
use crate::reasons::is_local_close;

/// The callback consumers of a connection, and those of them that have deliveries waiting.
///
/// A callback may own the last handle of its connection, and dropping that handle calls into the
/// dispatch. So a consumer is never dropped while the state is locked.
#[derive(Debug, Default)]
pub(crate) struct Dispatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    consumers: HashMap<u64, Entry, RandomState>,
    /// Consumers that may have a delivery waiting and room to start it.
    ready: Ready,
    /// Times at which consumers have a delivery to retry.
    due: BTreeSet<(Instant, u64)>,
    /// Fingerprints of messages whose channel was lost while their callbacks ran, and how often.
    lost: HashMap<u64, u32, RandomState>,
    /// Errors of consumers that ended by themselves, for `process_events` to return.
    failures: VecDeque<Error>,
    /// Set once the connection is closed: an error unless it was closed from this side.
    end: Option<Result<()>>,
    processing: bool,
    /// Number of running callbacks, including those of consumers that were removed.
    running: usize,
    waker: Option<Waker>,
    /// Senders to drop once no callback runs or is to start.
    quiet: Vec<oneshot::Sender<()>>,
}

/// Ids of consumers, each once. Ids rise, so their order is that of registration. They are kept in
/// a sorted list, since the few consumers of a connection are swept once per message.
#[derive(Debug, Default)]
struct Ready(Vec<u64>);

impl Ready {
    fn insert(&mut self, id: u64) {
        if let Err(at) = self.0.binary_search(&id) {
            self.0.insert(at, id);
        }
    }
}

#[derive(Debug)]
struct Entry {
    consumer: Arc<CallbackConsumer>,
    running: usize,
    /// Deliveries are retried, and may take up the consumer's concurrency.
    retries: bool,
    /// No more deliveries arrive: the consumer is removed once its inbox is empty.
    ending: bool,
}

/// State of processing.
pub(super) enum Standing {
    Good,
    /// A consumer has ended by itself, and its error has not been returned yet.
    Failed,
    /// The connection is closed: the result with which processing ends.
    Over(Result<()>),
}

/// A callback to start.
pub(super) struct Start {
    pub(super) id: u64,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) settings: Settings,
    pub(super) attempt: Attempt,
}

/// A callback that has ended.
pub(super) struct Finished {
    pub(super) id: u64,
    /// Its delivery, if it is to be retried.
    pub(super) retry: Option<Retry>,
}

/// Time that a runner has to wait.
pub(super) enum Waiting {
    /// None: there is something new.
    Not,
    /// Until the runner is woken, or until this time.
    Until(Option<Instant>),
}

/// Number of messages that are remembered whose channel was lost while their callbacks ran.
const REMEMBERED: usize = 1_000;

impl Dispatch {
    /// Returns an id for a consumer that is about to be added.
    pub(super) fn reserve(&self) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        state.next_id
    }

    pub(super) fn add(&self, id: u64, consumer: Arc<CallbackConsumer>) {
        let inbox = Arc::clone(&consumer.inbox);
        let mut state = self.lock();
        let entry = Entry {
            consumer,
            running: 0,
            retries: false,
            ending: false,
        };
        state.consumers.insert(id, entry);
        // Deliveries may have arrived before the consumer was added, and its end too.
        state.ready.insert(id);
        wake(state);
        if let Some(err) = inbox.ended() {
            self.ended(id, err);
        }
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Arc<CallbackConsumer>> {
        self.lock()
            .consumers
            .remove(&id)
            .map(|entry| entry.consumer)
    }

    /// Marks that consumer `id` has a delivery waiting.
    pub(crate) fn ready(&self, id: u64) {
        let mut state = self.lock();
        state.ready.insert(id);
        wake(state);
    }

    /// Removes consumer `id` once its callbacks have seen its waiting deliveries. No more
    /// deliveries arrive for it.
    pub(crate) fn remove_when_empty(&self, id: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.consumers.get_mut(&id) {
            entry.ending = true;
            state.ready.insert(id);
            wake(state);
        }
    }

    /// Records that consumer `id` has ended by itself. May be called twice.
    pub(crate) fn ended(&self, id: u64, err: Error) {
        let mut state = self.lock();
        let Some(entry) = state.consumers.get_mut(&id).filter(|entry| !entry.ending) else {
            return;
        };
        let mut gone = None;
        // A close from this side is an end, not an error.
        let mut failed = !is_local_close(&err);
        if err.scope() == ErrorScope::Operation {
            // Its queue is deleted, and the waiting deliveries may be the last copies.
            entry.ending = true;
            state.ready.insert(id);
        } else {
            // One close ends all consumers of the channel, and is reported once.
            failed = failed && entry.consumer.channel.first_to_tell();
            gone = state.consumers.remove(&id);
        }
        if failed {
            state.failures.push_back(err);
        }
        wake(state);
        drop(gone);
    }

    /// Drops the consumers, and so their channels, when no handle is left that could process
    /// events.
    pub(crate) fn abandon(&self) {
        let consumers = std::mem::take(&mut self.lock().consumers);
        drop(consumers);
    }

    /// Ends processing: the connection is closed.
    pub(crate) fn close(&self, end: Result<()>) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.tell_quiet();
        wake(state);
    }

    /// Allows one runner at a time, so that callbacks start in order.
    pub(super) fn begin(&self) -> Result<()> {
        let mut state = self.lock();
        if state.processing {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "process_events() is running on this connection already",
            ));
        }
        state.processing = true;
        Ok(())
    }

    /// Ends the runner, whose running callbacks have been dropped.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        let State {
            consumers, ready, ..
        } = &mut *state;
        for (id, entry) in consumers {
            entry.running = 0;
            ready.insert(*id);
        }
        state.processing = false;
        state.running = 0;
        state.tell_quiet();
    }

    /// Returns the state of processing, now that the callbacks of the consumers `finished` have
    /// ended. If processing can go on and `may_start` is true, takes one delivery of each consumer
    /// that has one and room for it, in the order of registration. Both are done in one call, since
    /// it is made once per message.
    pub(super) fn proceed(
        &self,
        finished: &mut Vec<Finished>,
        may_start: bool,
        starts: &mut Vec<Start>,
    ) -> Standing {
        let mut gone = Vec::new();
        // Deliveries are requeued as they are dropped, which must not happen under the lock.
        let mut dropped = Vec::new();
        let mut state = self.lock();
        for finished in finished.drain(..) {
            dropped.extend(state.finished(finished));
        }
        state.wake_due();
        let standing = state.standing();
        if may_start && matches!(standing, Standing::Good) {
            state.sweep(starts, &mut gone);
        }
        drop(state);
        drop((gone, dropped));
        standing
    }

    /// Waits until no callback runs, and none is to start for a consumer that has ended. If no
    /// runner processes events, it returns at once.
    pub(crate) async fn quiet(&self) {
        let (told, quiet) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.is_quiet() {
                return;
            }
            state.quiet.push(told);
        }
        // The error is the answer: the sender was dropped.
        let _ = quiet.await;
    }

    /// Number of running callbacks.
    pub(crate) fn running(&self) -> usize {
        self.lock().running
    }

    /// Takes the oldest error of a consumer that ended by itself and that has not been returned
    /// yet.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.lock().failures.pop_front()
    }

    /// Wakes `cx` when there is something new for a runner that found a failure if `failed`, and
    /// that may start callbacks if `may_start`.
    pub(super) fn wait(&self, cx: &Context<'_>, failed: bool, may_start: bool) -> Waiting {
        let mut state = self.lock();
        let old = state.waker.replace(cx.waker().clone());
        let nothing_new = state.end.is_none()
            && (failed || state.failures.is_empty())
            && (!may_start || state.ready.0.is_empty());
        let due = state.due.first().map(|(due, _)| *due);
        drop(state);
        drop(old);
        match nothing_new {
            true => Waiting::Until(due.filter(|_| may_start)),
            false => Waiting::Not,
        }
    }

    /// Counts a loss of a message's channel while its callback ran, and returns the number of such
    /// losses.
    pub(super) fn lost_while_running(&self, message: u64) -> u32 {
        let lost = &mut self.lock().lost;
        if lost.len() >= REMEMBERED && !lost.contains_key(&message) {
            lost.clear();
        }
        let times = lost.entry(message).or_default();
        *times = times.saturating_add(1);
        *times
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    /// Records that a callback has ended. Returns its delivery if no consumer is left to retry it.
    fn finished(&mut self, finished: Finished) -> Option<Retry> {
        let Finished { id, mut retry } = finished;
        self.running -= 1;
        if let Some(entry) = self.consumers.get_mut(&id) {
            let had_no_room = entry.running >= entry.consumer.settings.concurrency;
            entry.running -= 1;
            if let Some(again) = retry.take() {
                let due = again.due;
                retry = entry.consumer.inbox.retry(again);
                if retry.is_none() {
                    entry.retries = true;
                    self.due.insert((due, id));
                }
            }
            // Otherwise the consumer is ready as soon as it has a delivery.
            if had_no_room || entry.retries {
                self.ready.insert(id);
            }
        }
        self.tell_quiet();
        retry
    }

    /// Marks the consumers ready whose time to retry has come.
    fn wake_due(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((due, id)) = self.due.pop_first() {
            if due > now {
                self.due.insert((due, id));
                return;
            }
            self.ready.insert(id);
        }
    }

    /// State of processing.
    fn standing(&self) -> Standing {
        // The end of the connection is the reason for everything that ended with it.
        match &self.end {
            Some(end) => Standing::Over(end.clone()),
            None if self.failures.is_empty() => Standing::Good,
            None => Standing::Failed,
        }
    }

    /// Takes the deliveries whose callbacks are to start now. Consumers that have ended go to
    /// `gone`, to be dropped once the state is not locked.
    fn sweep(&mut self, starts: &mut Vec<Start>, gone: &mut Vec<Entry>) {
        let Self {
            consumers,
            ready,
            running,
            ..
        } = self;
        ready.0.retain(|&id| {
            let Some(entry) = consumers.get_mut(&id) else {
                return false;
            };
            // A consumer without room is ready again when one of its callbacks ends.
            if entry.running >= entry.consumer.settings.concurrency {
                return false;
            }
            let concurrency = entry.consumer.settings.concurrency;
            let (attempt, more) = match entry.consumer.inbox.next(entry.running, concurrency) {
                Next::Attempt(attempt, more) => (attempt, more),
                Next::Full => return false,
                Next::Empty { retrying } => {
                    if entry.ending && !retrying {
                        gone.extend(consumers.remove(&id));
                    }
                    return false;
                }
            };
            entry.running += 1;
            *running += 1;
            starts.push(Start {
                id,
                handler: Arc::clone(&entry.consumer.handler),
                settings: entry.consumer.settings,
                attempt,
            });
            more
        });
        if !gone.is_empty() {
            self.tell_quiet();
        }
    }

    fn is_quiet(&self) -> bool {
        let draining = self.consumers.values().any(|entry| entry.ending);
        !self.processing || (self.running == 0 && !draining)
    }

    fn tell_quiet(&mut self) {
        if !self.quiet.is_empty() && self.is_quiet() {
            self.quiet.clear();
        }
    }
}

/// Wakes the runner once the lock is released.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_new(dispatch: &Dispatch, failed: bool, may_start: bool) -> bool {
        let cx = Context::from_waker(Waker::noop());
        matches!(dispatch.wait(&cx, failed, may_start), Waiting::Until(_))
    }

    #[test]
    fn an_end_that_comes_just_before_the_wait_is_seen() {
        let dispatch = Dispatch::default();
        assert!(nothing_new(&dispatch, false, false));
        dispatch.close(Ok(()));
        assert!(!nothing_new(&dispatch, false, false));
    }

    #[test]
    fn a_delivery_is_new_for_a_runner_that_may_start_it() {
        let dispatch = Dispatch::default();
        dispatch.ready(1);
        assert!(!nothing_new(&dispatch, false, true));
        assert!(nothing_new(&dispatch, false, false));
    }
}
