//! A span for each publish.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use mooq_client::{Confirmation, Outgoing};
use mooq_core::{Error, Result};
use tower_layer::Layer;
use tower_service::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::context::{inject, is_valid};
use crate::failure::record_error;

/// A layer with a span for each publish, from its first poll to the broker's answer, which the
/// message carries in its headers.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TracePublishes;

impl<S> Layer<S> for TracePublishes {
    type Service = TracedPublish<S>;

    fn layer(&self, inner: S) -> TracedPublish<S> {
        TracedPublish(inner)
    }
}

/// The service of [`TracePublishes`].
#[derive(Debug, Clone)]
pub struct TracedPublish<S>(S);

impl<S> Service<Outgoing> for TracedPublish<S>
where
    S: Service<Outgoing, Response = Confirmation, Error = Error, Future: Send + 'static>,
{
    type Response = Confirmation;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Confirmation>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut outgoing: Outgoing) -> Self::Future {
        let span = span(&outgoing);
        let context = span.context();
        // Without OpenTelemetry there is none, and the properties stay shared.
        if is_valid(&context) {
            let properties = Arc::make_mut(&mut outgoing.message.properties);
            inject(&context, &mut properties.headers);
        }
        let call = self.0.call(outgoing).instrument(span.clone());
        Box::pin(async move {
            let handed_over = call.await;
            match handed_over {
                Ok(confirmation) => Ok(confirmation.watch(move |outcome| {
                    if let Err(err) = outcome {
                        record_error(&span, err);
                    }
                })),
                Err(err) => {
                    record_error(&span, &err);
                    Err(err)
                }
            }
        })
    }
}

fn span(outgoing: &Outgoing) -> Span {
    let message = &outgoing.message;
    let (exchange, key) = (message.exchange.as_str(), message.routing_key.as_str());
    let properties = &message.properties;
    tracing::info_span!(
        "publish",
        otel.name = format!("publish {exchange}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = format!("{exchange}:{key}"),
        messaging.rabbitmq.destination.routing_key = key,
        messaging.message.id = properties.message_id.as_deref(),
        messaging.message.conversation_id = properties.correlation_id.as_deref(),
        messaging.message.body.size = i64::try_from(message.body.len()).unwrap_or(i64::MAX),
        error.type = Empty,
    )
}
