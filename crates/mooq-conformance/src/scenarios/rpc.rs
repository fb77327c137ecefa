//! Requests and replies: values, errors, codecs, and what becomes of late ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::poll;
use mooq::topology::Overflow;
use mooq::{Channel, Connection, Delivery, ErrorKind, RawBytes, RemoteError, Retry, Rpc, Text};
use tokio::sync::{Barrier, Notify, mpsc};
use tokio::task::JoinHandle;

use crate::expect::{INTENDED, LIMIT};
use crate::scenario;
use crate::steps::{drain, put, ready_in, until_gone};
use crate::{Fixture, within};

/// Polls until a queue has this number of ready messages.
pub(super) async fn until_ready(chan: &Channel, queue: &str, count: u32) {
    let ready = async { while ready_in(chan, queue).await != count {} };
    within("the queue's messages", ready).await;
}

/// Registers a responder of `queue` that doubles, and answers numbers over 1,000 with an error.
pub(super) async fn doubles(chan: &Channel, exchange: &str, queue: &str) {
    chan.register_responder(exchange, "direct")
        .queue(queue)
        .callback(double)
        .await
        .unwrap();
}

pub(super) async fn double(number: Delivery<u32>) -> Result<u32, RemoteError> {
    match number.msg {
        0..=1000 => Ok(2 * number.msg),
        _ => Err(RemoteError::new("TooLarge", "at most 1,000")),
    }
}

/// A connection whose events are processed in a task.
pub(super) struct Service {
    conn: Connection,
    running: JoinHandle<mooq::Result<()>>,
}

impl Service {
    pub(super) fn start(conn: Connection) -> Self {
        let running = conn.clone();
        let running = tokio::spawn(async move { running.process_events().await });
        Self { conn, running }
    }

    /// Ends once what runs is answered and acknowledged.
    pub(super) async fn end(self) {
        self.conn.shutdown(LIMIT).await.unwrap();
        within("the end of processing", self.running)
            .await
            .unwrap()
            .unwrap();
    }
}

/// A connection on which [`doubles`] answers, and one with a channel to ask on.
struct Pair {
    service: Service,
    exchange: String,
    queue: String,
    chan: Channel,
    // Keeps the connection open, as the channel does.
    _conn: Connection,
}

impl Pair {
    async fn connect(fixture: &Fixture) -> Self {
        let (service, answers) = fixture.channel().await;
        let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
        doubles(&answers, &exchange, &queue).await;
        let (conn, chan) = fixture.channel().await;
        Self {
            service: Service::start(service),
            exchange,
            queue,
            chan,
            _conn: conn,
        }
    }

    /// Asks for the double of `number`.
    async fn ask(&self, number: u32) -> mooq::Result<u32> {
        let request = self.chan.request(&self.exchange, &number);
        within("the reply", request).await
    }
}

#[scenario]
async fn request_is_answered_with_its_responders_value(fixture: Fixture) {
    let pair = Pair::connect(&fixture).await;
    assert_eq!(pair.ask(21).await.unwrap(), 42);
    assert_eq!(pair.ask(4).await.unwrap(), 8);
    pair.service.end().await;
    assert_eq!(pair.chan.late_replies(), 0);
    assert_eq!(ready_in(&pair.chan, &pair.queue).await, 0);
}

#[scenario]
async fn requests_in_flight_on_one_channel_are_answered_in_any_order(fixture: Fixture) {
    const REQUESTS: usize = 100;
    let (service, answers) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    // No request is answered before all have come.
    let barrier = Arc::new(Barrier::new(REQUESTS));
    answers
        .register_responder(&exchange, "direct")
        .callback(move |number: Delivery<usize>| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                // The later ones are answered first.
                for _ in 0..2 * (REQUESTS - number.msg) {
                    tokio::task::yield_now().await;
                }
                Ok::<_, RemoteError>(number.msg * number.msg)
            }
        })
        .await
        .unwrap();
    let service = Service::start(service);
    let (_conn, chan) = fixture.channel().await;
    let requests = (0..REQUESTS).map(|number| {
        let request = chan.request::<usize>(&exchange, &number);
        async move { Ok::<_, mooq::Error>((number, request.await?)) }
    });
    let answered = within("the replies", try_join_all(requests)).await;
    for (number, square) in answered.unwrap() {
        assert_eq!(square, number * number);
    }
    service.end().await;
    assert_eq!(chan.late_replies(), 0);
}

#[scenario]
async fn channels_get_their_own_replies(fixture: Fixture) {
    let pair = Pair::connect(&fixture).await;
    let (conn, one) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let requests = (0..20).flat_map(|number| {
        [&pair.chan, &one, &other].map(|chan| {
            let request = chan.request::<u32>(&pair.exchange, &number);
            async move { request.await.map(|twice| assert_eq!(twice, 2 * number)) }
        })
    });
    let answered = within("the replies", try_join_all(requests)).await;
    answered.unwrap();
    pair.service.end().await;
    for chan in [&pair.chan, &one, &other] {
        assert_eq!(chan.late_replies(), 0);
    }
}

#[scenario]
async fn error_of_a_responder_has_its_name_and_message(fixture: Fixture) {
    let pair = Pair::connect(&fixture).await;
    let err = pair.ask(1001).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Remote, "{err}");
    let remote = RemoteError::of(&err).unwrap();
    assert_eq!(
        (remote.name(), remote.message()),
        ("TooLarge", "at most 1,000")
    );
    assert_eq!(pair.ask(1).await.unwrap(), 2);
    pair.service.end().await;
    // All are done.
    assert_eq!(ready_in(&pair.chan, &pair.queue).await, 0);
}

#[scenario]
async fn request_that_reaches_no_queue_has_no_responder_at_once(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let responder = answers
        .register_responder(&exchange, "direct")
        .callback(double)
        .await
        .unwrap();
    let service = Service::start(service);
    let ask = || chan.request::<u32>(&exchange, &1);
    assert_eq!(within("the reply", ask()).await.unwrap(), 2);

    let err = within("an error", ask().routing_key("other"))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponder, "{err}");
    assert!(err.to_string().contains("'other'"), "{err}");

    // The queue goes with its responder.
    let queue = responder.queue();
    responder.cancel().await.unwrap();
    until_gone(&fixture, &queue).await;
    let err = within("an error", ask()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponder, "{err}");
    service.end().await;
}

#[scenario]
async fn request_that_a_full_queue_refuses_is_nacked(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let full = chan.declare_queue(&queue).max_length(1);
    full.overflow(Overflow::RejectPublish).await.unwrap();
    put(&chan, &queue, "first").await;
    let request = chan.request::<u32>("", &1).routing_key(&queue);
    let err = within("an error", request).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Nacked, "{err}");
}

#[scenario]
async fn request_to_a_missing_exchange_fails_and_the_next_is_answered(fixture: Fixture) {
    let pair = Pair::connect(&fixture).await;
    let missing = fixture.name("missing");
    // The first of a channel, and one after the channel was reopened.
    for number in [1, 2] {
        let request = pair.chan.request::<u32>(&missing, &number);
        let err = within("an error", request).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ExchangeNotFound, "{err}");
        assert_eq!(pair.ask(number).await.unwrap(), 2 * number);
    }
    pair.service.end().await;
}

#[scenario]
async fn request_expires_with_its_timeout(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let brief = Duration::from_millis(20);
    let request = chan.request::<u32>("", &1).routing_key(&queue);
    let err = within("an error", request.timeout(brief))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut, "{err}");
    assert!(err.to_string().contains("timeout of 20ms"), "{err}");
    // No responder gets it later.
    until_ready(&chan, &queue, 0).await;

    let request = chan.request::<u32>("", &2).routing_key(&queue);
    let request = tokio::spawn(request.into_future());
    until_ready(&chan, &queue, 1).await;
    let asked = chan.get_one::<u32>(&queue).await.unwrap();
    let expiration = asked.properties.expiration.as_deref().unwrap();
    let left: u128 = expiration.parse().unwrap();
    assert!((1..=LIMIT.as_millis()).contains(&left), "{left}");
    request.abort();
    asked.ack().await.unwrap();
}

#[scenario]
async fn request_that_is_never_polled_is_not_sent(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let request = chan.request::<u32>("", &1).routing_key(&queue);
    drop(request.into_future());
    put(&chan, &queue, "last").await;
    assert_eq!(drain(&chan, &queue).await, ["last"]);
}

#[scenario]
async fn reply_to_a_request_that_was_dropped_is_counted(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (came, mut comes) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let may_answer = Arc::clone(&go_on);
    answers
        .register_responder(&exchange, "direct")
        .concurrency(1)
        .callback(move |number: Delivery<u32>| {
            let (came, go_on) = (came.clone(), Arc::clone(&may_answer));
            async move {
                came.send(number.msg).unwrap();
                go_on.notified().await;
                Ok::<_, RemoteError>(number.msg)
            }
        })
        .await
        .unwrap();
    let service = Service::start(service);
    let (_conn, chan) = fixture.channel().await;
    let story = async {
        let mut dropped = Box::pin(chan.request::<u32>(&exchange, &1).into_future());
        let came = async {
            tokio::select! {
                biased;
                answered = &mut dropped => panic!("it was answered: {answered:?}"),
                came = comes.recv() => came,
            }
        };
        assert_eq!(came.await, Some(1));
        drop(dropped);
        // Both may be answered now.
        go_on.notify_one();
        let mut second = Box::pin(chan.request::<u32>(&exchange, &2).into_future());
        assert!(poll!(&mut second).is_pending());
        assert_eq!(comes.recv().await, Some(2));
        go_on.notify_one();
        assert_eq!(second.await.unwrap(), 2);
    };
    within("the replies", story).await;
    service.end().await;
    assert_eq!(chan.late_replies(), 1);
}

#[scenario]
async fn requests_and_replies_have_the_codec_that_they_ask_for(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    answers
        .register_responder(&exchange, "direct")
        .codec(Text)
        .reply_codec(RawBytes)
        .callback(|text: Delivery<String>| async move {
            assert_eq!(text.properties.content_type.as_deref(), Some("text/plain"));
            assert_eq!(text.body().unwrap(), "loud");
            Ok::<_, RemoteError>(text.msg.to_uppercase().into_bytes())
        })
        .await
        .unwrap();
    let service = Service::start(service);
    let (_conn, chan) = fixture.channel().await;
    let story = async {
        let loud: String = chan.request_with(&exchange, "loud", Text).await.unwrap();
        assert_eq!(loud, "LOUD");
        let request = chan.request_with::<Bytes, _, _>(&exchange, "loud", Text);
        assert_eq!(request.codec(RawBytes).await.unwrap(), "LOUD");

        let request = chan.request_with::<u32, _, _>(&exchange, "loud", Text);
        let err = request.codec(mooq::Json).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode, "{err}");
        let text = err.to_string();
        assert!(text.contains("with application/octet-stream"), "{text}");
        assert!(text.contains("u32"), "{text}");
    };
    within("the replies", story).await;
    service.end().await;
}

#[scenario]
async fn responder_that_cannot_answer_says_so(fixture: Fixture) {
    /// A value that cannot be JSON.
    #[derive(Debug)]
    struct NoJson;

    impl serde::Serialize for NoJson {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it is a secret"))
        }
    }

    let pair = Pair::connect(&fixture).await;
    let answers = pair.service.conn.create_channel().await.unwrap();
    answers
        .register_responder(&pair.exchange, "direct")
        .routing_key("encode")
        .callback(|_: Delivery<u32>| async { Ok::<_, RemoteError>(NoJson) })
        .await
        .unwrap();
    answers
        .register_responder(&pair.exchange, "direct")
        .routing_key("panic")
        .callback(|number: Delivery<u32>| async move {
            assert_ne!(number.msg, 1, "{INTENDED}");
            Ok::<_, RemoteError>(number.msg)
        })
        .await
        .unwrap();
    for (key, name, text) in [
        ("encode", RemoteError::ENCODE, "it is a secret"),
        ("panic", RemoteError::PANICKED, INTENDED),
    ] {
        let request = pair.chan.request::<u32>(&pair.exchange, &1);
        let answered = within("the reply", request.routing_key(key)).await;
        let err = answered.unwrap_err();
        let remote = RemoteError::of(&err).unwrap();
        assert_eq!(remote.name(), name);
        assert!(remote.message().contains(text), "{remote}");
    }
    let request = pair.chan.request::<u32>(&pair.exchange, "no number");
    let err = within("the reply", request).await.unwrap_err();
    assert_eq!(RemoteError::of(&err).unwrap().name(), RemoteError::DECODE);
    assert_eq!(pair.ask(3).await.unwrap(), 6);
    pair.service.end().await;
    // None of these requests comes again.
    assert_eq!(ready_in(&pair.chan, &pair.queue).await, 0);
}

#[scenario]
async fn responder_may_ask_another_and_passes_its_error_on(fixture: Fixture) {
    let pair = Pair::connect(&fixture).await;
    let outer = fixture.name("outer");
    let answers = pair.service.conn.create_channel().await.unwrap();
    let asks = answers.clone();
    let inner = pair.exchange.clone();
    answers
        .register_responder(&outer, "direct")
        .callback(move |number: Delivery<u32>| {
            let request = asks.request::<u32>(inner.as_str(), &number.msg);
            async move { request.await }
        })
        .await
        .unwrap();
    let ask = |number: u32| pair.chan.request::<u32>(&outer, &number);
    let story = async {
        assert_eq!(ask(5).await.unwrap(), 10);
        let err = ask(5000).await.unwrap_err();
        assert_eq!(RemoteError::of(&err).unwrap().name(), "TooLarge");
    };
    within("the replies", story).await;
    pair.service.end().await;
}

#[scenario]
async fn message_that_asks_for_no_reply_is_handled_by_the_consumers_policy(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let dead = fixture.name("dead");
    answers.declare_queue(&dead).await.unwrap();
    answers
        .register_responder(&exchange, "direct")
        .queue(&queue)
        .concurrency(1)
        .consumer(|consumer| {
            let consumer = consumer.dead_letter("", dead.as_str());
            consumer.retry(Retry::never().then_reject())
        })
        .callback(double)
        .await
        .unwrap();
    let service = Service::start(service);
    let (_conn, chan) = fixture.channel().await;
    for number in [1, 5000, 2] {
        chan.publish(&exchange, &number).await.unwrap();
    }
    // Answered after those before it.
    let last = within("the reply", chan.request::<u32>(&exchange, &3)).await;
    assert_eq!(last.unwrap(), 6);
    service.end().await;
    until_ready(&chan, &dead, 1).await;
    let dead = chan.get_one::<u32>(&dead).await.unwrap();
    assert_eq!(dead.ack().await.unwrap(), 5000);
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn reply_whose_queue_is_gone_is_counted_and_its_request_is_done(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let responder = answers
        .register_responder(&exchange, "direct")
        .queue(&queue)
        .concurrency(1)
        .callback(double)
        .await
        .unwrap();
    let service = Service::start(service);
    let (_conn, chan) = fixture.channel().await;
    let gone = chan.publish(&exchange, &1);
    gone.reply_to(fixture.name("gone")).await.unwrap();
    let next = within("the reply", chan.request::<u32>(&exchange, &2)).await;
    assert_eq!(next.unwrap(), 4);
    assert_eq!(responder.unroutable_replies(), 1);
    service.end().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn shutdown_lets_a_responder_wait_for_a_reply_of_its_own(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let inner = fixture.name("inner");
    answers.declare_queue(&inner).await.unwrap();
    let (asks, to) = (answers.clone(), inner.clone());
    answers
        .register_responder(&exchange, "direct")
        .queue(&queue)
        .callback(move |number: Delivery<u32>| {
            let request = asks.request::<u32>("", &number.msg);
            request.routing_key(to.as_str()).into_future()
        })
        .await
        .unwrap();
    let service = Service::start(service);
    let (_conn, chan) = fixture.channel().await;
    let request = tokio::spawn(chan.request::<u32>(&exchange, &7).into_future());
    let asked = within(
        "the inner request",
        chan.get_one::<u32>(&inner).timeout(LIMIT),
    );
    let asked = asked.await.unwrap();

    let ending = tokio::spawn(service.end());
    let consumers = async || chan.declare_queue(&queue).passive().await.unwrap();
    let stopped = async { while consumers().await.consumer_count > 0 {} };
    within("the end of the consumer", stopped).await;
    let reply = chan.publish("", &8);
    let reply = reply.routing_key(asked.properties.reply_to.as_ref().unwrap().as_str());
    let id = asked.properties.correlation_id.clone().unwrap();
    reply.correlation_id(id).await.unwrap();
    asked.ack().await.unwrap();

    assert_eq!(within("the reply", request).await.unwrap().unwrap(), 8);
    within("the shutdown", ending).await.unwrap();
}
