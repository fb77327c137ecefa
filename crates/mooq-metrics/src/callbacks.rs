//! A layer that times callbacks.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use metrics::{counter, gauge, histogram};
use mooq_client::{CallbackError, Delivery, Outcome};
use tower_layer::Layer;
use tower_service::Service;

use crate::names::{CALLBACK_SECONDS, CALLBACKS_RUNNING, RETRIED};

/// A layer that counts and times the callbacks that it is around.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct MeteredCallbacks;

impl<S> Layer<S> for MeteredCallbacks {
    type Service = MeteredCallback<S>;

    fn layer(&self, inner: S) -> MeteredCallback<S> {
        MeteredCallback(inner)
    }
}

/// The service of [`MeteredCallbacks`].
#[derive(Debug, Clone)]
pub struct MeteredCallback<S>(S);

impl<S> Service<Delivery<Bytes>> for MeteredCallback<S>
where
    S: Service<
            Delivery<Bytes>,
            Response = Outcome,
            Error = CallbackError,
            Future: Future + Send + 'static,
        >,
{
    type Response = Outcome;
    type Error = CallbackError;
    type Future = BoxFuture<'static, Result<Outcome, CallbackError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallbackError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery<Bytes>) -> Self::Future {
        let running = Running::begin(&delivery);
        let call = self.0.call(delivery);
        Box::pin(async move {
            let ended = call.await;
            running.end(match ended {
                Ok(_) => "ok",
                Err(_) => "error",
            });
            ended
        })
    }
}

/// A callback that runs, until this is dropped.
struct Running {
    queue: String,
    since: Instant,
    outcome: &'static str,
}

impl Running {
    fn begin(delivery: &Delivery<Bytes>) -> Self {
        let queue = delivery.queue.to_string();
        gauge!(CALLBACKS_RUNNING, "queue" => queue.clone()).increment(1);
        if delivery.attempt > 1 {
            counter!(RETRIED, "queue" => queue.clone()).increment(1);
        }
        Self {
            queue,
            since: Instant::now(),
            outcome: "dropped",
        }
    }

    fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let queue = self.queue.clone();
        gauge!(CALLBACKS_RUNNING, "queue" => queue.clone()).decrement(1);
        histogram!(CALLBACK_SECONDS, "queue" => queue, "outcome" => self.outcome)
            .record(self.since.elapsed());
    }
}
