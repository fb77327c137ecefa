//! Outcomes of callbacks, and their meaning for the delivery.

use std::error::Error as StdError;
use std::future::Future;

use mooq_retry::Outcome;

use super::delivery::Delivery;

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
