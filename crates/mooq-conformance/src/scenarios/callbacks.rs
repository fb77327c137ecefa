//! Consumers with a callback: order, concurrency, settlement, cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mooq::{Delivery, ErrorKind, Outcome, RawBytes, Recovery};
use tokio::sync::{Notify, mpsc};

use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{
    bodies, drain, fill, processing, ready_in, record, running_together, until_gone,
};
use crate::{Fixture, within};

#[scenario]
async fn callbacks_run_in_the_order_of_the_queue(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fill(&chan, &queue, &names).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(recorder.callback())
        .await
        .unwrap();
    assert_eq!(bodies(calls.take(&conn, 50).await), names);
}

#[scenario]
async fn concurrency_of_one_ends_each_callback_before_the_next(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["a", "b", "c", "d"]).await;
    let (steps, mut seen) = mpsc::unbounded_channel();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .concurrency(1)
        .callback(move |resp: Delivery<String>| {
            let steps = steps.clone();
            async move {
                steps.send(format!("{} begins", resp.msg)).unwrap();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                steps.send(format!("{} ends", resp.msg)).unwrap();
            }
        })
        .await
        .unwrap();
    let story = async {
        for body in ["a", "b", "c", "d"] {
            for step in ["begins", "ends"] {
                assert_eq!(seen.recv().await, Some(format!("{body} {step}")));
            }
        }
    };
    processing(&conn, "four callbacks", story).await;
}

#[scenario]
async fn callbacks_run_at_once_up_to_the_prefetch(fixture: Fixture) {
    const PREFETCH: usize = 3;
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3", "4", "5", "6"]).await;
    let (callback, mut ends) = running_together(PREFETCH);
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .prefetch(PREFETCH as u16)
        .callback(callback)
        .await
        .unwrap();
    let all = async {
        for _ in 0..6 {
            let at_once = ends.recv().await.unwrap();
            assert!(at_once <= PREFETCH, "{at_once} callbacks at once");
        }
    };
    processing(&conn, "six callbacks", all).await;
}

#[scenario]
async fn prefetch_limits_how_many_messages_leave_the_queue(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3", "4", "5"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .prefetch(2)
        .manual_ack()
        .callback(recorder.callback())
        .await
        .unwrap();
    let first = calls.next(&conn).await;
    let second = calls.next(&conn).await;
    assert_eq!(ready_in(&chan, &queue).await, 3);
    assert!(calls.so_far().is_empty());
    first.ack().await.unwrap();
    let third = calls.next(&conn).await;
    assert_eq!((second.msg.as_str(), third.msg.as_str()), ("2", "3"));
    assert_eq!(ready_in(&chan, &queue).await, 2);
}

#[scenario]
async fn callback_result_settles_the_delivery(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["ack", "requeue", "reject"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .prefetch(1)
        .callback(move |resp: Delivery<String>| {
            let outcome = match resp.msg.as_str() {
                "requeue" if !resp.redelivered => Outcome::Requeue,
                "reject" => Outcome::Reject,
                _ => Outcome::Ack,
            };
            recorder.note(resp);
            async move { outcome }
        })
        .await
        .unwrap();
    let seen = calls.take(&conn, 4).await;
    let seen: Vec<_> = seen
        .iter()
        .map(|call| (call.msg.as_str(), call.redelivered))
        .collect();
    let expected = [
        ("ack", false),
        ("requeue", false),
        ("requeue", true),
        ("reject", false),
    ];
    assert_eq!(seen, expected);
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn processed_message_does_not_come_back(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["once"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(recorder.callback())
        .await
        .unwrap();
    calls.next(&conn).await;
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn manual_ack_leaves_settling_to_the_holder(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["acked", "requeued", "rejected", "dropped"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .manual_ack()
        .callback(recorder.callback())
        .await
        .unwrap();
    for _ in 0..4 {
        let call = calls.next(&conn).await;
        assert!(!call.redelivered);
        match call.msg.as_str() {
            "acked" => drop(call.ack().await.unwrap()),
            "requeued" => drop(call.requeue().await.unwrap()),
            "rejected" => drop(call.reject().await.unwrap()),
            _ => drop(call),
        }
    }
    let mut again = calls.take(&conn, 2).await;
    again.sort_by(|one, other| one.msg.cmp(&other.msg));
    assert!(again.iter().all(|call| call.redelivered));
    for (call, expected) in again.into_iter().zip(["dropped", "requeued"]) {
        assert_eq!(call.ack().await.unwrap(), expected);
    }
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn auto_ack_leaves_nothing_to_requeue_or_settle(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["first", "second"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .auto_ack()
        .callback(move |resp| {
            recorder.note(resp);
            async { Err::<(), _>("this changes nothing") }
        })
        .await
        .unwrap();
    for body in ["first", "second"] {
        let call = calls.next(&conn).await;
        assert_eq!(call.msg, body);
        let err = call.ack().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotAllowed);
    }
    assert!(calls.so_far().is_empty());
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_callback_may_settle_its_delivery_by_hand_before_it_ends(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(
        &chan,
        &queue,
        &["acked", "rejected", "requeued", "failed after the ack"],
    )
    .await;
    let (noted, mut notes) = mpsc::unbounded_channel();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .concurrency(1)
        .callback(move |resp: Delivery<String>| {
            noted.send((resp.msg.clone(), resp.redelivered)).unwrap();
            async move {
                match resp.msg.as_str() {
                    "acked" => resp.ack().await?,
                    "rejected" => resp.reject().await?,
                    "requeued" if !resp.redelivered => resp.requeue().await?,
                    "requeued" => return Ok(Outcome::Ack),
                    _ => {
                        resp.ack().await?;
                        return Err("after the ack".into());
                    }
                };
                // The delivery is settled: the outcome and a second settlement change nothing.
                Ok::<_, mooq::CallbackError>(Outcome::Requeue)
            }
        })
        .await
        .unwrap();
    let story = async {
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(notes.recv().await.unwrap());
        }
        seen
    };
    let mut seen = processing(&conn, "five calls", story).await;
    // RabbitMQ does not promise the order of requeued messages and those in flight.
    seen.sort();
    let expected = [
        ("acked", false),
        ("failed after the ack", false),
        ("rejected", false),
        ("requeued", false),
        ("requeued", true),
    ];
    assert_eq!(seen, expected.map(|(body, again)| (body.to_owned(), again)));
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_manual_ack_callback_that_fails_is_tried_again(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let (recorder, mut calls) = record::<String>();
    let attempts = AtomicUsize::new(0);
    let policy = mooq::Retry::every(Duration::from_millis(1)).in_place();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .manual_ack()
        .retry(policy)
        .callback(move |resp: Delivery<String>| {
            let fails = attempts.fetch_add(1, Ordering::SeqCst) < 2;
            if !fails {
                recorder.note(resp);
            }
            async move { if fails { Err("dropped") } else { Ok(()) } }
        })
        .await
        .unwrap();
    let third = calls.next(&conn).await;
    assert!(!third.redelivered);
    third.ack().await.unwrap();
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_delivery_that_its_outcome_settles_cannot_be_settled_by_hand(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(recorder.callback())
        .await
        .unwrap();
    let err = calls.next(&conn).await.requeue().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    assert!(err.to_string().contains("manual_ack()"), "{err}");
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_codec_gives_the_bytes_as_they_are(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<Bytes>();
    chan.register_consumer(&exchange, "fanout")
        .codec(RawBytes)
        .callback(recorder.callback())
        .await
        .unwrap();
    let body: &[u8] = b"\x00not JSON\xff";
    chan.publish_with(&exchange, body, RawBytes).await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, body);
}

#[scenario]
async fn two_consumers_of_a_queue_take_turns(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let mut both = Vec::new();
    for _ in 0..2 {
        let (recorder, calls) = record::<u32>();
        chan.register_consumer(&exchange, "fanout")
            .queue(&queue)
            .callback(recorder.callback())
            .await
            .unwrap();
        both.push(calls);
    }
    for number in 0..6 {
        chan.publish(&exchange, &number).await.unwrap();
    }
    assert_eq!(bodies(both[0].take(&conn, 3).await), [0, 2, 4]);
    assert_eq!(bodies(both[1].take(&conn, 3).await), [1, 3, 5]);
}

#[scenario]
async fn cancelled_consumer_requeues_deliveries_not_begun(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["begun", "waiting", "waiting too"]).await;
    let (recorder, mut calls) = record::<String>();
    let finish = Arc::new(Notify::new());
    let (ended, mut ends) = mpsc::unbounded_channel();
    let consumer = chan
        .register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .concurrency(1)
        .callback({
            let finish = Arc::clone(&finish);
            move |resp: Delivery<String>| {
                recorder.note(resp);
                let (finish, ended) = (Arc::clone(&finish), ended.clone());
                async move {
                    finish.notified().await;
                    ended.send(()).unwrap();
                }
            }
        })
        .await
        .unwrap();
    let story = async {
        assert_eq!(calls.noted().await.msg, "begun");
        consumer.cancel().await.unwrap();
        finish.notify_one();
        ends.recv().await.unwrap();
    };
    processing(&conn, "the running callback's end", story).await;
    conn.process_events().until_idle().await.unwrap();
    assert!(calls.so_far().is_empty(), "no other callback was begun");
    // The waiting messages are requeued in order, and the one whose callback ran is acked.
    assert_eq!(drain(&chan, &queue).await, ["waiting", "waiting too"]);
    expect_empty_once_closed(&fixture, &conn, &queue).await;
}

#[scenario]
async fn a_cancelled_auto_ack_consumer_still_processes_what_it_was_sent(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["first", "second", "third"]).await;
    let (recorder, mut calls) = record::<String>();
    let consumer = chan
        .register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .auto_ack()
        .concurrency(1)
        .callback(recorder.callback())
        .await
        .unwrap();
    // The broker sends all three at once: one callback has run, two bodies wait.
    let first = calls.next(&conn).await;
    consumer.cancel().await.unwrap();
    let mut seen = vec![first.msg];
    let rest = ready_in(&chan, &queue).await as usize;
    conn.process_events().until_idle().await.unwrap();
    seen.extend(bodies(calls.so_far()));
    let expected = ["first", "second", "third"];
    assert_eq!(seen, expected[..3 - rest], "no message is lost");
}

#[scenario]
async fn a_cancellation_that_is_dropped_goes_on(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["waiting", "waiting too"]).await;
    let (recorder, mut calls) = record::<String>();
    let consumer = chan
        .register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(recorder.callback())
        .await
        .unwrap();
    let mut cancel = Box::pin(consumer.cancel());
    assert!(futures_util::poll!(&mut cancel).is_pending());
    drop(cancel);
    // The dropped cancel has no result to wait for, so wait for the requeued message.
    let got = chan.get::<String>(&queue).timeout(LIMIT).await.unwrap();
    assert_eq!(got.msg, "waiting");
    conn.process_events().until_idle().await.unwrap();
    assert!(calls.so_far().is_empty(), "no callback was begun");
    got.requeue().await.unwrap();
    assert_eq!(drain(&chan, &queue).await, ["waiting", "waiting too"]);
}

#[scenario]
async fn a_cancelled_auto_ack_consumer_loses_nothing_that_was_on_its_way(fixture: Fixture) {
    const MESSAGES: usize = 300;
    let (conn, chan) = fixture.channel().await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (recorder, mut calls) = record::<String>();
    fill(&chan, &queue, &["body"; MESSAGES]).await;
    let consumer = chan
        .register_consumer(&exchange, "fanout")
        .queue(&queue)
        .auto_ack()
        .callback(recorder.callback())
        .await
        .unwrap();
    consumer.cancel().await.unwrap();
    conn.process_events().until_idle().await.unwrap();
    let seen = calls.so_far().len();
    assert_eq!(seen + drain(&chan, &queue).await.len(), MESSAGES);
}

#[scenario]
async fn cancelling_a_consumer_leaves_the_others_running(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (cancelled, mut silent) = record::<String>();
    let (recorder, mut calls) = record::<String>();
    let consumer = chan
        .register_consumer(&exchange, "fanout")
        .callback(cancelled.callback())
        .await
        .unwrap();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let queue = consumer.queue();
    consumer.cancel().await.unwrap();
    until_gone(&fixture, queue.as_str()).await;
    chan.publish(&exchange, "body").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "body");
    assert!(silent.so_far().is_empty());
}

#[scenario]
async fn a_message_published_from_a_callback_is_processed_too(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (ticks, answers) = (fixture.name("ticks"), fixture.name("answers"));
    let (recorder, mut calls) = record::<String>();
    chan.declare_exchange(&ticks, "fanout").await.unwrap();
    chan.register_consumer(&answers, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let answering = chan.clone();
    chan.register_consumer(&ticks, "fanout")
        .callback(move |resp: Delivery<String>| {
            let (chan, answers) = (answering.clone(), answers.clone());
            async move {
                chan.publish(&answers, &resp.msg.to_uppercase()).await?;
                Ok::<(), mooq::Error>(())
            }
        })
        .await
        .unwrap();
    chan.publish(&ticks, "hello").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "HELLO");
}

/// Asserts that a queue is empty once its consumer's connection is closed and the unacked
/// deliveries are requeued.
async fn expect_empty_once_closed(fixture: &Fixture, conn: &mooq::Connection, queue: &str) {
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, queue).await, 0);
}

#[scenario]
async fn a_callback_that_blocks_its_thread_keeps_its_connection(fixture: Fixture) {
    const HEARTBEAT: Duration = Duration::from_secs(2);
    let options = fixture.options().heartbeat(HEARTBEAT);
    // Without recovery, a lost connection fails the scenario.
    let conn = fixture
        .open(options.recovery(Recovery::off()))
        .await
        .unwrap();
    let chan = conn.create_channel().await.unwrap();
    let q = fixture.name("queue");
    chan.declare_queue(&q).await.unwrap();
    let has_run = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&has_run);
    chan.register_callback(&q)
        .callback(move |_: Delivery<String>| {
            runs.store(true, Ordering::SeqCst);
            async {
                // A broker closes a silent connection after two heartbeats, three at most.
                std::thread::sleep(4 * HEARTBEAT);
            }
        })
        .await
        .unwrap();
    chan.publish("", "body").routing_key(&q).await.unwrap();
    let cycles = async {
        while !has_run.load(Ordering::SeqCst) {
            conn.process_events().cycles(1).await.unwrap();
        }
    };
    within("the callback", cycles).await;
    conn.close().await.unwrap();
    let raw = fixture.raw().await;
    raw.until_counts(&q, (0, 0)).await;
}
