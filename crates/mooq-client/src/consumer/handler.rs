//! One delivery's way through a callback, from its body to its settlement.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mooq_core::{Deliver, QueueName, Settlement};

use super::outcome::{Callback, FailurePolicy, Outcome};
use crate::channel::{ChannelShared, Inbox, Source};
use crate::codec::Decode;
use crate::delivery::{Delivery, SettledBy, Unsettled};

/// When deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// After the callback, by its outcome.
    ByOutcome,
    /// By whoever holds the delivery.
    Manual,
    /// By the broker, as it sends them.
    Auto,
}

/// A consumer whose deliveries go to a callback.
pub(crate) struct CallbackConsumer {
    /// Keeps it open.
    pub(crate) channel: Arc<ChannelShared>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) settings: Settings,
    pub(crate) handler: Arc<dyn Handler>,
}

/// How a callback consumer treats its deliveries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) ack_mode: AckMode,
    /// How many callbacks may run at once.
    pub(crate) concurrency: usize,
    pub(crate) on_error: FailurePolicy,
    pub(crate) on_decode_error: FailurePolicy,
}

impl fmt::Debug for CallbackConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackConsumer")
            .field("queue", &self.inbox.queue())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A callback with its codec, whatever its types.
pub(crate) trait Handler: Send + Sync {
    /// Begins to handle `deliver`. Dropping the future gives the delivery back to its queue.
    fn start(
        self: Arc<Self>,
        deliver: Deliver,
        source: Arc<Source>,
        settings: Settings,
    ) -> BoxFuture<'static, ()>;
}

pub(crate) struct TypedHandler<T, C, F> {
    codec: C,
    callback: F,
    // Deliveries of `T` pass through; none is held.
    message: PhantomData<fn(T)>,
}

impl<T, C, F> TypedHandler<T, C, F> {
    pub(crate) fn new(codec: C, callback: F) -> Self {
        Self {
            codec,
            callback,
            message: PhantomData,
        }
    }
}

impl<T, C, F> Handler for TypedHandler<T, C, F>
where
    T: Send + 'static,
    C: Decode<T> + Send + Sync + 'static,
    F: Callback<T>,
{
    fn start(
        self: Arc<Self>,
        deliver: Deliver,
        source: Arc<Source>,
        settings: Settings,
    ) -> BoxFuture<'static, ()> {
        let Settings {
            ack_mode,
            on_error,
            on_decode_error,
            ..
        } = settings;
        let queue = source.queue.clone();
        let unsettled =
            (ack_mode != AckMode::Auto).then(|| Unsettled::new(source, deliver.delivery_tag));
        // The delivery is kept to the end of this: so long it counts as under way.
        Box::pin(async move {
            let redelivered = deliver.redelivered;
            let msg = match decode(&self.codec, &deliver.message.body) {
                Ok(msg) => msg,
                Err(failure) => {
                    let outcome = on_decode_error.outcome(redelivered);
                    tracing::error!(queue = %queue, failure, ?outcome, "a body did not decode");
                    if let Some(unsettled) = unsettled {
                        settle(unsettled, outcome);
                    }
                    return;
                }
            };
            let (held, settled_by) = match (unsettled, ack_mode) {
                (None, _) => (None, SettledBy::Broker(deliver.in_flight.clone())),
                (Some(unsettled), AckMode::Manual) => (None, SettledBy::Holder(unsettled)),
                (unsettled, _) => (unsettled, SettledBy::Outcome),
            };
            let delivery = typed(msg, &deliver, &queue, settled_by);
            let call = catch_unwind(AssertUnwindSafe(|| self.callback.call(delivery)));
            let ended = match call {
                Ok(call) => AssertUnwindSafe(call).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let failure = match ended {
                Ok(Ok(outcome)) => {
                    if let Some(held) = held {
                        settle(held, outcome);
                    }
                    return;
                }
                Ok(Err(err)) => format!("it returned an error: {err}"),
                Err(panic) => format!("it panicked: {}", panic_text(&*panic)),
            };
            let outcome = on_error.outcome(redelivered);
            tracing::error!(queue = %queue, failure, ?outcome, "a callback failed");
            if let Some(held) = held {
                settle(held, outcome);
            }
        })
    }
}

/// The value in `body`, or why there is none. Decoders are the user's code, as callbacks are.
fn decode<T>(codec: &impl Decode<T>, body: &Bytes) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(|| codec.decode(body))) {
        Ok(Ok(msg)) => Ok(msg),
        Ok(Err(err)) => Err(err.to_string()),
        Err(panic) => Err(format!("its decoder panicked: {}", panic_text(&*panic))),
    }
}

/// A delivery as the user sees it.
pub(crate) fn typed<T>(
    msg: T,
    deliver: &Deliver,
    queue: &QueueName,
    settled_by: SettledBy,
) -> Delivery<T> {
    let message = &*deliver.message;
    Delivery {
        msg,
        routing_key: message.routing_key.clone(),
        exchange: message.exchange.clone(),
        queue: queue.clone(),
        redelivered: deliver.redelivered,
        delivery_tag: deliver.delivery_tag,
        properties: Arc::clone(&message.properties),
        settled_by,
    }
}

/// Settles by an outcome. If the channel is closed the broker has the delivery back already.
pub(crate) fn settle(unsettled: Unsettled, outcome: Outcome) {
    let settlement = match outcome {
        Outcome::Ack => Settlement::Ack,
        Outcome::Requeue => Settlement::Nack { requeue: true },
        Outcome::Reject => Settlement::Nack { requeue: false },
    };
    if let Err(err) = unsettled.settle(settlement) {
        tracing::warn!(%err, ?outcome, "a delivery could not be settled: it will come again");
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "with a value that is not text"
    }
}
