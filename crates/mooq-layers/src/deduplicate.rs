//! Messages that were handled already are not handled again.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq_client::{CallbackError, Delivery, Outcome};
use mooq_workers::Lanes;
use tower_layer::Layer;
use tower_service::Service;

use crate::rate::take_ready;
use crate::seen::Seen;

/// A layer that acknowledges a message without calling the callback if one with the same
/// `message_id` was handled from the same queue: made by
/// [`WithLayers::deduplicate`](crate::WithLayers::deduplicate).
///
/// A message was handled once its callback has returned [`Outcome::Ack`], and its id is recorded
/// then, before the message is acknowledged. A message without an id is always handled. Of two
/// messages with the same id that come to one consumer at once, the second waits for the first.
#[derive(Debug)]
pub struct Deduplicate<D>(Arc<State<D>>);

#[derive(Debug)]
struct State<D> {
    seen: D,
    /// Those of each id that are being handled, one after another.
    handling: Lanes<String>,
}

impl<D: Seen> Deduplicate<D> {
    /// Keeps the ids of handled messages in `seen`.
    #[must_use]
    pub fn new(seen: D) -> Self {
        Self(Arc::new(State {
            seen,
            handling: Lanes::default(),
        }))
    }
}

impl<D> Clone for Deduplicate<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D, S> Layer<S> for Deduplicate<D> {
    type Service = Deduplicated<D, S>;

    fn layer(&self, inner: S) -> Deduplicated<D, S> {
        Deduplicated {
            inner,
            state: Arc::clone(&self.0),
        }
    }
}

/// The service of a [`Deduplicate`].
#[derive(Debug)]
pub struct Deduplicated<D, S> {
    inner: S,
    state: Arc<State<D>>,
}

impl<D, S: Clone> Clone for Deduplicated<D, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

impl<D, S> Service<Delivery<Bytes>> for Deduplicated<D, S>
where
    D: Seen,
    S: Service<Delivery<Bytes>, Response = Outcome, Error = CallbackError, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Response = Outcome;
    type Error = CallbackError;
    type Future = BoxFuture<'static, Result<Outcome, CallbackError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallbackError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery<Bytes>) -> Self::Future {
        let state = Arc::clone(&self.state);
        let mut ready = take_ready(&mut self.inner);
        Box::pin(async move {
            let Some(message_id) = &delivery.properties.message_id else {
                return ready.call(delivery).await;
            };
            let id = format!("{}/{message_id}", delivery.queue);
            let _turn = state.handling.turn(id.clone()).await;
            if state.seen.contains(&id).await? {
                tracing::debug!(id, "a message was handled before: it is acknowledged");
                return Ok(Outcome::Ack);
            }
            let outcome = ready.call(delivery).await?;
            if outcome == Outcome::Ack {
                state.seen.insert(&id).await?;
            }
            Ok(outcome)
        })
    }
}
