//! How deliveries come together in a batch.
//!
//! Each delivery has a call of its own, with its own settlement, retries and cancellation. A call
//! puts its delivery into the open batch, and waits. The first call that finds the batch full or
//! overdue closes it, runs the callback, and passes the outcomes to the others.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use mooq_client::{Callback, CallbackError, Delivery, Outcome, hooks};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use crate::batches::{BatchFailed, IntoBatchOutcome, Reason};

/// A callback for batches, called with single deliveries.
pub(crate) struct Batching<T, F> {
    size: usize,
    within: Duration,
    callback: F,
    /// The batch that is not full yet.
    open: Mutex<Option<Arc<Batch<T>>>>,
}

struct Batch<T> {
    /// The deliveries, by the order in which they came. Empty once the callback has them.
    members: Mutex<Vec<Member<T>>>,
    opened: Instant,
    full: Notify,
}

struct Member<T> {
    number: u64,
    delivery: Delivery<T>,
    outcome: oneshot::Sender<Ended>,
}

type Ended = Result<Outcome, BatchFailed>;

/// The place of a waiting delivery, which is left if its call is dropped.
struct Place<T> {
    batch: Arc<Batch<T>>,
    number: u64,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        lock(&self.batch.members).retain(|member| member.number != self.number);
    }
}

impl<T, F> Batching<T, F> {
    pub(crate) fn new(size: usize, within: Duration, callback: F) -> Self {
        Self {
            size,
            within,
            callback,
            open: Mutex::new(None),
        }
    }

    /// Puts a delivery into the open batch.
    fn join(&self, delivery: Delivery<T>) -> (Place<T>, oneshot::Receiver<Ended>) {
        let (outcome, receiver) = oneshot::channel();
        let mut open = lock(&self.open);
        // One that all have left may be overdue.
        open.take_if(|batch| lock(&batch.members).is_empty());
        let batch = open.get_or_insert_with(|| {
            Arc::new(Batch {
                members: Mutex::new(Vec::new()),
                opened: Instant::now(),
                full: Notify::new(),
            })
        });
        let batch = Arc::clone(batch);
        let mut members = lock(&batch.members);
        let number = members.last().map_or(0, |last| last.number + 1);
        members.push(Member {
            number,
            delivery,
            outcome,
        });
        if members.len() >= self.size {
            *open = None;
            batch.full.notify_one();
        }
        drop(members);
        (Place { batch, number }, receiver)
    }

    /// Closes a batch, and takes its deliveries. Empty if another call has them.
    fn close(&self, batch: &Arc<Batch<T>>) -> Vec<Member<T>> {
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) {
            *open = None;
        }
        std::mem::take(&mut *lock(&batch.members))
    }
}

impl<T, F, Fut> Callback<T> for Batching<T, F>
where
    T: Send + 'static,
    F: Fn(Vec<Delivery<T>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoBatchOutcome> + Send,
{
    async fn call(&self, delivery: Delivery<T>) -> Result<Outcome, CallbackError> {
        let (place, mut own) = self.join(delivery);
        let left = self.within.saturating_sub(place.batch.opened.elapsed());
        tokio::select! {
            biased;
            ended = &mut own => return ended_as(ended),
            () = place.batch.full.notified() => {}
            () = sleep(left) => {}
        }
        let members = self.close(&place.batch);
        if !members.is_empty() {
            self.run(members).await;
        }
        ended_as(own.await)
    }
}

impl<T, F, Fut> Batching<T, F>
where
    F: Fn(Vec<Delivery<T>>) -> Fut,
    Fut: Future<Output: IntoBatchOutcome>,
{
    /// Runs the callback, and passes on the outcomes.
    async fn run(&self, members: Vec<Member<T>>) {
        let (mut deliveries, mut senders) = (Vec::new(), Vec::new());
        for member in members {
            deliveries.push(member.delivery);
            senders.push(member.outcome);
        }
        let n = senders.len();
        let call = async { (self.callback)(deliveries).await.into_outcomes(n) };
        let failed = match AssertUnwindSafe(call).catch_unwind().await {
            Ok(Ok(outcomes)) => {
                for (sender, outcome) in senders.into_iter().zip(outcomes) {
                    // One whose call was dropped does not wait.
                    let _ = sender.send(Ok(outcome));
                }
                return;
            }
            Ok(Err(err)) => Reason::Failed(err.into()),
            Err(panic) => Reason::Panicked(hooks::panic_text(&*panic).to_owned()),
        };
        for sender in senders {
            let _ = sender.send(Err(BatchFailed(failed.clone())));
        }
    }
}

fn ended_as(ended: Result<Ended, oneshot::error::RecvError>) -> Result<Outcome, CallbackError> {
    let ended = ended.unwrap_or(Err(BatchFailed(Reason::CutOff)));
    ended.map_err(Into::into)
}

/// Locks, after a panic too: none happens while a lock is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
