//! Callbacks that fail, and bodies that do not decode.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooq::{Channel, Connection, Delivery, ErrorKind, FailurePolicy};

use super::scenarios;
use crate::Fixture;
use crate::expect::LIMIT;
use crate::steps::{Calls, fill, put, ready_in, record};

async fn a_failed_callbacks_message_comes_once_more_and_is_then_rejected(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |resp: Delivery<String>| {
            let result = works(&resp);
            recorder.note(resp);
            async { result }
        })
        .await
        .unwrap();
    expect_calls(&conn, &chan, &queue, calls, &[false, true]).await;
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

async fn a_callback_that_panics_is_caught_and_the_service_goes_on(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |resp: Delivery<String>| {
            let result = works(&resp);
            recorder.note(resp);
            async { result.expect("this panic is meant to be") }
        })
        .await
        .unwrap();
    expect_calls(&conn, &chan, &queue, calls, &[false, true]).await;
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

async fn a_callback_that_panics_before_its_future_is_caught_too(fixture: Fixture) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |resp: Delivery<String>| {
            let result = works(&resp);
            recorder.note(resp);
            result.expect("this panic is meant to be");
            async {}
        })
        .await
        .unwrap();
    expect_calls(&conn, &chan, &queue, calls, &[false, true]).await;
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

async fn requeue_brings_a_failed_message_back_until_it_works(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["works at the fourth attempt"]).await;
    let (recorder, mut calls) = record::<String>();
    let attempts = Arc::new(AtomicUsize::new(0));
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .on_error(FailurePolicy::Requeue)
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

async fn reject_drops_a_failed_message_at_once(fixture: Fixture) {
    fails_once(fixture, FailurePolicy::Reject).await;
}

async fn ack_takes_a_failed_message_as_done(fixture: Fixture) {
    fails_once(fixture, FailurePolicy::Ack).await;
}

/// With `policy`, a failed message does not come again.
async fn fails_once(fixture: Fixture, policy: FailurePolicy) {
    let (conn, chan, queue) = bad_queue(&fixture).await;
    let (recorder, calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .on_error(policy)
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

async fn a_body_that_does_not_decode_is_rejected_and_the_next_one_processed(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let (recorder, mut calls) = record::<u32>();
    chan.declare_queue(&queue).await.unwrap();
    for body in [&b"not JSON"[..], br#""of another type""#, b"", b"7"] {
        let publish = chan.publish("", body).codec(mooq::RawBytes);
        publish.routing_key(&queue).await.unwrap();
    }
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(recorder.callback())
        .await
        .unwrap();
    assert_eq!(calls.next(&conn).await.msg, 7);
    assert!(calls.so_far().is_empty());
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

async fn a_decoder_that_panics_is_a_body_that_does_not_decode(fixture: Fixture) {
    struct Touchy;

    impl mooq::Decode<String> for Touchy {
        fn decode(&self, body: &bytes::Bytes) -> mooq::Result<String> {
            assert_ne!(body, "\"bad\"", "this panic is meant to be");
            mooq::Json.decode(body)
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
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

async fn requeue_keeps_a_body_that_does_not_decode_in_the_queue(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["no number"]).await;
    let (recorder, mut calls) = record::<u32>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .on_decode_error(FailurePolicy::Requeue)
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.publish("", &1).routing_key(&queue).await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, 1);
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let got = chan.get::<String>(&queue).await.unwrap();
    assert!(got.redelivered);
    assert_eq!(got.ack().await.unwrap(), "no number");
}

async fn a_rejected_message_goes_to_the_dead_letter_exchange(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
    chan.declare_queue(&dead).await.unwrap();
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .queue_argument("x-dead-letter-exchange", "")
        .queue_argument("x-dead-letter-routing-key", dead.as_str())
        .callback(move |resp: Delivery<String>| {
            let result = works(&resp);
            recorder.note(resp);
            async { result }
        })
        .await
        .unwrap();
    put(&chan, &queue, "bad").await;
    let seen = calls.take(&conn, 2).await;
    assert!(seen[1].redelivered);
    let got = chan.get::<String>(&dead).timeout(crate::expect::LIMIT);
    assert_eq!(got.await.unwrap().ack().await.unwrap(), "bad");
}

async fn a_get_of_another_type_is_a_decode_error_and_the_message_rejected(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["text"]).await;
    let err = chan.get::<u32>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert!(std::error::Error::source(&err).is_some());
    let err = chan.get::<String>(&queue).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NothingToConsume);
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

/// Asserts that "bad" comes with these redelivered flags, and then no more.
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
    // It was settled before this is published, so that it would come first if it came again.
    put(chan, queue, "good").await;
    let call = calls.next(conn).await;
    assert_eq!((call.msg.as_str(), call.redelivered), ("good", false));
}

async fn expect_empty_once_closed(fixture: &Fixture, conn: &Connection, queue: &str) {
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, queue).await, 0);
}

async fn what_is_tried_again_later_tells_how_often_it_was(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let [work, later] = ["work", "later"].map(|name| fixture.name(name));
    // What is rejected waits a moment, and comes back.
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

scenarios! { failures:
    a_failed_callbacks_message_comes_once_more_and_is_then_rejected,
    a_callback_that_panics_is_caught_and_the_service_goes_on,
    a_callback_that_panics_before_its_future_is_caught_too,
    requeue_brings_a_failed_message_back_until_it_works,
    reject_drops_a_failed_message_at_once,
    ack_takes_a_failed_message_as_done,
    a_body_that_does_not_decode_is_rejected_and_the_next_one_processed,
    a_decoder_that_panics_is_a_body_that_does_not_decode,
    requeue_keeps_a_body_that_does_not_decode_in_the_queue,
    a_rejected_message_goes_to_the_dead_letter_exchange,
    a_get_of_another_type_is_a_decode_error_and_the_message_rejected,
    what_is_tried_again_later_tells_how_often_it_was,
}
