//! The ordered way of events from a transport to the runtime above it.
//!
//! A mailbox belongs to no async runtime. Sending never waits and never blocks for long: what
//! bounds a mailbox is the protocol (prefetch for deliveries, publishes in flight for confirms).
//! Receiving takes everything that waits in one go, so that a burst costs one lock.
//!
//! ```
//! use std::collections::VecDeque;
//! use std::future::poll_fn;
//!
//! let (sender, mut receiver) = mooq_core::mailbox::mailbox();
//! sender.send("first");
//! sender.send("second");
//! drop(sender);
//!
//! # futures_util::FutureExt::now_or_never(async {
//! let mut batch = VecDeque::new();
//! assert!(poll_fn(|cx| receiver.poll_batch(cx, &mut batch)).await);
//! assert_eq!(batch, ["first", "second"]);
//! batch.clear();
//! assert!(!poll_fn(|cx| receiver.poll_batch(cx, &mut batch)).await, "no sender is left");
//! # }).unwrap();
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

/// Makes an empty mailbox.
#[must_use]
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(State {
        waiting: VecDeque::new(),
        receiver: None,
        senders: 1,
        receiver_gone: false,
    }));
    let sender = Sender {
        shared: Arc::clone(&shared),
    };
    (sender, Receiver { shared })
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Set while the receiver waits.
    receiver: Option<Waker>,
    senders: usize,
    receiver_gone: bool,
}

/// A panic elsewhere cannot leave the state half changed: every change is one statement.
fn lock<T>(shared: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sending end. The mailbox ends when the last one is dropped.
pub struct Sender<T> {
    shared: Arc<Mutex<State<T>>>,
}

impl<T> Sender<T> {
    /// Puts `item` at the end and wakes the receiver. Dropped at once if the receiver is gone.
    pub fn send(&self, item: T) {
        if let Some(waker) = self.push(item) {
            waker.wake();
        }
    }

    /// Puts `item` at the end and returns the receiver's waker, if it waits: for senders that
    /// hold a lock of their own and wake only after releasing it.
    #[must_use = "the receiver sleeps on until it is woken"]
    pub fn push(&self, item: T) -> Option<Waker> {
        let mut state = lock(&self.shared);
        if state.receiver_gone {
            return None;
        }
        state.waiting.push_back(item);
        state.receiver.take()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.shared).senders += 1;
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.senders -= 1;
        if state.senders == 0
            && let Some(waker) = state.receiver.take()
        {
            drop(state);
            waker.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.shared).waiting.len();
        f.debug_struct("Sender").field("waiting", &waiting).finish()
    }
}

/// The receiving end.
pub struct Receiver<T> {
    shared: Arc<Mutex<State<T>>>,
}

impl<T> Receiver<T> {
    /// Appends everything that waits to `batch`, in order. Ready with `true` once there was
    /// something, with `false` when the mailbox is empty and every sender is gone.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>, batch: &mut VecDeque<T>) -> Poll<bool> {
        let mut state = lock(&self.shared);
        if state.waiting.is_empty() {
            return state.wait(cx).map(|()| false);
        }
        if batch.is_empty() {
            // Swapping keeps both buffers, so that a steady flow allocates nothing.
            std::mem::swap(&mut state.waiting, batch);
        } else {
            batch.append(&mut state.waiting);
        }
        Poll::Ready(true)
    }

    /// Takes the oldest item, without waiting.
    pub fn try_recv(&mut self) -> Option<T> {
        lock(&self.shared).waiting.pop_front()
    }
}

impl<T> State<T> {
    /// Ready when no sender is left; else remembers whom to wake.
    fn wait(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.senders == 0 {
            return Poll::Ready(());
        }
        match &mut self.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.shared);
        match state.waiting.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None => state.wait(cx).map(|()| None),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.receiver_gone = true;
        let unread = std::mem::take(&mut state.waiting);
        let waker = state.receiver.take();
        drop(state);
        // Both may run code of their own when dropped, so they go after the lock.
        drop((unread, waker));
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.shared).waiting.len();
        f.debug_struct("Receiver")
            .field("waiting", &waiting)
            .finish()
    }
}
