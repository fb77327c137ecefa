//! Acknowledgement before the callback.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq_client::{CallbackError, Delivery, Outcome, hooks};
use tower_layer::Layer;
use tower_service::Service;

use crate::rate::take_ready;

/// A layer that acknowledges each message just before its callback, which is then called at most
/// once for it: made by [`WithLayers::ack_first`](crate::WithLayers::ack_first).
#[derive(Debug, Clone, Copy)]
pub struct AckFirst(pub(crate) ());

impl<S> Layer<S> for AckFirst {
    type Service = AckedFirst<S>;

    fn layer(&self, inner: S) -> AckedFirst<S> {
        AckedFirst(inner)
    }
}

/// The service of an [`AckFirst`].
#[derive(Debug, Clone)]
pub struct AckedFirst<S>(S);

impl<S> Service<Delivery<Bytes>> for AckedFirst<S>
where
    S: Service<Delivery<Bytes>, Response = Outcome, Error = CallbackError, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Response = Outcome;
    type Error = CallbackError;
    type Future = BoxFuture<'static, Result<Outcome, CallbackError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallbackError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery<Bytes>) -> Self::Future {
        let mut ready = take_ready(&mut self.0);
        Box::pin(async move {
            // One that cannot be acknowledged comes again, and is left to its next delivery.
            hooks::ack_early(&delivery)?;
            ready.call(delivery).await
        })
    }
}
