//! Where the deliveries of one consumer wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use mooq_core::{Deliver, Error, QueueName};

use super::generation::{Generation, Source};
use crate::connection::closed_here;
use crate::consumer::Dispatch;
use crate::lock::lock;

/// The deliveries of one consumer, in order. The prefetch bounds how many there are.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// The broker counts them as done: they outlive their channel's generation.
    no_ack: bool,
    /// Who is told that there is something: the dispatch for callbacks, else the stream that
    /// polls.
    callback: Option<Addressee>,
}

/// The callback consumer that the dispatch knows by this id.
#[derive(Debug)]
pub(crate) struct Addressee {
    pub(crate) dispatch: Weak<Dispatch>,
    pub(crate) id: u64,
}

#[derive(Debug)]
struct State {
    source: Arc<Source>,
    waiting: VecDeque<Deliver>,
    stream: Option<Waker>,
    /// Why nothing more will come.
    end: Option<Error>,
}

impl Inbox {
    /// The inbox of a consumer whose deliveries go to `callback`, or else to a stream.
    pub(crate) fn new(source: Source, no_ack: bool, callback: Option<Addressee>) -> Self {
        Self {
            state: Mutex::new(State {
                source: Arc::new(source),
                waiting: VecDeque::new(),
                stream: None,
                end: None,
            }),
            no_ack,
            callback,
        }
    }

    /// The queue that the deliveries come from, as it is called now.
    pub(crate) fn queue(&self) -> QueueName {
        self.lock().source.queue.clone()
    }

    /// The consumer is about to be registered again. What came from a generation that was lost
    /// before it was in use is not to be taken for the new one's.
    pub(crate) fn renew(&self, source: Source) {
        // In one go, so that nothing is taken in between.
        let mut state = self.lock();
        state.source = Arc::new(source);
        let old = match self.no_ack {
            true => VecDeque::new(),
            false => std::mem::take(&mut state.waiting),
        };
        drop(state);
        drop(old);
    }

    /// The channel's generation is lost: the broker has taken back what waits.
    pub(super) fn lose(&self) {
        if !self.no_ack {
            drop(self.drain());
        }
    }

    /// The same, if the consumer is on `generation`.
    pub(super) fn lose_from(&self, generation: &Arc<Generation>) {
        if Arc::ptr_eq(&self.lock().source.generation, generation) {
            self.lose();
        }
    }

    /// Takes deliveries that came on `generation`. Those from before are back with the broker.
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
        if let Some(Addressee { dispatch, id }) = &self.callback
            && let Some(dispatch) = dispatch.upgrade()
        {
            callback(&dispatch, *id);
        }
    }

    /// The oldest delivery with its source, and whether more wait.
    #[inline]
    pub(crate) fn pop(&self) -> Option<(Deliver, Arc<Source>, bool)> {
        let mut state = self.lock();
        let deliver = state.waiting.pop_front()?;
        let more = !state.waiting.is_empty();
        Some((deliver, Arc::clone(&state.source), more))
    }

    /// The oldest delivery with its source, or the reason why none will come.
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

    /// Why nothing more will come, if nothing will.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().end.clone()
    }

    /// The consumer was cancelled from this side, and all that came for it is here. What was not
    /// begun goes back to the queue, or with automatic acknowledgement is still to be seen: the
    /// broker will not deliver it again.
    pub(crate) fn cancelled(&self, dispatch: &Dispatch) {
        match &self.callback {
            Some(Addressee { id, .. }) if self.no_ack => dispatch.remove_when_empty(*id),
            Some(Addressee { id, .. }) => {
                drop(dispatch.remove(*id));
                self.give_back();
            }
            // A stream gives out what waits, and ends.
            None => self.end(closed_here()),
        }
    }

    /// Gives everything that waits back to the broker.
    pub(crate) fn give_back(&self) {
        let generation = Arc::clone(&self.lock().source.generation);
        for deliver in self.drain() {
            if !self.no_ack {
                generation.give_back(deliver.delivery_tag);
            }
        }
    }

    fn drain(&self) -> VecDeque<Deliver> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
