//! One delivery's way through a callback, from its body to its settlement.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mooq_codecs::Decode;
use mooq_core::Settlement;
use mooq_retry::{Failed, Outcome, Retry};
use tracing::Instrument;

use super::attempt::{Attempt, Cause, Failure};
use super::polling;
use super::wire::Unsettled;
use crate::api::delivery::{Delivery, Held, SettledBy};
use crate::api::outcome::{Callback, CallbackError};

/// Mode of acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// After the callback, by its outcome.
    ByOutcome,
    /// By the holder of the delivery.
    Manual,
    /// By the broker, as it sends them.
    Auto,
}

/// A consumer whose deliveries go to a callback.
pub(crate) struct CallbackConsumer {
    pub(crate) ack_mode: AckMode,
    pub(crate) retry: Retry,
    pub(crate) on_decode_error: Retry,
    /// Its messages wait and are parked in quorum queues.
    pub(crate) quorum: bool,
    pub(crate) handler: Arc<dyn Handler>,
}

impl fmt::Debug for CallbackConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackConsumer")
            .field("ack_mode", &self.ack_mode)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// The callback of a consumer, with its codec and its layers.
pub(crate) trait Handler: Send + Sync {
    /// Handles a delivery, and returns the failure that is left to conclude, if any. Dropping the
    /// future requeues the delivery.
    fn start(
        self: Arc<Self>,
        attempt: Attempt,
        consumer: Arc<CallbackConsumer>,
    ) -> BoxFuture<'static, Option<Box<Failure>>>;

    /// Calls the callback for a layer around it.
    fn boxed_call(self: Arc<Self>, raw: Delivery<Bytes>) -> BoxFuture<'static, Called>;
}

/// The end of a call.
pub(crate) type Called = Result<Outcome, CallbackError>;

/// What is called with each delivery: a callback, or the outermost layer around it.
pub(crate) trait Call: Send + Sync + 'static {
    fn call(&self, raw: Delivery<Bytes>) -> impl Future<Output = Called> + Send;
}

impl<C: Call> Handler for C {
    fn start(
        self: Arc<Self>,
        attempt: Attempt,
        consumer: Arc<CallbackConsumer>,
    ) -> BoxFuture<'static, Option<Box<Failure>>> {
        let span = attempt.span();
        // The attempt is kept until the end of the future, so that its delivery counts as in flight
        // until then.
        let handling = async move { handle(&*self, attempt, &consumer).await };
        Box::pin(handling.instrument(span))
    }

    fn boxed_call(self: Arc<Self>, raw: Delivery<Bytes>) -> BoxFuture<'static, Called> {
        Box::pin(async move { self.call(raw).await })
    }
}

pub(crate) struct TypedCallback<T, C, F> {
    codec: C,
    callback: F,
    // Deliveries of `T` pass through; none is held.
    message: PhantomData<fn(T)>,
}

impl<T, C, F> TypedCallback<T, C, F> {
    pub(crate) fn new(codec: C, callback: F) -> Self {
        Self {
            codec,
            callback,
            message: PhantomData,
        }
    }
}

impl<T, C, F> Call for TypedCallback<T, C, F>
where
    T: Send + 'static,
    C: Decode<T> + Send + Sync + 'static,
    F: Callback<T>,
{
    async fn call(&self, raw: Delivery<Bytes>) -> Called {
        let decoding = AssertUnwindSafe(|| raw.decode(&self.codec));
        // Decoders are the user's code, as callbacks are.
        let why = match catch_unwind(decoding) {
            Ok(Ok(delivery)) => return self.callback.call(delivery).await,
            Ok(Err((err, _))) => err.to_string(),
            Err(panic) => format!("its decoder panicked: {}", panic_text(&*panic)),
        };
        Err(Box::new(Undecodable(why)))
    }
}

/// The error of a call whose body does not decode, for this reason.
#[derive(Debug)]
pub struct Undecodable(String);

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Undecodable {}

async fn handle(
    handler: &impl Call,
    mut attempt: Attempt,
    consumer: &CallbackConsumer,
) -> Option<Box<Failure>> {
    let held = attempt.unsettled.take().map(Held::new).map(Arc::new);
    // If the callback is cut off, its delivery is requeued, no matter where the callback has put
    // it.
    let by_outcome = (consumer.ack_mode == AckMode::ByOutcome).then(|| GiveBack(held.clone()));
    let settled_by = match &held {
        Some(held) => SettledBy::Callback(Arc::clone(held)),
        None => SettledBy::Broker(attempt.deliver.in_flight.clone()),
    };
    let trail = attempt.trail.clone();
    let raw = Delivery::raw(&attempt.deliver, &attempt.queue, trail, settled_by);
    let call = catch_unwind(AssertUnwindSafe(|| handler.call(raw)));
    let ended = match call {
        Ok(call) => {
            let call = AssertUnwindSafe(call).catch_unwind();
            polling::watched(call, |took| attempt.is_slow(took)).await
        }
        Err(panic) => Err(panic),
    };
    let (failed, why) = match ended {
        Ok(Ok(outcome)) => match outcome.settlement() {
            Ok(settlement) => {
                let unsettled = by_outcome.and_then(GiveBack::disarm)?;
                let lost = attempt.settle(unsettled, settlement)?;
                return Some(attempt.failed(Cause::Loss, lost));
            }
            Err(failed) => (failed, format!("it returned {outcome:?}")),
        },
        Ok(Err(err)) if err.is::<Undecodable>() => (Failed::Decoding, err.to_string()),
        Ok(Err(err)) if is_retried(&consumer.retry, &err) => (Failed::Callback, err.to_string()),
        Ok(Err(err)) => (Failed::ForGood, err.to_string()),
        Err(panic) => {
            let text = panic_text(&*panic);
            (Failed::Callback, format!("it panicked: {text}"))
        }
    };
    attempt.unsettled = match by_outcome {
        Some(by_outcome) => by_outcome.disarm(),
        // Settled by hand: if the callback has passed the delivery on, its new holder settles it.
        None => held.and_then(Arc::into_inner).and_then(|held| held.take()),
    };
    Some(attempt.failed(Cause::Failed(failed), why))
}

/// Asks the policy if it retries after this error. Its predicate is the user's code, as callbacks
/// are: if it panics, nothing is known.
fn is_retried(policy: &Retry, err: &CallbackError) -> bool {
    catch_unwind(AssertUnwindSafe(|| policy.retries(&**err))).unwrap_or(true)
}

/// Requeues a delivery when its callback is cut off.
struct GiveBack(Option<Arc<Held>>);

impl GiveBack {
    /// Passes the delivery to the caller, unless it is settled by hand.
    fn disarm(mut self) -> Option<Unsettled> {
        self.0.take().and_then(|held| held.take())
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            drop(held.take());
        }
    }
}

/// Settles a delivery. If the channel is closed, the broker has requeued the delivery already.
pub(crate) fn settle(unsettled: Unsettled, settlement: Settlement) {
    if let Err(err) = unsettled.settle(settlement) {
        tracing::warn!(%err, ?settlement, "a delivery could not be settled: it will come again");
    }
}

/// Returns the message of a panic.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "with a value that is not text",
    }
}
