//! Inbox: the waiting deliveries of one consumer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use mooq_core::{Deliver, Error, QueueName};
use tokio::time::Instant;

use super::generation::{Generation, Source};
use crate::consumer::{Attempt, Dispatch, Retry};
use crate::delivery::Unsettled;
use crate::lock::lock;
use crate::reasons::closed_locally;

/// The deliveries of one consumer, in order. The prefetch bounds their number.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// True if the broker counts the deliveries as done: they outlive their channel's generation.
    no_ack: bool,
    /// Receiver of the notice that there are deliveries: the dispatch for callbacks, or if none,
    /// the stream that polls.
    callback: Option<Addressee>,
}

/// The callback consumer with this id in the dispatch.
#[derive(Debug)]
pub(crate) struct Addressee {
    pub(crate) dispatch: Weak<Dispatch>,
    pub(crate) id: u64,
}

/// Next work of a callback.
#[derive(Debug)]
pub(crate) enum Next {
    /// This attempt, and true if there may be more.
    Attempt(Attempt, bool),
    /// Nothing until a retry is due or has ended: retries take up the consumer's concurrency.
    Full,
    /// Nothing, except for retries that may come later.
    Empty {
        /// True if there are such retries.
        retrying: bool,
    },
}

#[derive(Debug)]
struct State {
    source: Arc<Source>,
    waiting: VecDeque<Deliver>,
    /// Failed deliveries to retry.
    retries: Vec<Retry>,
    stream: Option<Waker>,
    /// Reason for the end of the deliveries.
    end: Option<Error>,
}

impl Inbox {
    /// Makes the inbox of a consumer whose deliveries go to `callback`, or if none, to a stream.
    pub(crate) fn new(source: Source, no_ack: bool, callback: Option<Addressee>) -> Self {
        Self {
            state: Mutex::new(State {
                source: Arc::new(source),
                waiting: VecDeque::new(),
                retries: Vec::new(),
                stream: None,
                end: None,
            }),
            no_ack,
            callback,
        }
    }

    /// Returns the current name of the consumer's queue.
    pub(crate) fn queue(&self) -> QueueName {
        self.lock().source.queue.clone()
    }

    /// Prepares the inbox for the consumer's re-registration on `source`. Deliveries of a
    /// generation that was lost before it was in use must not be taken for the new one's.
    pub(crate) fn renew(&self, source: Source) {
        // Both under one lock, so that no delivery is taken in between.
        let mut state = self.lock();
        state.source = Arc::new(source);
        let old = match self.no_ack {
            true => (Vec::new(), VecDeque::new()),
            false => state.drain(),
        };
        drop(state);
        drop(old);
    }

    /// Drops the waiting deliveries, which the broker has requeued: the channel's generation is
    /// lost.
    pub(super) fn lose(&self) {
        if !self.no_ack {
            drop(self.drain());
        }
    }

    /// Drops them if the consumer is on `generation`.
    pub(super) fn lose_from(&self, generation: &Arc<Generation>) {
        if Arc::ptr_eq(&self.lock().source.generation, generation) {
            self.lose();
        }
    }

    /// Adds deliveries of `generation`. The broker has requeued those of earlier generations.
    pub(super) fn push(
        &self,
        delivers: impl Iterator<Item = Deliver>,
        generation: &Weak<Generation>,
    ) {
        let mut state = self.lock();
        let present = Arc::as_ptr(&state.source.generation);
        if !self.no_ack && !std::ptr::eq(present, generation.as_ptr()) {
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend(delivers);
        if was_empty {
            self.tell(state, Dispatch::ready);
        }
    }

    /// Ends the inbox: no more deliveries arrive. Waiting deliveries can still be taken, but their
    /// channel may be gone.
    pub(super) fn end(&self, err: Error) {
        let mut state = self.lock();
        state.end.get_or_insert_with(|| err.clone());
        self.tell(state, |dispatch, id| dispatch.ended(id, err));
    }

    /// Notifies the receiver of deliveries, after the lock is released.
    fn tell(&self, mut state: MutexGuard<'_, State>, callback: impl FnOnce(&Dispatch, u64)) {
        let stream = state.stream.take();
        drop(state);
        if let Some(waker) = stream {
            waker.wake();
        }
        if let Some(Addressee { dispatch, id }) = &self.callback
            && let Some(dispatch) = dispatch.upgrade()
        {
            callback(&dispatch, *id);
        }
    }

    /// Takes the oldest delivery with its source, and true if more wait.
    #[inline]
    pub(crate) fn pop(&self) -> Option<(Deliver, Arc<Source>, bool)> {
        let mut state = self.lock();
        let deliver = state.waiting.pop_front()?;
        let more = !state.waiting.is_empty();
        Some((deliver, Arc::clone(&state.source), more))
    }

    /// Returns the callback's next work, with `running` of at most `concurrency` calls running.
    #[inline]
    pub(crate) fn next(&self, running: usize, concurrency: usize) -> Next {
        let mut state = self.lock();
        if !state.retries.is_empty() {
            let now = Instant::now();
            if let Some(due) = state.retries.iter().position(|retry| retry.due <= now) {
                return Next::Attempt(state.retries.remove(due).attempt, true);
            }
            if running + state.retries.len() >= concurrency {
                return Next::Full;
            }
        }
        let Some(deliver) = state.waiting.pop_front() else {
            let retrying = !state.retries.is_empty();
            return Next::Empty { retrying };
        };
        let unsettled =
            (!self.no_ack).then(|| Unsettled::new(Arc::clone(&state.source), deliver.delivery_tag));
        let attempt = Attempt {
            deliver,
            queue: state.source.queue.clone(),
            unsettled,
            failures: 0,
        };
        Next::Attempt(attempt, !state.waiting.is_empty())
    }

    /// Keeps a delivery until its retry. Returns it to the caller if its channel was lost
    /// meanwhile: the broker redelivers it.
    pub(crate) fn retry(&self, retry: Retry) -> Option<Retry> {
        let mut state = self.lock();
        let unsettled = retry.attempt.unsettled.as_ref();
        if unsettled.is_some_and(|unsettled| unsettled.is_from(&state.source)) {
            state.retries.push(retry);
            return None;
        }
        Some(retry)
    }

    /// Takes the oldest delivery with its source, or returns the reason why no more arrive.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<(Deliver, Arc<Source>), Error>> {
        let mut state = self.lock();
        if let Some(deliver) = state.waiting.pop_front() {
            return Poll::Ready(Ok((deliver, Arc::clone(&state.source))));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Err(end.clone()));
        }
        let old = state.stream.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Returns the reason why no more deliveries arrive, if none will.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().end.clone()
    }

    /// Handles the consumer's cancellation from this side, when its last delivery has arrived.
    /// Deliveries whose callback has not started are requeued. With automatic acknowledgement they
    /// are still processed, since the broker will not redeliver them.
    pub(crate) fn cancelled(&self, dispatch: &Dispatch) {
        match &self.callback {
            Some(Addressee { id, .. }) if self.no_ack => dispatch.remove_when_empty(*id),
            Some(Addressee { id, .. }) => {
                drop(dispatch.remove(*id));
                self.give_back();
            }
            // A stream yields the waiting deliveries, and ends.
            None => self.end(closed_locally()),
        }
    }

    /// Requeues the waiting deliveries.
    pub(crate) fn give_back(&self) {
        let generation = Arc::clone(&self.lock().source.generation);
        let (mut retries, waiting) = self.drain();
        retries.sort_by_key(|retry| retry.attempt.deliver.delivery_tag);
        // Each is requeued as it is dropped, the older ones first.
        retries.into_iter().for_each(drop);
        for deliver in waiting {
            if !self.no_ack {
                generation.give_back(deliver.delivery_tag);
            }
        }
    }

    /// Returns true if a stream takes the deliveries.
    pub(super) fn is_stream(&self) -> bool {
        self.callback.is_none()
    }

    /// Forgets the waiting deliveries, which the broker requeues when the channel closes. True if
    /// deliveries have been handed out that may yet be settled.
    pub(super) fn abandon(&self) -> bool {
        let (retries, waiting) = self.drain();
        for retry in retries {
            if let Some(unsettled) = retry.attempt.unsettled {
                unsettled.forget();
            }
        }
        drop(waiting);
        Arc::strong_count(&self.lock().source) > 1
    }

    fn drain(&self) -> (Vec<Retry>, VecDeque<Deliver>) {
        self.lock().drain()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn drain(&mut self) -> (Vec<Retry>, VecDeque<Deliver>) {
        let retries = std::mem::take(&mut self.retries);
        (retries, std::mem::take(&mut self.waiting))
    }
}
