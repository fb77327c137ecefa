//! Callbacks for batches, and the outcomes of a batch.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mooq_client::{CallbackError, Delivery, Outcome};
use mooq_core::{Error, ErrorKind};

use crate::batching::Batching;
use crate::register::{Register, sealed::Options};

/// A callback for batches to register: made by [`Schedule::batch`](crate::Schedule::batch).
/// [`callback`](Self::callback) returns the registration.
#[derive(Debug)]
#[must_use = "the callback is registered when the registration is awaited"]
pub struct Batches<R> {
    registration: R,
    size: u16,
    within: Duration,
}

impl<R: Options> Batches<R> {
    pub(crate) fn new(registration: R, size: u16, within: Duration) -> Self {
        let registration = match size {
            0 => registration.fail_with(Error::new(
                ErrorKind::InvalidArgument,
                "a batch of 0 messages would never be full",
            )),
            _ => registration.at_once(size),
        };
        Self {
            registration,
            size,
            within,
        }
    }

    /// Runs `callback` for each batch: an async function or closure that takes the deliveries, in
    /// order, and returns an [`IntoBatchOutcome`].
    pub fn callback<T, F, Fut>(self, callback: F) -> R::Registered
    where
        R: Register<T>,
        T: Send + 'static,
        F: Fn(Vec<Delivery<T>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoBatchOutcome> + Send + 'static,
    {
        let batching = Batching::new(self.size.into(), self.within, callback);
        self.registration.with_callback(batching)
    }
}

/// The return value of a callback for batches: `()`, an [`Outcome`] for all deliveries, a
/// `Vec<Outcome>` with one for each, in their order, or a `Result` of one of these.
///
/// An error concerns each delivery of the batch, by the consumer's policy
/// ([`Retry`](mooq_client::Retry)), and so does a `Vec` of another length. A delivery that the
/// callback has settled itself keeps that settlement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says nothing about what becomes of the deliveries",
    label = "a callback for batches returns `()`, `Outcome`, `Vec<Outcome>`, or a `Result` of these",
    note = "the error of a `Result` may be anything that converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoBatchOutcome {
    /// Returns the outcomes of a batch of `n` deliveries.
    ///
    /// # Errors
    /// The callback's own; or that the callback returned more outcomes than `n`, or fewer.
    fn into_outcomes(self, n: usize) -> Result<Vec<Outcome>, CallbackError>;
}

impl IntoBatchOutcome for () {
    fn into_outcomes(self, n: usize) -> Result<Vec<Outcome>, CallbackError> {
        Outcome::Ack.into_outcomes(n)
    }
}

impl IntoBatchOutcome for Outcome {
    fn into_outcomes(self, n: usize) -> Result<Vec<Outcome>, CallbackError> {
        Ok(vec![self; n])
    }
}

impl IntoBatchOutcome for Vec<Outcome> {
    fn into_outcomes(self, n: usize) -> Result<Vec<Outcome>, CallbackError> {
        match self.len() {
            len if len == n => Ok(self),
            len => Err(format!("the callback returned {len} outcomes for a batch of {n}").into()),
        }
    }
}

impl<T: IntoBatchOutcome, E: Into<CallbackError>> IntoBatchOutcome for Result<T, E> {
    fn into_outcomes(self, n: usize) -> Result<Vec<Outcome>, CallbackError> {
        self.map_err(Into::into)?.into_outcomes(n)
    }
}

/// The error of each delivery of a batch whose callback failed. Its source is the callback's own,
/// unless the callback panicked or was cut off.
#[derive(Debug, Clone)]
pub struct BatchFailed(pub(crate) Reason);

#[derive(Debug, Clone)]
pub(crate) enum Reason {
    Failed(Arc<dyn StdError + Send + Sync>),
    Panicked(String),
    CutOff,
}

impl fmt::Display for BatchFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Failed(err) => write!(f, "the callback of its batch failed: {err}"),
            Reason::Panicked(text) => write!(f, "the callback of its batch panicked: {text}"),
            Reason::CutOff => f.write_str("the callback of its batch was cut off"),
        }
    }
}

impl StdError for BatchFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Reason::Failed(err) => Some(&**err),
            Reason::Panicked(_) | Reason::CutOff => None,
        }
    }
}
