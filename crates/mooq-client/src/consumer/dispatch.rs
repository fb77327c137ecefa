//! Which callbacks may start.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use foldhash::fast::RandomState;
use mooq_core::{Deliver, Error, ErrorKind, ErrorScope, Result};
use tokio::sync::oneshot;

use super::handler::{CallbackConsumer, Handler, Settings};
use crate::channel::{Source, closed_here};
use crate::lock::lock;

/// The callback consumers of a connection, and which of them have deliveries waiting.
///
/// A callback may own the last handle of its connection, whose drop comes back here: so a
/// consumer is never dropped while the state is locked.
#[derive(Debug, Default)]
pub(crate) struct Dispatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    consumers: HashMap<u64, Entry, RandomState>,
    /// Consumers that may have a delivery waiting and room to start it.
    ready: Ready,
    /// Consumers that ended by themselves, to be told by `process_events`.
    failures: VecDeque<Error>,
    /// Set once the connection is closed: an error unless it was closed from this side.
    end: Option<Result<()>>,
    processing: bool,
    /// Callbacks that run, those of consumers that are gone among them.
    running: usize,
    waker: Option<Waker>,
    /// Those who wait until no callback runs or is to start.
    quiet: Vec<oneshot::Sender<()>>,
}

/// Ids of consumers, each once. They rise, so that their order is that of registration. A sorted
/// list, since the few consumers of a connection are swept once per message.
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
    /// Nothing more will come: it goes when its inbox is empty.
    ending: bool,
}

/// Whether processing can go on.
pub(super) enum Standing {
    Good,
    /// A consumer has ended by itself, of which nobody was told yet.
    Failed,
    /// The connection is closed: how processing ends.
    Over(Result<()>),
}

/// A callback to be started.
pub(super) struct Start {
    pub(super) id: u64,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) settings: Settings,
    pub(super) deliver: Deliver,
    pub(super) source: Arc<Source>,
}

impl Dispatch {
    /// An id for a consumer about to be added.
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
            ending: false,
        };
        state.consumers.insert(id, entry);
        // Deliveries may have come before it was added, and its end too.
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

    /// Consumer `id` has a delivery waiting.
    pub(crate) fn ready(&self, id: u64) {
        let mut state = self.lock();
        state.ready.insert(id);
        wake(state);
    }

    /// Nothing more will come for consumer `id`, which goes once its callbacks have seen what
    /// waits.
    pub(crate) fn remove_when_empty(&self, id: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.consumers.get_mut(&id) {
            entry.ending = true;
            state.ready.insert(id);
            wake(state);
        }
    }

    /// Consumer `id` has ended, not by its own wish. May be told twice.
    pub(crate) fn ended(&self, id: u64, err: Error) {
        let mut state = self.lock();
        let Some(entry) = state.consumers.get_mut(&id).filter(|entry| !entry.ending) else {
            return;
        };
        let mut gone = None;
        // Closing it oneself is an end, not an error.
        let mut failed = !closed_here(&err);
        if err.scope() == ErrorScope::Operation {
            // Its queue is gone, and these may be the last copies of what waits.
            entry.ending = true;
            state.ready.insert(id);
        } else {
            // One close ends all consumers of the channel, and is told once.
            failed = failed && entry.consumer.channel.first_to_tell();
            gone = state.consumers.remove(&id);
        }
        if failed {
            state.failures.push_back(err);
        }
        wake(state);
        drop(gone);
    }

    /// Nobody is left who could process events: lets go of the consumers, and so of their
    /// channels.
    pub(crate) fn abandon(&self) {
        let consumers = std::mem::take(&mut self.lock().consumers);
        drop(consumers);
    }

    /// The connection is closed.
    pub(crate) fn close(&self, end: Result<()>) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.tell_quiet();
        wake(state);
    }

    /// One runner at a time, so that callbacks start in order.
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

    /// The runner has gone, and its running callbacks with it.
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

    /// Says whether processing can go on, now that the callbacks of the consumers `finished` have
    /// ended. If it can and they `may_start`, takes one delivery of each consumer that has one and
    /// room for it, in the order of registration. All in one, since it is done once per message.
    pub(super) fn proceed(
        &self,
        finished: &mut Vec<u64>,
        may_start: bool,
        starts: &mut Vec<Start>,
    ) -> Standing {
        let mut gone = Vec::new();
        let mut state = self.lock();
        finished.drain(..).for_each(|id| state.finished(id));
        let standing = state.standing();
        if may_start && matches!(standing, Standing::Good) {
            state.sweep(starts, &mut gone);
        }
        drop(state);
        drop(gone);
        standing
    }

    /// Waits until no callback runs, and none is to start for a consumer that has ended. With
    /// nobody who processes events that is at once.
    pub(crate) async fn quiet(&self) {
        let (told, quiet) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.is_quiet() {
                return;
            }
            state.quiet.push(told);
        }
        // An error is the answer: the other end was dropped.
        let _ = quiet.await;
    }

    /// How many callbacks run.
    pub(crate) fn running(&self) -> usize {
        self.lock().running
    }

    /// Why a consumer ended by itself: the oldest reason that was not told yet.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.lock().failures.pop_front()
    }

    /// Has `cx` woken when there is something new for a runner that found things `failed` or not
    /// and that may start callbacks or not. False if there is already.
    pub(super) fn wait(&self, cx: &Context<'_>, failed: bool, may_start: bool) -> bool {
        let mut state = self.lock();
        let old = state.waker.replace(cx.waker().clone());
        let nothing_new = state.end.is_none()
            && (failed || state.failures.is_empty())
            && (!may_start || state.ready.0.is_empty());
        drop(state);
        drop(old);
        nothing_new
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    /// A callback of consumer `id` has ended.
    fn finished(&mut self, id: u64) {
        self.running -= 1;
        self.tell_quiet();
        if let Some(entry) = self.consumers.get_mut(&id) {
            let had_no_room = entry.running >= entry.consumer.settings.concurrency;
            entry.running -= 1;
            // Otherwise it is ready as soon as it has a delivery.
            if had_no_room {
                self.ready.insert(id);
            }
        }
    }

    /// Whether processing can go on.
    fn standing(&self) -> Standing {
        // The end of the connection is the reason of all that ended with it.
        match &self.end {
            Some(end) => Standing::Over(end.clone()),
            None if self.failures.is_empty() => Standing::Good,
            None => Standing::Failed,
        }
    }

    /// Takes the deliveries whose callbacks are to start now. Consumers that have come to their
    /// end go to `gone`, to be dropped once the state is not locked.
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
            // One without room is ready again when a callback of it ends.
            if entry.running >= entry.consumer.settings.concurrency {
                return false;
            }
            let Some((deliver, source, more)) = entry.consumer.inbox.pop() else {
                if entry.ending {
                    gone.extend(consumers.remove(&id));
                }
                return false;
            };
            entry.running += 1;
            *running += 1;
            starts.push(Start {
                id,
                handler: Arc::clone(&entry.consumer.handler),
                settings: entry.consumer.settings,
                deliver,
                source,
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
        dispatch.wait(&Context::from_waker(Waker::noop()), failed, may_start)
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
