//! What a callback's result means for its delivery.

use std::error::Error as StdError;
use std::future::Future;

use crate::delivery::Delivery;

/// What becomes of a delivery whose callback has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It goes back to its place in the queue.
    Requeue,
    /// It goes to the queue's dead-letter exchange, or is dropped.
    Reject,
}

/// What to do with a delivery whose callback failed, or whose body did not decode.
///
/// # Examples
/// ```
/// use mooq::{Delivery, FailurePolicy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::{ConnectInMemory, InMemoryBroker};
/// # let broker = InMemoryBroker::start();
/// # let conn = broker.connect().await?;
/// # let chan = conn.create_channel().await?;
/// chan.register_consumer("payments", "direct")
///     .queue("payments-to-book")
///     .callback(|payment: Delivery<u64>| async move {
///         println!("try {}", if payment.redelivered { 2 } else { 1 });
///         Err::<(), _>("the books are closed")
///     })
///     .on_error(FailurePolicy::RequeueOnce)
///     .await?;
/// chan.publish("payments", &100).await?;
///
/// conn.process_events().until_idle().await?; // try 1, try 2
///
/// assert_eq!(chan.declare_queue("payments-to-book").await?.message_count, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Back to the queue the first time; the second time to the dead-letter exchange, if the
    /// queue has one, else dropped. The second time is told by the redelivered flag.
    RequeueOnce,
    /// Back to the queue every time. A message that always fails comes back for ever.
    Requeue,
    /// To the dead-letter exchange, or dropped.
    Reject,
    /// Acknowledged as if it had succeeded.
    Ack,
}

impl FailurePolicy {
    pub(crate) fn outcome(self, redelivered: bool) -> Outcome {
        match self {
            Self::RequeueOnce if redelivered => Outcome::Reject,
            Self::RequeueOnce | Self::Requeue => Outcome::Requeue,
            Self::Reject => Outcome::Reject,
            Self::Ack => Outcome::Ack,
        }
    }
}

/// Why a callback failed.
pub type CallbackError = Box<dyn StdError + Send + Sync>;

/// What a callback may return: `()`, an [`Outcome`], or a `Result` of either.
///
/// `()` and `Ok` acknowledge; an error is handled by the consumer's [`FailurePolicy`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` says nothing about what becomes of the delivery",
    label = "a callback returns `()`, `Outcome`, or a `Result` of either",
    note = "the error of a `Result` may be anything that converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoOutcome {
    /// The outcome, or why the callback failed.
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

/// A callback: any `Fn(Delivery<T>) -> Future` whose output is [`IntoOutcome`].
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
