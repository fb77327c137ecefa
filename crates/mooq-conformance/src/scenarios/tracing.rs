//! Spans and trace context: from a publish to its callbacks, and on.

use std::future::Future;

use mooq::otel::{TraceCallbacks, TracePublishes};
use mooq::{Channel, Connection, Delivery, Outcome, Retry, Rpc};
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::sync::mpsc;
use tracing::Instrument;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::SubscriberExt;

use crate::Fixture;
use crate::scenario;
use crate::steps::processing;

/// Runs `story` with a subscriber of its own, and returns the spans that have ended.
async fn traced(story: impl Future<Output = ()>) -> Spans {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("mooq"));
    let subscriber = tracing_subscriber::registry().with(layer);
    story.with_subscriber(subscriber).await;
    Spans(exporter.get_finished_spans().unwrap())
}

struct Spans(Vec<SpanData>);

impl Spans {
    /// The span of this name. There is one.
    fn one(&self, name: &str) -> &SpanData {
        let mut all = self.0.iter().filter(|span| span.name == name);
        match (all.next(), all.next()) {
            (Some(span), None) => span,
            _ => {
                let names: Vec<_> = self.0.iter().map(|span| &span.name).collect();
                panic!("not one span '{name}' in {names:?}")
            }
        }
    }

    /// Asserts that each of these is the parent of the next, in one trace.
    fn expect_chain(&self, names: &[&str]) {
        for pair in names.windows(2) {
            let (parent, child) = (self.one(pair[0]), self.one(pair[1]));
            assert_eq!(
                child.parent_span_id,
                parent.span_context.span_id(),
                "{pair:?}"
            );
            let trace_id = parent.span_context.trace_id();
            assert_eq!(child.span_context.trace_id(), trace_id, "{pair:?}");
        }
    }
}

fn attribute<'a>(span: &'a SpanData, key: &str) -> Option<&'a Value> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| &attribute.value)
}

async fn channel(fixture: &Fixture) -> (Connection, Channel) {
    let options = fixture.options();
    let options = options
        .callback_layer(TraceCallbacks::default())
        .publish_layer(TracePublishes::default());
    let conn = fixture.open(options).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    (conn, chan)
}

#[scenario]
async fn a_trace_goes_from_a_publish_through_dead_letters_to_the_next_publish(fixture: Fixture) {
    let [first, second, third] = ["first", "second", "third"].map(|name| fixture.name(name));
    let spans = traced(async {
        let (conn, chan) = channel(&fixture).await;
        chan.declare_queue(&first)
            .dead_letter("", &second)
            .await
            .unwrap();
        chan.declare_queue(&second).await.unwrap();
        chan.declare_queue(&third).await.unwrap();
        chan.register_callback(&first)
            .callback(|_: Delivery<String>| async { Outcome::Reject })
            .await
            .unwrap();
        let (onwards, next) = (chan.clone(), third.clone());
        chan.register_callback(&second)
            .callback(move |resp: Delivery<String>| {
                let (onwards, next) = (onwards.clone(), next.clone());
                async move { onwards.publish("", &resp.msg).routing_key(&next).await }
            })
            .await
            .unwrap();
        let (ended, mut end) = mpsc::unbounded_channel();
        chan.register_callback(&third)
            .callback(move |_: Delivery<String>| {
                let _ = ended.send(());
                async {}
            })
            .await
            .unwrap();
        let story = async {
            let publish = chan.publish("", "order").routing_key(&first);
            let root = tracing::info_span!("checkout");
            publish
                .message_id("order-7")
                .into_future()
                .instrument(root)
                .await
                .unwrap();
            end.recv().await;
        };
        processing(&conn, "the last callback", story).await;
        conn.close().await.unwrap();
    })
    .await;

    let process = |queue: &str| format!("process {queue}");
    let publishes: Vec<_> = spans
        .0
        .iter()
        .filter(|span| span.name == "publish ")
        .collect();
    assert_eq!(publishes.len(), 2);
    let of_key = |key: &str| {
        let is_key = |span: &&&SpanData| {
            attribute(span, "messaging.rabbitmq.destination.routing_key")
                == Some(&Value::String(key.to_owned().into()))
        };
        *publishes.iter().find(is_key).unwrap()
    };
    let (order, onward) = (of_key(&first), of_key(&third));
    let parent = |span: &SpanData| span.parent_span_id;
    let id = |span: &SpanData| span.span_context.span_id();
    assert_eq!(parent(order), id(spans.one("checkout")));
    assert_eq!(parent(spans.one(&process(&first))), id(order));
    assert_eq!(parent(spans.one(&process(&second))), id(order));
    assert_eq!(parent(onward), id(spans.one(&process(&second))));
    assert_eq!(parent(spans.one(&process(&third))), id(onward));
    let trace = order.span_context.trace_id();
    let all = publishes
        .iter()
        .copied()
        .chain([spans.one(&process(&third))]);
    assert!(
        all.into_iter()
            .all(|span| span.span_context.trace_id() == trace)
    );

    assert_eq!(order.span_kind, SpanKind::Producer);
    let text = |value: &str| Value::String(value.to_owned().into());
    for (key, value) in [
        ("messaging.system", text("rabbitmq")),
        ("messaging.operation.type", text("send")),
        ("messaging.message.id", text("order-7")),
        ("messaging.message.body.size", Value::I64(7)),
        ("messaging.destination.name", text(&format!(":{first}"))),
    ] {
        assert_eq!(attribute(order, key), Some(&value), "{key}");
    }
    let processed = spans.one(&process(&first));
    assert_eq!(processed.span_kind, SpanKind::Consumer);
    assert_eq!(attribute(processed, "mooq.outcome"), Some(&text("Reject")));
}

#[scenario]
async fn each_attempt_of_a_retried_message_is_a_child_of_its_publish(fixture: Fixture) {
    let queue = fixture.name("queue");
    let spans = traced(async {
        let (conn, chan) = channel(&fixture).await;
        let (ended, mut end) = mpsc::unbounded_channel();
        let delay = std::time::Duration::from_millis(10);
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(&queue)
            .retry(Retry::every(delay))
            .callback(move |resp: Delivery<String>| {
                let ended = ended.clone();
                async move {
                    match resp.attempt {
                        1 => Err("not yet"),
                        _ => {
                            let _ = ended.send(());
                            Ok(())
                        }
                    }
                }
            })
            .await
            .unwrap();
        let story = async {
            let publish = chan.publish("", "order").routing_key(&queue);
            publish.await.unwrap();
            end.recv().await;
        };
        processing(&conn, "the second attempt", story).await;
        conn.close().await.unwrap();
    })
    .await;
    let publish = spans.one("publish ").span_context.span_id();
    let name = format!("process {queue}");
    let attempts: Vec<_> = spans.0.iter().filter(|span| span.name == name).collect();
    let parents: Vec<SpanId> = attempts.iter().map(|span| span.parent_span_id).collect();
    assert_eq!(parents, [publish; 2]);
    let status = Status::error("not yet");
    assert_eq!(attempts[0].status, status);
    assert_eq!(attempts[1].status, Status::Unset);
}

#[scenario]
async fn a_request_its_responder_and_the_reply_are_one_trace(fixture: Fixture) {
    let queue = fixture.name("queue");
    let exchange = fixture.name("exchange");
    let spans = traced(async {
        let (service, answers) = channel(&fixture).await;
        answers
            .register_responder(&exchange, "direct")
            .queue(&queue)
            .callback(|n: Delivery<u32>| async move { Ok::<_, &str>(n.msg + 1) })
            .await
            .unwrap();
        let (conn, asks) = channel(&fixture).await;
        let asking = asks.request::<u32>(&exchange, &1).into_future();
        let reply = processing(&service, "the reply", asking).await;
        assert_eq!(reply.unwrap(), 2);
        // The responder's own end comes with the confirm of its reply.
        service.shutdown(crate::expect::LIMIT).await.unwrap();
        conn.close().await.unwrap();
    })
    .await;
    let names = [
        format!("publish {exchange}"),
        format!("process {queue}"),
        "publish ".to_owned(),
    ];
    spans.expect_chain(&names.each_ref().map(String::as_str));
}

#[scenario]
async fn without_opentelemetry_no_header_is_added(fixture: Fixture) {
    let (_conn, chan) = channel(&fixture).await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    crate::steps::put(&chan, &queue, "message").await;
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert!(got.properties.headers.is_empty());
    got.ack().await.unwrap();
}
