//! Scenarios from the tests of Python's mooq.

use mooq::{ErrorKind, ExchangeKind};

use crate::Fixture;
use crate::scenario;
use crate::steps::{bodies, record};

#[scenario]
async fn direct_runs_the_callback(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("log");
    let (recorder, mut calls) = record::<String>();

    chan.register_producer(&exchange, ExchangeKind::Direct)
        .await
        .unwrap();
    chan.register_consumer(&exchange, ExchangeKind::Direct)
        .queue(fixture.name("consumer"))
        .routing_key("fake_routing_key")
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.publish(&exchange, "fake_message")
        .routing_key("fake_routing_key")
        .await
        .unwrap();

    let call = calls.next(&conn).await;
    assert_eq!(call.msg, "fake_message");
    assert_eq!(call.routing_key, "fake_routing_key");
    assert_eq!(call.exchange, exchange.as_str());
    assert_eq!(call.queue, fixture.name("consumer").as_str());
    assert!(!call.redelivered);
    conn.process_events().cycles(1).await.unwrap();
    assert!(calls.so_far().is_empty(), "the callback ran once");
}

#[scenario]
async fn topic_runs_the_callback(fixture: Fixture) {
    let keys = received(&fixture, "topic", &["*.red", "ball.*"], &["apple.red"]).await;
    assert_eq!(keys, ["apple.red"]);
}

#[scenario]
async fn fanout_runs_the_callbacks_of_every_queue(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    chan.register_producer(&exchange, "fanout").await.unwrap();
    let mut both = Vec::new();
    for queue in ["first", "second"] {
        let (recorder, calls) = record::<String>();
        chan.register_consumer(&exchange, "fanout")
            .queue(fixture.name(queue))
            .callback(recorder.callback())
            .await
            .unwrap();
        both.push(calls);
    }
    chan.publish(&exchange, "fake_message").await.unwrap();
    for calls in &mut both {
        assert_eq!(calls.next(&conn).await.msg, "fake_message");
    }
}

#[scenario]
async fn fanout_keeps_the_routing_key_and_does_not_look_at_it(fixture: Fixture) {
    let keys = received(&fixture, "fanout", &["bound"], &["other", ""]).await;
    assert_eq!(keys, ["other", ""]);
}

#[scenario]
async fn headers_run_the_callback_where_they_match(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, ExchangeKind::Headers)
        .header("x-match", "all")
        .header("format", "pdf")
        .header("pages", 2)
        .callback(recorder.callback())
        .await
        .unwrap();
    for (body, format, pages) in [("zip", "zip", 2), ("long", "pdf", 3), ("both", "pdf", 2)] {
        chan.publish(&exchange, body)
            .header("format", format)
            .header("pages", pages)
            .await
            .unwrap();
    }
    // The queue keeps their order, so that the others would have come before.
    assert_eq!(calls.next(&conn).await.msg, "both");
}

#[scenario]
async fn a_key_that_does_not_match_does_not_run_the_callback(fixture: Fixture) {
    let published = ["another_routing_key", "fake_routing_key"];
    let keys = received(&fixture, "direct", &["fake_routing_key"], &published).await;
    assert_eq!(keys, ["fake_routing_key"]);
}

#[scenario]
async fn each_of_several_routing_keys_runs_the_callback(fixture: Fixture) {
    let keys = ["fake_routing_key2", "fake_routing_key"];
    assert_eq!(received(&fixture, "direct", &keys, &keys).await, keys);
}

#[scenario]
async fn two_exclusive_queues_both_get_the_message(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let mut both = Vec::new();
    for _ in 0..2 {
        let (recorder, calls) = record::<String>();
        let consumer = chan
            .register_consumer(&exchange, ExchangeKind::Direct)
            .routing_key("fake_routing_key")
            .callback(recorder.callback())
            .await
            .unwrap();
        both.push((consumer.queue().clone(), calls));
    }
    assert!(both[0].0.starts_with("amq.gen-"), "{}", both[0].0);
    assert_ne!(both[0].0, both[1].0);
    chan.publish(&exchange, "fake_message")
        .routing_key("fake_routing_key")
        .await
        .unwrap();
    for (queue, calls) in &mut both {
        let call = calls.next(&conn).await;
        assert_eq!(call.msg, "fake_message");
        assert_eq!(&call.queue, queue);
    }
}

#[scenario]
async fn a_producer_of_another_type_is_bad_exchange(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    chan.register_producer(&exchange, ExchangeKind::Direct)
        .await
        .unwrap();
    let again = chan.register_producer(&exchange, ExchangeKind::Fanout);
    expect_other_type(&again.await.unwrap_err(), &exchange);
}

#[scenario]
async fn a_consumer_of_another_type_is_bad_exchange(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, _calls) = record::<String>();
    chan.register_producer(&exchange, ExchangeKind::Direct)
        .await
        .unwrap();
    let err = chan
        .register_consumer(&exchange, ExchangeKind::Fanout)
        .queue(fixture.name("consumer"))
        .routing_key("fake_routing_key")
        .callback(recorder.callback())
        .await
        .unwrap_err();
    expect_other_type(&err, &exchange);
}

#[scenario]
async fn an_exchange_may_be_declared_again_as_it_is(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    for _ in 0..2 {
        chan.register_producer(&exchange, ExchangeKind::Direct)
            .await
            .unwrap();
    }
    chan.publish(&exchange, "fake_message").await.unwrap();
}

#[scenario]
async fn publishing_to_a_missing_exchange_fails(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("missing");
    let err = chan.publish(&exchange, "lost").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
    crate::expect_reason(
        &err,
        404,
        (60, 40),
        &format!("NOT_FOUND - no exchange '{exchange}' in vhost '/'"),
    );
}

#[scenario]
async fn topic_ball_red_runs_the_callback(fixture: Fixture) {
    assert_eq!(ball_or_red(&fixture, "ball.red").await, ["ball.red"]);
}

#[scenario]
async fn topic_ball_yellow_runs_the_callback(fixture: Fixture) {
    assert_eq!(ball_or_red(&fixture, "ball.yellow").await, ["ball.yellow"]);
}

#[scenario]
async fn topic_apple_red_runs_the_callback(fixture: Fixture) {
    assert_eq!(ball_or_red(&fixture, "apple.red").await, ["apple.red"]);
}

#[scenario]
async fn topic_apple_yellow_does_not_run_the_callback(fixture: Fixture) {
    assert!(ball_or_red(&fixture, "apple.yellow").await.is_empty());
}

#[scenario]
async fn topic_wildcards_match_any_two_words(fixture: Fixture) {
    let published = ["absolutely.everything", "one", "a.b.c", "two.words"];
    let keys = received(&fixture, "topic", &["*.*"], &published).await;
    assert_eq!(keys, ["absolutely.everything", "two.words"]);
}

#[scenario]
async fn bindings_that_both_match_bring_one_copy(fixture: Fixture) {
    let published = ["ball.red", "ball.blue"];
    let keys = received(&fixture, "topic", &["*.*", "ball.red"], &published).await;
    assert_eq!(keys, published, "no second copy between them");
}

#[scenario]
async fn json_carries_any_value(fixture: Fixture) {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Order {
        id: u64,
        lines: Vec<(String, f64)>,
        note: Option<String>,
    }
    let order = Order {
        id: u64::MAX,
        lines: vec![("bÿte \u{1f980} \"quoted\"\n".into(), -0.5)],
        note: None,
    };
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<Order>();
    chan.register_consumer(&exchange, ExchangeKind::Fanout)
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.publish(&exchange, &order).await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, order);
}

/// The keys of `published` that reach a queue bound with `bound`, in order.
///
/// The last of `published` must reach the queue: then all before it have arrived.
async fn received(
    fixture: &Fixture,
    kind: &str,
    bound: &[&str],
    published: &[&str],
) -> Vec<String> {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<usize>();
    chan.register_consumer(&exchange, kind)
        .queue(fixture.name("consumer"))
        .routing_keys(bound.iter().copied())
        .callback(recorder.callback())
        .await
        .unwrap();
    for (number, key) in published.iter().enumerate() {
        chan.publish(&exchange, &number)
            .routing_key(*key)
            .await
            .unwrap();
    }
    let mut keys = Vec::new();
    loop {
        let call = calls.next(&conn).await;
        keys.push(call.routing_key.to_string());
        if call.msg + 1 == published.len() {
            break;
        }
    }
    conn.process_events().until_idle().await.unwrap();
    assert!(bodies(calls.so_far()).is_empty(), "nothing comes after");
    keys
}

/// The messages with `key` in a queue for balls and red things: one or none.
async fn ball_or_red(fixture: &Fixture, key: &str) -> Vec<String> {
    let mut keys = received(fixture, "topic", &["ball.*", "*.red"], &[key, "ball.end"]).await;
    assert_eq!(keys.pop().as_deref(), Some("ball.end"));
    keys
}

fn expect_other_type(err: &mooq::Error, exchange: &str) {
    assert_eq!(err.kind(), ErrorKind::ExchangeMismatch);
    crate::expect_reason(
        err,
        406,
        (40, 10),
        &format!(
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{exchange}' in vhost '/': \
             received 'fanout' but current is 'direct'"
        ),
    );
}
