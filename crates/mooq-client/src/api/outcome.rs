//! Outcomes of callbacks, and their meaning for the delivery.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use mooq_core::Settlement;
use mooq_retry::Failed;

use super::delivery::Delivery;

/// Outcome of a callback: the settlement of its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Acknowledges the delivery: it is done.
    Ack,
    /// Requeues a delivery that failed to its place in the queue, by `basic.reject`, which a
    /// queue's [delivery
    /// limit](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling) counts.
    Requeue,
    /// Rejects the delivery: it is dead-lettered, or dropped if the queue has no dead-letter
    /// exchange.
    Reject,
    /// Retries the delivery after this time, for example the one that a server under load has asked
    /// for. It counts as a failed attempt, and the rest is up to the consumer's policy,
    /// [`Retry`](crate::Retry): the delivery waits in a delay queue if the policy uses those, and
    /// in place otherwise; after the last attempt the end of the policy holds.
    ///
    /// In delay queues, the time is rounded up to the next of about forty steps, from 50 ms to 49
    /// days and 17 hours, which is the most: 1 s, 2 s, 3 s, 5 s, 10 s, 15 s, 20 s, 30 s, 45 s and
    /// so on. Each has a queue of its own.
    RetryAfter(Duration),
    /// Parks the delivery: a copy goes to the queue of [`Retry::then_park`](crate::Retry::then_park),
    /// or without one to the queue `<queue>.parked`, and the delivery is acked once the broker has
    /// confirmed the copy.
    Park,
}

impl Outcome {
    /// Returns the settlement to send to the broker, or the failure that the outcome amounts to. A
    /// delivery that failed is rejected, not nacked: RabbitMQ 4.3 counts only `basic.reject`
    /// towards a queue's delivery limit.
    pub(crate) fn settlement(self) -> Result<Settlement, Failed> {
        match self {
            Self::Ack => Ok(Settlement::Ack),
            Self::Requeue => Ok(Settlement::Reject { requeue: true }),
            Self::Reject => Ok(Settlement::Reject { requeue: false }),
            Self::RetryAfter(delay) => Err(Failed::RetryAfter(delay)),
            Self::Park => Err(Failed::Park),
        }
    }
}

/// The error of a callback that failed.
pub type CallbackError = Box<dyn StdError + Send + Sync>;

/// A callback's return value: `()`, an [`Outcome`], or a `Result` of either.
///
/// `()` and `Ok` acknowledge; an error is handled by the consumer's
/// policy, [`Retry`](crate::Retry). A callback that returns anything else does not compile:
///
/// ```compile_fail,E0277
/// # fn register(chan: &mooq::Channel) {
/// use mooq::Delivery;
///
/// // "`i32` says nothing about what becomes of the delivery"
/// let _ = chan
///     .register_callback("numbers")
///     .callback(|number: Delivery<i32>| async move { number.msg + 1 });
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` says nothing about what becomes of the delivery",
    label = "a callback returns `()`, `Outcome`, or a `Result` of either",
    note = "the error of a `Result` may be anything that converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoOutcome {
    /// Returns the outcome, or the error of a callback that failed.
    ///
    /// # Errors
    /// The callback's own.
    fn into_outcome(self) -> Result<Outcome, CallbackError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<Outcome, CallbackError> {
        Ok(Outcome::Ack)
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Result<Outcome, CallbackError> {
        Ok(self)
    }
}

impl<T: IntoOutcome, E: Into<CallbackError>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Outcome, CallbackError> {
        self.map_err(Into::into)?.into_outcome()
    }
}

/// A callback: any `Fn(Delivery<T>) -> Future` whose output is [`IntoOutcome`]. Anything else does not
/// compile:
///
/// ```compile_fail,E0277
/// # fn register(chan: &mooq::Channel) {
/// use mooq::Delivery;
///
/// // "`()` is not a future": it lacks `async move`.
/// let _ = chan
///     .register_callback("numbers")
///     .callback(|number: Delivery<i32>| println!("{}", number.msg));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a callback for deliveries of `{T}`",
    label = "expected an async function or closure that takes a `Delivery<{T}>`",
    note = "write `|resp: Delivery<String>| async move {{ … }}`; the future must be `Send` and own what it uses (`move`), and return `()`, `Outcome` or a `Result` of either"
)]
pub trait Callback<T>: Send + Sync + 'static {
    /// Handles one delivery.
    fn call(
        &self,
        delivery: Delivery<T>,
    ) -> impl Future<Output = Result<Outcome, CallbackError>> + Send;
}

impl<T, F, Fut> Callback<T> for F
where
    T: Send + 'static,
    F: Fn(Delivery<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send,
{
    async fn call(&self, delivery: Delivery<T>) -> Result<Outcome, CallbackError> {
        self(delivery).await.into_outcome()
    }
}
