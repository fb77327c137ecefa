//! Where the deliveries of one consumer wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use mooq_core::{Deliver, Error, QueueName};

use crate::consumer::Dispatch;

/// The deliveries of one consumer, in order. The prefetch bounds how many there are.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: QueueName,
    state: Mutex<State>,
    /// Who is told that there is something: the dispatch for callbacks, else the stream that
    /// polls.
    callback: Option<(Weak<Dispatch>, u64)>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Deliver>,
    stream: Option<Waker>,
    /// Why nothing more will come.
    end: Option<Error>,
}

impl Inbox {
    /// An inbox that a stream polls.
    pub(crate) fn for_stream(queue: QueueName) -> Self {
        Self {
            queue,
            state: Mutex::default(),
            callback: None,
        }
    }

    /// An inbox whose deliveries the dispatch starts callbacks for, as its consumer `id`.
    pub(crate) fn for_callback(queue: QueueName, dispatch: Weak<Dispatch>, id: u64) -> Self {
        Self {
            queue,
            state: Mutex::default(),
            callback: Some((dispatch, id)),
        }
    }

    /// The queue that the deliveries come from.
    pub(super) fn queue(&self) -> &QueueName {
        &self.queue
    }

    pub(super) fn push(&self, deliver: Deliver) {
        let mut state = self.lock();
        let was_empty = state.waiting.is_empty();
        state.waiting.push_back(deliver);
        if was_empty {
            self.tell(state, Dispatch::ready);
        }
    }

    /// Nothing more will come. What waits can still be taken, but its channel may be gone.
    pub(super) fn end(&self, err: Error) {
        let mut state = self.lock();
        state.end.get_or_insert_with(|| err.clone());
        self.tell(state, |dispatch, id| dispatch.ended(id, err));
    }

    /// Tells whoever takes deliveries, after the lock is released.
    fn tell(&self, mut state: MutexGuard<'_, State>, callback: impl FnOnce(&Dispatch, u64)) {
        let stream = state.stream.take();
        drop(state);
        if let Some(waker) = stream {
            waker.wake();
        }
        if let Some((dispatch, id)) = &self.callback
            && let Some(dispatch) = dispatch.upgrade()
        {
            callback(&dispatch, *id);
        }
    }

    /// The oldest delivery, and whether more wait.
    pub(crate) fn pop(&self) -> Option<(Deliver, bool)> {
        let mut state = self.lock();
        let deliver = state.waiting.pop_front()?;
        Some((deliver, !state.waiting.is_empty()))
    }

    /// The oldest delivery, or the reason why none will come.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Deliver, Error>> {
        let mut state = self.lock();
        if let Some(deliver) = state.waiting.pop_front() {
            return Poll::Ready(Ok(deliver));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Err(end.clone()));
        }
        let old = state.stream.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Why nothing more will come, if nothing will.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().end.clone()
    }

    /// Everything that waits, for giving it back to the broker.
    pub(crate) fn drain(&self) -> VecDeque<Deliver> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
