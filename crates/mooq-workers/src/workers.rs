//! Callbacks on several threads, and in order by a key.

use std::fmt;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;

use mooq_client::{Callback, CallbackError, Delivery, Outcome, hooks};
use mooq_core::{Error, ErrorKind};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::lanes::{Key, Lanes, Turn};
use crate::register::{Register, sealed::Options};

/// A callback to register that runs on several threads, in order by a key, or both: made by
/// [`Schedule::workers`](crate::Schedule::workers) and
/// [`Schedule::ordered_by`](crate::Schedule::ordered_by). [`callback`](Self::callback) returns the
/// registration.
#[derive(Debug)]
#[must_use = "the callback is registered when the registration is awaited"]
pub struct Workers<R, O = AnyOrder> {
    registration: R,
    /// None for callbacks that run where events are processed.
    workers: Option<usize>,
    order: O,
}

/// Callbacks of a [`Workers`] may overtake each other.
#[derive(Debug)]
pub struct AnyOrder(());

/// Callbacks of a [`Workers`] with the same key run one after another, in the order of their
/// deliveries.
pub struct ByKey<T, F> {
    key: F,
    message: PhantomData<fn(T)>,
}

impl<T, F> fmt::Debug for ByKey<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByKey")
    }
}

impl<R: Options> Workers<R> {
    pub(crate) fn new(registration: R) -> Self {
        Self {
            registration,
            workers: None,
            order: AnyOrder(()),
        }
    }

    /// Runs callbacks with the same key one after another: see
    /// [`Schedule::ordered_by`](crate::Schedule::ordered_by).
    pub fn ordered_by<T, K, F>(self, key: F) -> Workers<R, ByKey<T, F>>
    where
        F: Fn(&Delivery<T>) -> K + Send + Sync + 'static,
    {
        Workers {
            registration: self.registration,
            workers: self.workers,
            order: ByKey {
                key,
                message: PhantomData,
            },
        }
    }

    /// Runs `callback` for each delivery.
    pub fn callback<T, F>(self, callback: F) -> R::Registered
    where
        R: Register<T>,
        T: Send + 'static,
        F: Callback<T>,
    {
        let callback = OnWorkers::new(self.workers, callback);
        self.registration.with_callback(callback)
    }
}

impl<R, T, K, F> Workers<R, ByKey<T, F>>
where
    R: Register<T>,
    T: Send + 'static,
    K: Key,
    F: Fn(&Delivery<T>) -> K + Send + Sync + 'static,
{
    /// Runs `callback` for each delivery.
    pub fn callback<G: Callback<T>>(self, callback: G) -> R::Registered {
        let callback = InOrder {
            key: self.order.key,
            lanes: Lanes::default(),
            callback: OnWorkers::new(self.workers, callback),
        };
        self.registration.with_callback(callback)
    }
}

impl<R: Options, O> Workers<R, O> {
    /// Runs callbacks as tasks of the runtime, at most `n` at once: see
    /// [`Schedule::workers`](crate::Schedule::workers).
    pub fn workers(mut self, n: usize) -> Self {
        if n == 0 || n > Semaphore::MAX_PERMITS {
            let text = format!(
                "{n} workers: a consumer has at least one, and at most {}",
                Semaphore::MAX_PERMITS
            );
            self.registration = self
                .registration
                .fail_with(Error::new(ErrorKind::InvalidArgument, text));
        } else {
            self.workers = Some(n);
        }
        self
    }
}

/// Runs a callback as tasks of the runtime, if it has workers.
struct OnWorkers<F> {
    workers: Option<Semaphore>,
    callback: Arc<F>,
}

impl<F> OnWorkers<F> {
    fn new(workers: Option<usize>, callback: F) -> Self {
        Self {
            workers: workers.map(Semaphore::new),
            callback: Arc::new(callback),
        }
    }
}

impl<T, F> Callback<T> for OnWorkers<F>
where
    T: Send + 'static,
    F: Callback<T>,
{
    async fn call(&self, delivery: Delivery<T>) -> Result<Outcome, CallbackError> {
        let Some(workers) = &self.workers else {
            return self.callback.call(delivery).await;
        };
        // Never closed.
        let _worker = workers.acquire().await?;
        let callback = Arc::clone(&self.callback);
        let call = hooks::in_same_callback(async move { callback.call(delivery).await });
        let mut task = Task(tokio::spawn(call.in_current_span()));
        match (&mut task.0).await {
            Ok(ended) => ended,
            Err(err) => match err.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(err) => Err(err.into()),
            },
        }
    }
}

/// A task that is aborted when this is dropped.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a callback for the deliveries with the same key one after another.
struct InOrder<K: Key, F, C> {
    key: F,
    lanes: Lanes<K>,
    callback: C,
}

impl<T, K, F, C> Callback<T> for InOrder<K, F, C>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&Delivery<T>) -> K + Send + Sync + 'static,
    C: Callback<T>,
{
    async fn call(&self, delivery: Delivery<T>) -> Result<Outcome, CallbackError> {
        // One that is tried again has kept its turn.
        let mut turn = None;
        if !hooks::is_kept::<T, Turn<K>>(&delivery) {
            // The reference does not live on over the wait: a `T` need not be `Sync`.
            let key = (self.key)(&delivery);
            let own = self.lanes.turn(key).await;
            // Without settlement, the turn is over with the callback.
            turn = hooks::keep_until_settled(&delivery, own).err();
        }
        let ended = self.callback.call(delivery).await;
        drop(turn);
        ended
    }
}
