//! Layers around callbacks and publishes.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq::layers::{Outgoing, RateLimit, SeenInMemory, TimeoutLayer, Undecodable, WithLayers};
use mooq::{
    CallbackError, Channel, Delivery, ErrorKind, Outcome, RegisterCallback, Retry, Rpc,
    WithCallback,
};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tower_layer::{Layer, layer_fn};
use tower_service::Service;

use crate::expect::{INTENDED, LIMIT};
use crate::scenario;
use crate::steps::{bodies, drain, fill, processing, put, quickly, record};
use crate::{Fixture, within};

/// A layer that notes when calls begin and how they end.
#[derive(Clone)]
struct Noting {
    name: &'static str,
    notes: UnboundedSender<String>,
}

fn notes() -> (impl Fn(&'static str) -> Noting, UnboundedReceiver<String>) {
    let (notes, noted) = mpsc::unbounded_channel();
    let layer = move |name| Noting {
        name,
        notes: notes.clone(),
    };
    (layer, noted)
}

impl Noting {
    fn note(&self, what: &str) {
        let _ = self.notes.send(format!("{} {what}", self.name));
    }
}

impl<S> Layer<S> for Noting {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Clone)]
struct Noted<S> {
    inner: S,
    layer: Noting,
}

/// Notes the end of a call that is cut off or panics.
struct Call(Option<Noting>);

impl Call {
    fn end(mut self, how: &str) {
        if let Some(layer) = self.0.take() {
            layer.note(how);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let how = match std::thread::panicking() {
            true => "unwinds",
            false => "is dropped",
        };
        if let Some(layer) = &self.0 {
            layer.note(how);
        }
    }
}

impl<S, R> Service<R> for Noted<S>
where
    S: Service<R, Future: Send + 'static, Response: Send, Error: std::fmt::Display>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.layer.note("begins");
        let call = Call(Some(self.layer.clone()));
        let inner = self.inner.call(request);
        Box::pin(async move {
            let ended = inner.await;
            match &ended {
                Ok(_) => call.end("ends"),
                Err(err) => call.end(&format!("fails: {err}")),
            }
            ended
        })
    }
}

/// A service before which a function may change or refuse what it is called with.
#[derive(Clone)]
struct Wrapped<S, F>(S, F);

impl<S, F, R> Service<R> for Wrapped<S, F>
where
    S: Service<R, Error: Into<CallbackError>, Future: Send + 'static, Response: Send + 'static>,
    F: Fn(R) -> Result<R, CallbackError>,
{
    type Response = S::Response;
    type Error = CallbackError;
    type Future = BoxFuture<'static, Result<S::Response, CallbackError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallbackError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match (self.1)(request) {
            Ok(request) => {
                let call = self.0.call(request);
                Box::pin(async move { call.await.map_err(Into::into) })
            }
            Err(err) => Box::pin(async { Err(err) }),
        }
    }
}

/// A callback that records, on a queue with one message.
async fn recorded(
    chan: &Channel,
    queue: &str,
) -> (
    RegisterCallback<(), WithCallback>,
    crate::steps::Calls<String>,
) {
    fill(chan, queue, &["message"]).await;
    let (recorder, calls) = record::<String>();
    let registering = chan.register_callback(queue).callback(recorder.callback());
    (registering, calls)
}

#[scenario]
async fn layers_are_around_a_callback_in_the_order_in_which_they_were_added(fixture: Fixture) {
    let (layer, mut noted) = notes();
    let options = fixture.options().callback_layer(layer("connection"));
    let conn = fixture.open(options).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let chan = chan.callback_layer(layer("channel"));
    let (registering, _calls) = recorded(&chan, &fixture.name("queue")).await;
    registering
        .layer(layer("first"))
        .layer(layer("second"))
        .await
        .unwrap();
    let story = async {
        let order = ["connection", "channel", "first", "second"];
        for name in order {
            assert_eq!(noted.recv().await, Some(format!("{name} begins")));
        }
        for name in order.into_iter().rev() {
            assert_eq!(noted.recv().await, Some(format!("{name} ends")));
        }
    };
    processing(&conn, "one callback", story).await;
}

#[scenario]
async fn errors_and_panics_of_a_callback_pass_through_its_layers(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (layer, mut noted) = notes();
    chan.register_callback(&queue)
        .retry(quickly())
        .layer(layer("layer"))
        .callback(|resp: Delivery<String>| async move {
            match resp.attempt {
                1 => Err("not yet"),
                2 => panic!("{INTENDED}"),
                _ => Ok(()),
            }
        })
        .await
        .unwrap();
    let story = async {
        for end in ["fails: not yet", "unwinds", "ends"] {
            assert_eq!(noted.recv().await.as_deref(), Some("layer begins"));
            assert_eq!(noted.recv().await, Some(format!("layer {end}")));
        }
    };
    processing(&conn, "three attempts", story).await;
}

#[scenario]
async fn a_callback_that_is_cut_off_drops_its_layers(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (layer, mut noted) = notes();
    chan.register_callback(&queue)
        .layer(layer("layer"))
        .callback(|_: Delivery<String>| std::future::pending::<()>())
        .await
        .unwrap();
    let begins = processing(&conn, "the callback", noted.recv()).await;
    assert_eq!(begins.as_deref(), Some("layer begins"));
    let dropped = within("the end of the call", noted.recv()).await;
    assert_eq!(dropped.as_deref(), Some("layer is dropped"));
}

#[scenario]
async fn a_layer_sees_the_body_before_it_is_decoded_and_may_change_it(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (registering, mut calls) = recorded(&chan, &fixture.name("queue")).await;
    let change = |mut delivery: Delivery<Bytes>| {
        assert_eq!(delivery.msg, "\"message\"");
        delivery.msg = Bytes::from_static(b"\"another\"");
        Ok(delivery)
    };
    registering
        .layer(layer_fn(move |inner| Wrapped(inner, change)))
        .await
        .unwrap();
    let call = calls.next(&conn).await;
    assert_eq!(call.msg, "another");
    assert_eq!(call.body().unwrap(), "\"message\"");
}

#[scenario]
async fn a_body_that_does_not_decode_is_an_error_to_layers(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    chan.publish("", &1).routing_key(&queue).await.unwrap();
    let (told, mut kinds) = mpsc::unbounded_channel();
    let tell = move |result: &Result<Outcome, CallbackError>| {
        let is_undecodable = matches!(result, Err(err) if err.is::<Undecodable>());
        let _ = told.send(is_undecodable);
    };
    let (recorder, _calls) = record::<String>();
    chan.register_callback(&queue)
        .on_decode_error(Retry::never().then_reject())
        .layer(layer_fn(move |inner| Ending(inner, tell.clone())))
        .callback(recorder.callback())
        .await
        .unwrap();
    let seen = processing(&conn, "the error", kinds.recv()).await;
    assert_eq!(seen, Some(true));
    conn.shutdown(LIMIT).await.unwrap();
}

/// A service whose end a function sees.
#[derive(Clone)]
struct Ending<S, F>(S, F);

impl<S, F, R> Service<R> for Ending<S, F>
where
    S: Service<R, Future: Send + 'static, Response: Send + 'static, Error: Send + 'static>,
    F: Fn(&Result<S::Response, S::Error>) + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (call, see) = (self.0.call(request), self.1.clone());
        Box::pin(async move {
            let ended = call.await;
            see(&ended);
            ended
        })
    }
}

#[scenario]
async fn a_layer_of_tower_cuts_off_a_callback_that_is_retried(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .retry(quickly())
        .layer(TimeoutLayer::new(Duration::from_millis(50)))
        .callback(move |resp: Delivery<String>| {
            let attempt = resp.attempt;
            recorder.note(resp);
            async move {
                if attempt == 1 {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await
        .unwrap();
    let both = async { [calls.noted().await, calls.noted().await] };
    let calls = processing(&conn, "two calls", both).await;
    assert_eq!(calls[1].last_error.as_deref(), Some("request timed out"));
}

#[scenario]
async fn a_rate_limit_spreads_callbacks(fixture: Fixture) {
    const PERIOD: Duration = Duration::from_millis(200);
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3", "4", "5"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .layer(RateLimit::new(2, PERIOD))
        .callback(recorder.callback())
        .await
        .unwrap();
    let start = Instant::now();
    let all = async {
        for name in ["1", "2", "3", "4", "5"] {
            assert_eq!(calls.noted().await.msg, name);
        }
    };
    processing(&conn, "five calls", all).await;
    assert!(start.elapsed() >= 2 * PERIOD);
}

#[scenario]
async fn layers_are_around_a_publish_in_the_order_in_which_they_were_added(fixture: Fixture) {
    let (layer, mut noted) = notes();
    let options = fixture.options().publish_layer(layer("connection"));
    let conn = fixture.open(options).await.unwrap();
    let plain = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    plain.declare_queue(&queue).await.unwrap();
    let chan = plain.clone().publish_layer(layer("channel"));

    put(&chan, &queue, "awaited").await;
    let sent = chan.publish("", "sent").routing_key(&queue);
    sent.send().await.unwrap().await.unwrap();
    let now = chan.publish("", "now").routing_key(&queue);
    now.publish_now().unwrap().await.unwrap();
    for _ in 0..3 {
        let steps = [
            "connection begins",
            "channel begins",
            "channel ends",
            "connection ends",
        ];
        for step in steps {
            assert_eq!(noted.try_recv().as_deref(), Ok(step));
        }
    }

    put(&plain, &queue, "plain").await;
    assert_eq!(noted.try_recv().as_deref(), Ok("connection begins"));
    assert_eq!(noted.try_recv().as_deref(), Ok("connection ends"));
    assert!(noted.try_recv().is_err());
    assert_eq!(
        drain(&plain, &queue).await,
        ["awaited", "sent", "now", "plain"]
    );
}

#[scenario]
async fn a_layer_may_change_what_is_published(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let change = |mut outgoing: Outgoing| {
        let properties = std::sync::Arc::make_mut(&mut outgoing.message.properties);
        let key = mooq::ShortString::try_from("trace")?;
        properties.headers.insert(key, "abc");
        Ok(outgoing)
    };
    let chan = chan.publish_layer(layer_fn(move |inner| Wrapped(inner, change)));
    put(&chan, &queue, "message").await;
    let got = chan.get_one::<String>(&queue).await.unwrap();
    let trace = got.properties.headers.get("trace");
    assert_eq!(trace.and_then(mooq::FieldValue::as_str), Some("abc"));
    got.ack().await.unwrap();
}

#[scenario]
async fn a_layer_that_fails_publishes_nothing_and_its_error_is_told(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let refuse = |_: Outgoing| Err("no more today".into());
    let layer = layer_fn(move |inner| Wrapped(inner, refuse));
    let refusing = chan.clone().publish_layer(layer);
    let publish = refusing.publish("", "message").routing_key(&queue);
    let err = publish.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::LayerFailed);
    assert!(err.to_string().contains("no more today"), "{err}");
    assert_eq!(drain(&chan, &queue).await, [""; 0]);
}

#[scenario]
async fn publish_now_does_not_wait_for_a_layer(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let limited = chan
        .clone()
        .publish_layer(RateLimit::new(1, Duration::from_secs(3_600)));
    put(&limited, &queue, "first").await;
    let second = limited.publish("", "second").routing_key(&queue);
    let err = second.publish_now().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    assert_eq!(drain(&chan, &queue).await, ["first"]);
}

#[scenario]
async fn a_layer_cannot_hold_up_a_publish_beyond_its_timeout(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let limited = chan
        .clone()
        .publish_layer(RateLimit::new(1, Duration::from_secs(3_600)));
    put(&limited, &queue, "first").await;
    let second = limited.publish("", "second").routing_key(&queue);
    let err = second.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut);
    assert_eq!(drain(&chan, &queue).await, ["first"]);
}

#[scenario]
async fn requests_and_replies_go_through_the_layers_of_their_channels(fixture: Fixture) {
    let (layer, mut noted) = notes();
    let (service, answers) = fixture.channel().await;
    let queue = fixture.name("queue");
    let answers = answers
        .callback_layer(layer("callback"))
        .publish_layer(layer("reply"));
    answers
        .register_responder(fixture.name("exchange"), "direct")
        .queue(&queue)
        .callback(|n: Delivery<u32>| async move { Ok::<_, &str>(n.msg + 1) })
        .await
        .unwrap();
    let (_conn, asks) = fixture.channel().await;
    let asks = asks.publish_layer(layer("request"));
    let asking = asks.request::<u32>("", &1).routing_key(&queue);
    let reply = processing(&service, "the reply", asking.into_future()).await;
    assert_eq!(reply.unwrap(), 2);
    let mut begun = Vec::new();
    while let Ok(note) = noted.try_recv() {
        begun.extend(note.strip_suffix(" begins").map(str::to_owned));
    }
    assert_eq!(begun, ["request", "callback", "reply"]);
}

#[scenario]
async fn a_message_that_was_handled_is_not_handled_again(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    for (id, body) in [
        (Some("1"), "a"),
        (Some("1"), "a"),
        (Some("2"), "b"),
        (None, "c"),
        (None, "c"),
    ] {
        let mut publish = chan.publish("", body).routing_key(&queue);
        if let Some(id) = id {
            publish = publish.message_id(id);
        }
        publish.await.unwrap();
    }
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .deduplicate(SeenInMemory::new(100, Duration::from_secs(3_600)))
        .callback(recorder.callback())
        .await
        .unwrap();
    let processing = conn.process_events().spawn();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(within("a callback", calls.noted()).await.msg);
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "c"]);
    conn.shutdown(LIMIT).await.unwrap();
    within("the end", processing).await.unwrap();
    assert!(calls.so_far().is_empty());
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(
        drain(&chan, &queue).await,
        [""; 0],
        "the other is acknowledged"
    );
}

#[scenario]
async fn a_message_that_failed_counts_as_handled_only_once_it_has_succeeded(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    for _ in 0..2 {
        let publish = chan.publish("", "message").routing_key(&queue);
        publish.message_id("1").await.unwrap();
    }
    let (recorder, mut calls) = record::<String>();
    let fails = std::sync::atomic::AtomicBool::new(true);
    chan.register_callback(&queue)
        .retry(quickly())
        .deduplicate(SeenInMemory::new(100, Duration::from_secs(3_600)))
        .callback(move |resp: Delivery<String>| {
            recorder.note(resp);
            let fails = fails.swap(false, std::sync::atomic::Ordering::SeqCst);
            async move { if fails { Err("not yet") } else { Ok(()) } }
        })
        .await
        .unwrap();
    let processing = conn.process_events().spawn();
    for _ in 0..2 {
        within("a callback", calls.noted()).await;
    }
    conn.shutdown(LIMIT).await.unwrap();
    within("the end", processing).await.unwrap();
    assert!(calls.so_far().is_empty());
}

#[scenario]
async fn with_ack_first_a_message_is_handled_at_most_once(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["fails", "hangs", "waits"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .retry(quickly())
        .concurrency(2)
        .ack_first()
        .callback(move |resp: Delivery<String>| {
            let name = resp.msg.clone();
            recorder.note(resp);
            async move {
                match &*name {
                    "fails" => Err::<(), _>("never"),
                    _ => std::future::pending().await,
                }
            }
        })
        .await
        .unwrap();
    let seen = bodies(calls.take(&conn, 3).await);
    assert_eq!(seen, ["fails", "hangs", "waits"]);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, [""; 0]);
}
