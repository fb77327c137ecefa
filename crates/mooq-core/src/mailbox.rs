//! A mailbox, which carries events in order from a transport to the runtime above it.
//!
//! A mailbox belongs to no async runtime. Sending never waits and never blocks for long: the
//! protocol bounds a mailbox (prefetch for deliveries, publishes in flight for confirms). Nothing
//! bounds deliveries that need no acknowledgement. Receiving takes everything that waits in one go,
//! so that a burst costs one lock.
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

use crate::in_flight::InFlightCount;

/// Creates an empty mailbox.
#[must_use]
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    make(None)
}

/// Creates an empty mailbox that counts in `count`, as one thing, while it has unhandled items:
/// from the moment an item arrives until the receiver, having taken everything, asks for more or is
/// dropped.
///
/// ```
/// use mooq_core::in_flight::InFlightCount;
///
/// let count = InFlightCount::new(|| ());
/// let (sender, mut receiver) = mooq_core::mailbox::counted_mailbox(count.clone());
/// sender.send("first");
/// sender.send("second");
/// while let Some(item) = receiver.try_recv() {
///     assert_eq!(count.get(), 1, "{item} is not handled yet");
/// }
/// assert_eq!(count.get(), 0);
/// ```
#[must_use]
pub fn counted_mailbox<T>(count: InFlightCount) -> (Sender<T>, Receiver<T>) {
    make(Some(count))
}

fn make<T>(count: Option<InFlightCount>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(State {
        waiting: VecDeque::new(),
        count: count.clone(),
        counts: false,
        receiver: None,
        senders: 1,
        receiver_gone: false,
    }));
    let sender = Sender {
        shared: Arc::clone(&shared),
    };
    let receiver = Receiver {
        shared,
        count,
        watcher: None,
    };
    (sender, receiver)
}

struct State<T> {
    waiting: VecDeque<T>,
    count: Option<InFlightCount>,
    /// True while the mailbox is counted.
    counts: bool,
    /// Set while the receiver waits.
    receiver: Option<Waker>,
    senders: usize,
    receiver_gone: bool,
}

/// Locks the state. A panic elsewhere cannot leave the state half changed: every change is one
/// statement.
fn lock<T>(shared: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sending end. The mailbox ends when the last sender is dropped.
pub struct Sender<T> {
    shared: Arc<Mutex<State<T>>>,
}

impl<T> Sender<T> {
    /// Puts `item` at the end and wakes the receiver. If the receiver is gone, `item` is dropped at
    /// once.
    pub fn send(&self, item: T) {
        if let Some(waker) = self.push(item) {
            waker.wake();
        }
    }

    /// Puts `item` at the end and returns the receiver's waker, if the receiver waits: for senders
    /// that hold a lock of their own and wake only after releasing it.
    #[must_use = "the receiver sleeps on until it is woken"]
    pub fn push(&self, item: T) -> Option<Waker> {
        let mut state = lock(&self.shared);
        if state.receiver_gone {
            return None;
        }
        state.waiting.push_back(item);
        if !state.counts
            && let Some(count) = &state.count
        {
            count.add();
            state.counts = true;
        }
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
    count: Option<InFlightCount>,
    watcher: Option<Watcher<T>>,
}

/// Sees each item as it is taken.
type Watcher<T> = Box<dyn FnMut(&T) + Send + Sync>;

impl<T> Receiver<T> {
    /// Calls `watcher` with each item as it is taken, before it is returned: for transports that
    /// stand around another one.
    pub fn watch(&mut self, watcher: impl FnMut(&T) + Send + Sync + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    /// Another sending end: for a layer between a transport and the runtime above, which adds events
    /// of its own.
    #[must_use]
    pub fn sender(&self) -> Sender<T> {
        lock(&self.shared).senders += 1;
        Sender {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Appends all waiting items to `batch`, in order. Resolves to `true` after appending items; to
    /// `false` when the mailbox is empty and has no senders.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>, batch: &mut VecDeque<T>) -> Poll<bool> {
        let mut state = lock(&self.shared);
        if state.waiting.is_empty() {
            return self.wait(state, cx).map(|()| false);
        }
        let before = batch.len();
        if before == 0 {
            // Swapping keeps both buffers, so that a steady flow allocates nothing.
            std::mem::swap(&mut state.waiting, batch);
        } else {
            batch.append(&mut state.waiting);
        }
        drop(state);
        if let Some(watcher) = &mut self.watcher {
            batch.iter().skip(before).for_each(watcher);
        }
        Poll::Ready(true)
    }

    /// Takes the oldest item, without waiting.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut state = lock(&self.shared);
        let item = state.waiting.pop_front();
        match item {
            Some(_) => drop(state),
            None => self.handled(state),
        }
        self.taken(item)
    }

    fn taken(&mut self, item: Option<T>) -> Option<T> {
        if let (Some(watcher), Some(item)) = (&mut self.watcher, &item) {
            watcher(item);
        }
        item
    }

    /// Ends the counting, as everything that was in the mailbox is handled. Ready when no sender is
    /// left; otherwise stores the waker.
    fn wait(&self, mut state: MutexGuard<'_, State<T>>, cx: &Context<'_>) -> Poll<()> {
        let poll = if state.senders == 0 {
            Poll::Ready(())
        } else {
            match &mut state.receiver {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        };
        self.handled(state);
        poll
    }

    /// Ends the counting, after releasing the lock: ending it may wake a task.
    fn handled(&self, mut state: MutexGuard<'_, State<T>>) {
        let counted = std::mem::take(&mut state.counts);
        drop(state);
        if let Some(count) = &self.count
            && counted
        {
            count.subtract();
        }
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.shared);
        let Some(item) = state.waiting.pop_front() else {
            return self.wait(state, cx).map(|()| None);
        };
        drop(state);
        Poll::Ready(self.taken(Some(item)))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.receiver_gone = true;
        let unread = std::mem::take(&mut state.waiting);
        let waker = state.receiver.take();
        self.handled(state);
        // Dropping either may run arbitrary code, so both are dropped after the lock.
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
