//! A span for each callback.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq_client::{CallbackError, Delivery, Outcome};
use tower_layer::Layer;
use tower_service::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::context::extract;
use crate::failure::record;

/// A layer with a span for each call of a callback, whose parent is the publish of the message: the
/// span in its headers, which it keeps when it is dead-lettered, retried or forwarded.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TraceCallbacks;

impl<S> Layer<S> for TraceCallbacks {
    type Service = TracedCallback<S>;

    fn layer(&self, inner: S) -> TracedCallback<S> {
        TracedCallback(inner)
    }
}

/// The service of [`TraceCallbacks`].
#[derive(Debug, Clone)]
pub struct TracedCallback<S>(S);

impl<S> Service<Delivery<Bytes>> for TracedCallback<S>
where
    S: Service<Delivery<Bytes>, Response = Outcome, Error = CallbackError, Future: Send + 'static>,
{
    type Response = Outcome;
    type Error = CallbackError;
    type Future = BoxFuture<'static, Result<Outcome, CallbackError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallbackError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery<Bytes>) -> Self::Future {
        let span = span(&delivery);
        if let Some(publish) = extract(&delivery.properties.headers)
            && !span.is_disabled()
        {
            // It fails where there is no OpenTelemetry to have a parent in.
            let _ = span.set_parent(publish);
        }
        let call = self.0.call(delivery).instrument(span.clone());
        Box::pin(async move {
            let ended = call.await;
            match &ended {
                Ok(outcome) => {
                    span.record("mooq.outcome", format!("{outcome:?}"));
                }
                Err(err) => record(&span, "callback", err),
            }
            ended
        })
    }
}

fn span(delivery: &Delivery<Bytes>) -> Span {
    let queue = delivery.queue.as_str();
    let (exchange, key) = (delivery.exchange.as_str(), delivery.routing_key.as_str());
    let properties = &delivery.properties;
    tracing::info_span!(
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = format!("{exchange}:{key}:{queue}"),
        messaging.rabbitmq.destination.routing_key = key,
        messaging.rabbitmq.message.delivery_tag = i64::try_from(delivery.delivery_tag).unwrap_or(i64::MAX),
        messaging.message.id = properties.message_id.as_deref(),
        messaging.message.conversation_id = properties.correlation_id.as_deref(),
        messaging.message.body.size = i64::try_from(delivery.msg.len()).unwrap_or(i64::MAX),
        mooq.attempt = i64::from(delivery.attempt),
        mooq.outcome = Empty,
        error.type = Empty,
    )
}
