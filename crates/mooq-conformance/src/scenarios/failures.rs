//! Callbacks that fail, and bodies that do not decode.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mooq::{
    Channel, Connection, Consumer, Delivery, ErrorKind, Event, Json, NoCallback, Properties,
    RegisterConsumer, Retry,
};

use crate::expect::{INTENDED, LIMIT};
use crate::scenario;
use crate::steps::{Calls, bodies, drain, fill, processing, put, quickly, ready_in, record};
use crate::{Fixture, within};

/// A policy that retries after the scenario is over.
fn much_later() -> Retry {
    Retry::every(Duration::from_secs(3_600)).in_place()
}

#[scenario]
async fn a_failed_callback_is_tried_again_with_the_same_delivery(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, mut calls) = record::<String>();
    let attempts = AtomicUsize::new(0);
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(quickly())
        .callback(move |resp: Delivery<String>| {
            recorder.note(resp);
            let attempt = attempts.fetch_add(1, Ordering::SeqCst) + 1;
            async move { if attempt < 4 { Err("not yet") } else { Ok(()) } }
        })
        .await
        .unwrap();
    let seen = calls.take(&conn, 4).await;
    let seen = seen
        .iter()
        .map(|call| (call.delivery_tag, call.redelivered));
    assert_eq!(seen.collect::<Vec<_>>(), [(1, false); 4]);
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn failed_message_is_tried_again_and_never_lost_by_default(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |resp: Delivery<String>| {
            let result = works(&resp);
            recorder.note(resp);
            async { result }
        })
        .await
        .unwrap();
    // The default delay is a second.
    calls.take(&conn, 2).await;
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, ["bad"]);
}

#[scenario]
async fn a_callback_that_panics_is_caught_and_the_service_goes_on(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    put(&chan, &queue, "good").await;
    let (recorder, mut calls) = record::<String>();
    let panics = AtomicUsize::new(0);
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .concurrency(1)
        .retry(quickly())
        .callback(move |resp: Delivery<String>| {
            let panics = panics.fetch_add(1, Ordering::SeqCst) < 2;
            recorder.note(resp);
            async move { assert!(!panics, "{INTENDED}") }
        })
        .await
        .unwrap();
    assert_eq!(
        bodies(calls.take(&conn, 4).await),
        ["bad", "bad", "bad", "good"]
    );
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_callback_that_panics_before_its_future_is_caught_too(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, mut calls) = record::<String>();
    let panics = AtomicUsize::new(0);
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(quickly())
        .callback(move |resp: Delivery<String>| {
            recorder.note(resp);
            let panics = panics.fetch_add(1, Ordering::SeqCst) < 1;
            assert!(!panics, "{INTENDED}");
            async {}
        })
        .await
        .unwrap();
    assert_eq!(bodies(calls.take(&conn, 2).await), ["bad", "bad"]);
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

/// A consumer whose callback fails for "bad" `times` times, and then succeeds.
async fn fails_for_a_time(
    fixture: &Fixture,
    chan: &Channel,
    times: usize,
    set: impl FnOnce(RegisterConsumer<Json, NoCallback>) -> RegisterConsumer<Json, NoCallback>,
) -> (Consumer, Calls<String>) {
    let (recorder, calls) = record::<String>();
    let failed = AtomicUsize::new(0);
    let register = chan.register_consumer(fixture.name("exchange"), "fanout");
    let register = set(register.queue(fixture.name("queue")));
    let consumer = register
        .callback(move |resp: Delivery<String>| {
            let fails = resp.msg == "bad" && failed.fetch_add(1, Ordering::SeqCst) < times;
            recorder.note(resp);
            async move {
                if fails {
                    Err("the message is bad")
                } else {
                    Ok(())
                }
            }
        })
        .await
        .unwrap();
    (consumer, calls)
}

#[scenario]
async fn concurrency_of_one_has_messages_wait_behind_a_failed_one(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    put(&chan, &queue, "next").await;
    let (_, mut calls) = fails_for_a_time(&fixture, &chan, 2, |register| {
        register.concurrency(1).retry(quickly())
    })
    .await;
    assert_eq!(
        bodies(calls.take(&conn, 4).await),
        ["bad", "bad", "bad", "next"]
    );
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn failed_message_holds_no_other_up_where_several_may_run(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    for body in ["1", "2", "3"] {
        put(&chan, &queue, body).await;
    }
    let (_, mut calls) = fails_for_a_time(&fixture, &chan, 1, |register| {
        register.concurrency(2).retry(much_later())
    })
    .await;
    assert_eq!(bodies(calls.take(&conn, 4).await), ["bad", "1", "2", "3"]);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, ["bad"]);
}

#[scenario]
async fn a_message_is_rejected_after_as_many_attempts_as_were_asked_for(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    put(&chan, &queue, "next").await;
    let (_, mut calls) = fails_for_a_time(&fixture, &chan, 9, |register| {
        let policy = quickly().attempts(2).then_reject();
        register.concurrency(1).retry(policy)
    })
    .await;
    assert_eq!(bodies(calls.take(&conn, 3).await), ["bad", "bad", "next"]);
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn failing_message_is_reported_as_an_event(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let publish = chan.publish("", "bad").routing_key(&queue);
    publish.message_id("payment-7").await.unwrap();
    let mut events = conn.events();
    let (_, mut calls) =
        fails_for_a_time(&fixture, &chan, 3, |register| register.retry(quickly())).await;
    calls.take(&conn, 4).await;
    match within("the event", events.next()).await {
        Some(Event::KeepsFailing {
            queue: from,
            routing_key,
            message_id,
            attempts,
            error,
            ..
        }) => {
            assert_eq!((&*from, &*routing_key), (&*queue, &*queue));
            assert_eq!(message_id.as_deref(), Some("payment-7"));
            assert_eq!(attempts, 3);
            assert!(error.contains("the message is bad"), "{error}");
        }
        other => panic!("expected a failing message's event, not {other:?}"),
    }
}

#[scenario]
async fn a_cancelled_consumer_gives_back_what_it_would_try_again(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (consumer, mut calls) =
        fails_for_a_time(&fixture, &chan, 1, |register| register.retry(much_later())).await;
    // In two rounds of processing: the retry outlives the first round.
    calls.next(&conn).await;
    put(&chan, &queue, "next").await;
    assert_eq!(calls.next(&conn).await.msg, "next");
    consumer.cancel().await.unwrap();
    let got = chan.get::<String>(&queue).timeout(LIMIT).await.unwrap();
    assert_eq!((got.msg.as_str(), got.redelivered), ("bad", true));
    got.ack().await.unwrap();
}

#[scenario]
async fn a_shutdown_does_not_wait_for_what_would_be_tried_again(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (_, mut calls) =
        fails_for_a_time(&fixture, &chan, 1, |register| register.retry(much_later())).await;
    calls.next(&conn).await;
    let processed = conn.clone();
    let processing = tokio::spawn(async move { processed.process_events().await });
    // The shutdown ends without an error, so the time limit cut nothing off.
    conn.shutdown(LIMIT).await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, ["bad"]);
}

#[scenario]
async fn processing_until_idle_does_not_wait_for_what_would_be_tried_again(fixture: Fixture) {
    let (conn, chan, _queue) = bad_queue(&fixture).await;
    let (_, mut calls) =
        fails_for_a_time(&fixture, &chan, 1, |register| register.retry(much_later())).await;
    // The delivery first: a busy broker may take longer to deliver than processing stays idle.
    calls.next(&conn).await;
    let idle = conn.process_events().until_idle();
    within("the idleness", idle).await.unwrap();
    let cycles = conn.process_events().cycles(2);
    within("two cycles", cycles).await.unwrap();
    assert!(calls.so_far().is_empty());
}

#[scenario]
async fn requeue_brings_a_failed_message_back_until_it_works(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["works at the fourth attempt"]).await;
    let (recorder, mut calls) = record::<String>();
    let attempts = Arc::new(AtomicUsize::new(0));
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(Retry::requeue())
        .callback(move |resp: Delivery<String>| {
            recorder.note(resp);
            let attempt = attempts.fetch_add(1, Ordering::SeqCst) + 1;
            async move { if attempt < 4 { Err("not yet") } else { Ok(()) } }
        })
        .await
        .unwrap();
    let redelivered: Vec<bool> = calls
        .take(&conn, 4)
        .await
        .iter()
        .map(|call| call.redelivered)
        .collect();
    assert_eq!(redelivered, [false, true, true, true]);
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn reject_drops_a_failed_message_at_once(fixture: Fixture) {
    fails_once(fixture, Retry::never().then_reject()).await;
}

#[scenario]
async fn drop_takes_a_failed_message_as_done(fixture: Fixture) {
    fails_once(fixture, Retry::never().then_drop()).await;
}

/// Asserts that with `policy` a failed message does not come back.
async fn fails_once(fixture: Fixture, policy: Retry) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .retry(policy)
        .callback(move |resp: Delivery<String>| {
            let result = works(&resp);
            recorder.note(resp);
            async { result }
        })
        .await
        .unwrap();
    expect_calls(&conn, &chan, &queue, calls, &[false]).await;
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_body_that_does_not_decode_is_kept_and_the_next_one_processed(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let (recorder, mut calls) = record::<u32>();
    chan.declare_queue(&queue).await.unwrap();
    for body in [&b"not JSON"[..], br#""of another type""#, b"", b"7"] {
        let publish = chan.publish_with("", body, mooq::RawBytes);
        publish.routing_key(&queue).await.unwrap();
    }
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(recorder.callback())
        .await
        .unwrap();
    assert_eq!(calls.next(&conn).await.msg, 7);
    assert!(calls.so_far().is_empty());
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 3);
}

#[scenario]
async fn a_body_that_does_not_decode_goes_to_a_known_dead_letter_exchange(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
    chan.declare_queue(&dead).await.unwrap();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .queue_argument("x-dead-letter-exchange", "")
        .queue_argument("x-dead-letter-routing-key", dead.as_str())
        .callback(|_: Delivery<u32>| async {})
        .await
        .unwrap();
    put(&chan, &queue, "no number").await;
    let letter = chan.get::<String>(&dead).timeout(LIMIT);
    let letter = processing(&conn, "the dead letter", letter.into_future()).await;
    assert_eq!(letter.unwrap().ack().await.unwrap(), "no number");
}

/// A reject would lose the message: RabbitMQ drops a dead letter that has nowhere to go.
#[scenario]
async fn a_body_that_does_not_decode_is_kept_while_its_dead_letter_exchange_is_missing(
    fixture: Fixture,
) {
    let (conn, chan) = fixture.channel().await;
    let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
    chan.declare_queue(&queue)
        .dead_letter(&dead, &dead)
        .await
        .unwrap();
    put(&chan, &queue, "no number").await;

    let err = chan.get_one::<u32>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode, "{err}");
    let mut stream = chan.consume::<u32>(&queue).await.unwrap();
    let err = within("the delivery", stream.next()).await.unwrap();
    assert_eq!(err.unwrap_err().kind(), ErrorKind::Decode);
    stream.cancel().await.unwrap();
    assert_eq!(drain(&chan, &queue).await, ["no number"]);
    conn.close().await.unwrap();
}

#[scenario]
async fn a_decoder_that_panics_is_a_body_that_does_not_decode(fixture: Fixture) {
    struct Touchy;

    impl mooq::Decode<String> for Touchy {
        fn decode(&self, body: &bytes::Bytes, properties: &Properties) -> mooq::Result<String> {
            assert_ne!(body, "\"bad\"", "{INTENDED}");
            Json.decode(body, properties)
        }
    }

    let (conn, chan, queue) = bad_queue(&fixture).await;
    put(&chan, &queue, "good").await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .codec(Touchy)
        .callback(recorder.callback())
        .await
        .unwrap();
    assert_eq!(calls.next(&conn).await.msg, "good");
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, ["bad"]);
}

#[scenario]
async fn requeue_keeps_a_body_that_does_not_decode_in_the_queue(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["no number"]).await;
    let (recorder, mut calls) = record::<u32>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .on_decode_error(Retry::requeue())
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.publish("", &1).routing_key(&queue).await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, 1);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let got = chan.get_one::<String>(&queue).await.unwrap();
    assert!(got.redelivered);
    assert_eq!(got.ack().await.unwrap(), "no number");
}

#[scenario]
async fn failing_message_goes_to_a_known_dead_letter_exchange(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
    chan.declare_queue(&dead).await.unwrap();
    let (_, mut calls) = fails_for_a_time(&fixture, &chan, 9, |register| {
        register
            .queue_argument("x-dead-letter-exchange", "")
            .queue_argument("x-dead-letter-routing-key", dead.as_str())
            .retry(quickly())
    })
    .await;
    put(&chan, &queue, "bad").await;
    assert_eq!(calls.take(&conn, 5).await.len(), 5);
    let got = chan.get::<String>(&dead).timeout(LIMIT);
    assert_eq!(got.await.unwrap().ack().await.unwrap(), "bad");
}

/// A reject would lose the message: RabbitMQ drops a dead letter that has nowhere to go.
#[scenario]
async fn failing_message_is_kept_until_its_dead_letter_exchange_exists(fixture: Fixture) {
    // Through the dead-letter exchange, and through the default exchange to a queue.
    for through_default in [false, true] {
        let (conn, chan) = fixture.channel().await;
        let mut events = conn.events();
        let name = |what: &str| fixture.name(&format!("{what} {through_default}"));
        let (queue, dead) = (name("queue"), name("dead"));
        let exchange = if through_default { "" } else { &dead };
        chan.declare_queue(&queue)
            .dead_letter(exchange, &dead)
            .await
            .unwrap();
        chan.register_callback(&queue)
            .retry(Retry::every(Duration::from_millis(10)).in_place())
            .callback(|_: Delivery<String>| async { Err::<(), _>("the message is bad") })
            .await
            .unwrap();
        put(&chan, &queue, "bad").await;
        let missing = async {
            loop {
                if let Some(Event::DeadLetterTargetMissing { queue: from, .. }) =
                    events.next().await
                {
                    assert_eq!(&*from, &*queue);
                    break;
                }
            }
        };
        processing(&conn, "the event", missing).await;

        let (_other, other) = fixture.channel().await;
        if through_default {
            other.declare_queue(&dead).await.unwrap();
        } else {
            let letters = fixture.name("letters");
            other.declare_queue(&letters).await.unwrap();
            other.declare_exchange(&dead, "fanout").await.unwrap();
            other.bind_queue(&letters, &dead, "").await.unwrap();
        }
        let letters = if through_default {
            dead
        } else {
            fixture.name("letters")
        };
        let letter = other
            .get_one::<String>(&letters)
            .timeout(LIMIT)
            .into_future();
        let letter = processing(&conn, "the dead letter", letter).await.unwrap();
        assert_eq!(letter.ack().await.unwrap(), "bad");
        conn.close().await.unwrap();
    }
}

#[scenario]
async fn failing_message_is_tried_up_to_a_known_delivery_limit(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
    chan.declare_queue(&dead).await.unwrap();
    let (_, mut calls) = fails_for_a_time(&fixture, &chan, 9, |register| {
        register
            .queue_argument("x-queue-type", "quorum")
            .queue_argument("x-delivery-limit", 2)
            .queue_argument("x-dead-letter-exchange", "")
            .queue_argument("x-dead-letter-routing-key", dead.as_str())
            .retry(quickly())
    })
    .await;
    put(&chan, &queue, "bad").await;
    assert_eq!(calls.take(&conn, 3).await.len(), 3);
    let got = chan.get::<String>(&dead).timeout(LIMIT);
    assert_eq!(got.await.unwrap().ack().await.unwrap(), "bad");
}

#[scenario]
async fn a_get_of_another_type_is_a_decode_error_and_loses_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["text"]).await;
    let err = chan.get::<u32>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert!(std::error::Error::source(&err).is_some());
    let again = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!((again.msg.as_str(), again.redelivered), ("text", true));
    again.ack().await.unwrap();
}

/// A queue with a message whose callback fails.
async fn bad_queue(fixture: &Fixture) -> (Connection, Channel, String) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["bad"]).await;
    (conn, chan, queue)
}

fn works(resp: &Delivery<String>) -> Result<(), String> {
    match resp.msg.as_str() {
        "bad" => Err("the message is bad".into()),
        _ => Ok(()),
    }
}

/// Asserts that "bad" comes with these redelivered flags, and then not again.
async fn expect_calls(
    conn: &Connection,
    chan: &Channel,
    queue: &str,
    mut calls: Calls<String>,
    redelivered: &[bool],
) {
    for expected in redelivered {
        let call = calls.next(conn).await;
        assert_eq!((call.msg.as_str(), call.redelivered), ("bad", *expected));
    }
    // "bad" was settled before this publish, so a requeued "bad" would come first.
    put(chan, queue, "good").await;
    let call = calls.next(conn).await;
    assert_eq!((call.msg.as_str(), call.redelivered), ("good", false));
}

async fn expect_empty_once_closed(fixture: &Fixture, conn: &Connection, queue: &str) {
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, queue).await, 0);
}

#[scenario]
async fn death_count_tells_how_often_a_message_was_retried(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let [work, later] = ["work", "later"].map(|name| fixture.name(name));
    // Rejected messages wait for a moment in another queue, and come back.
    let declare = chan.declare_queue(&later).argument("x-message-ttl", 1);
    let declare = declare.argument("x-dead-letter-exchange", "");
    let declare = declare.argument("x-dead-letter-routing-key", work.as_str());
    declare.await.unwrap();
    let declare = chan.declare_queue(&work);
    let declare = declare.argument("x-dead-letter-exchange", "");
    let declare = declare.argument("x-dead-letter-routing-key", later.as_str());
    declare.await.unwrap();
    put(&chan, &work, "bad").await;
    for tried in 0..3 {
        let got = chan.get::<String>(&work).timeout(LIMIT).await.unwrap();
        assert_eq!(got.death_count(&work), tried);
        assert_eq!(got.death_count(&later), tried);
        assert_eq!(got.death_count("another"), 0);
        got.reject().await.unwrap();
    }
}
