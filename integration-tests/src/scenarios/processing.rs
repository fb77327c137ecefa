//! `process_events`: when it runs callbacks, and when it ends.

use std::sync::Arc;

use mooq::{Channel, Delivery, ErrorKind};
use tokio::sync::{Notify, mpsc, oneshot};

use super::scenarios;
use crate::Fixture;
use crate::steps::{Calls, bodies, fill, processing, put, ready_in, record};

async fn callbacks_run_only_while_events_are_processed(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    for body in ["first", "second"] {
        chan.publish(&exchange, body).await.unwrap();
    }
    assert!(calls.so_far().is_empty());
    assert_eq!(bodies(calls.take(&conn, 2).await), ["first", "second"]);
}

async fn a_cycle_starts_at_most_one_callback_for_each_consumer(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let mut both = Vec::new();
    for name in ["one", "other"] {
        let queue = fixture.name(name);
        fill(&chan, &queue, &["1", "2", "3"]).await;
        let (recorder, calls) = record::<String>();
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(&queue)
            .callback(recorder.callback())
            .await
            .unwrap();
        both.push((Vec::new(), calls));
    }
    let cycles = async {
        while both.iter().any(|(seen, _)| seen.len() < 3) {
            conn.process_events().cycles(1).await.unwrap();
            for (seen, calls) in &mut both {
                let now = bodies(calls.so_far());
                assert!(now.len() <= 1, "{now:?} in one cycle");
                seen.extend(now);
            }
        }
    };
    crate::within("three callbacks of each", cycles).await;
    for (seen, _) in both {
        assert_eq!(seen, ["1", "2", "3"]);
    }
}

async fn a_cycle_ends_when_its_callbacks_have(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["first", "second"]).await;
    let (recorder, mut calls) = record::<String>();
    let asking = chan.clone();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |resp: Delivery<String>| {
            let (chan, recorder) = (asking.clone(), recorder.clone());
            async move {
                // Takes its time: the broker is asked in between.
                let own = chan.declare_queue("").exclusive().await?;
                chan.delete_queue(own.name).await?;
                recorder.note(resp);
                Ok::<(), mooq::Error>(())
            }
        })
        .await
        .unwrap();
    let cycles = async {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            conn.process_events().cycles(1).await.unwrap();
            seen.extend(calls.so_far());
        }
        seen
    };
    let seen = crate::within("two cycles with a callback", cycles).await;
    assert!(
        seen.iter().all(|call| !call.redelivered),
        "none was cut off"
    );
}

async fn a_cycle_without_messages_ends(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let cycles = conn.process_events().cycles(3);
    crate::within("the end of three cycles", cycles)
        .await
        .unwrap();
    let until_idle = conn.process_events().until_idle();
    crate::within("the end when idle", until_idle)
        .await
        .unwrap();
    assert!(calls.so_far().is_empty());
}

async fn until_idle_follows_messages_that_callbacks_publish(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("countdown");
    let (recorder, mut calls) = record::<u32>();
    let publishing = (chan.clone(), exchange.clone());
    chan.register_consumer(&exchange, "fanout")
        .callback(move |resp: Delivery<u32>| {
            let (chan, exchange) = publishing.clone();
            let left = resp.msg;
            recorder.note(resp);
            async move {
                if left > 0 {
                    chan.publish(&exchange, &(left - 1)).await?;
                }
                Ok::<(), mooq::Error>(())
            }
        })
        .await
        .unwrap();
    chan.publish(&exchange, &5).await.unwrap();
    conn.process_events().until_idle().await.unwrap();
    assert_eq!(bodies(calls.so_far()), [5, 4, 3, 2, 1, 0]);
}

async fn a_graceful_shutdown_lets_callbacks_finish_and_starts_no_more(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["begun", "waiting"]).await;
    let mut slow = SlowConsumer::register(&fixture, &chan, &queue).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let process = conn.process_events().with_graceful_shutdown(async {
        stopped.await.unwrap();
    });
    let process = tokio::spawn(process.into_future());

    let begun = crate::within("the first callback", slow.calls.noted()).await;
    assert_eq!(begun.msg, "begun");
    stop.send(()).unwrap();
    // The signal is seen, and the running callback is waited for.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!process.is_finished());
    slow.finish.notify_one();
    crate::within("the end of processing", process)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(slow.ends.try_recv().unwrap(), "begun");
    assert!(slow.calls.so_far().is_empty());

    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let left = chan.get::<String>(&queue).await.unwrap();
    assert_eq!(left.ack().await.unwrap(), "waiting");
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

async fn a_graceful_shutdown_ends_at_once_when_nothing_runs(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (recorder, _calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let process = conn.process_events().with_graceful_shutdown(async {});
    crate::within("the end of processing", process)
        .await
        .unwrap();
}

async fn a_second_call_at_the_same_time_is_not_allowed(fixture: Fixture) {
    let conn = fixture.connect().await;
    let again = conn.clone();
    let err = processing(&conn, "the second call", async {
        again.process_events().await.unwrap_err()
    })
    .await;
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    // Once the first is over it is.
    conn.process_events().until_idle().await.unwrap();
}

async fn processing_that_is_dropped_gives_back_what_it_had_begun(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["cut off"]).await;
    let mut slow = SlowConsumer::register(&fixture, &chan, &queue).await;
    let first = slow.calls.next(&conn).await;
    assert!(!first.redelivered);
    assert!(slow.ends.try_recv().is_err(), "it was cut off");
    slow.finish.notify_one();
    let end = async {
        let again = slow.calls.noted().await;
        assert!(again.redelivered);
        slow.ends.recv().await.unwrap()
    };
    assert_eq!(processing(&conn, "the second try", end).await, "cut off");
}

async fn closing_the_connection_ends_processing_well(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (recorder, _calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let process = tokio::spawn(conn.process_events().into_future());
    tokio::task::yield_now().await;
    conn.close().await.unwrap();
    crate::within("the end of processing", process)
        .await
        .unwrap()
        .unwrap();
    let after = conn.process_events();
    crate::within("processing what is closed", after)
        .await
        .unwrap();
}

async fn a_callback_may_close_its_connection(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let closing = conn.clone();
    chan.register_consumer(&exchange, "fanout")
        .callback(move |_: Delivery<String>| {
            let conn = closing.clone();
            async move { conn.close().await }
        })
        .await
        .unwrap();
    chan.publish(&exchange, "stop").await.unwrap();
    crate::within("the end of processing", conn.process_events())
        .await
        .unwrap();
    let reason = crate::within("the connection's end", conn.closed()).await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
}

async fn a_deleted_queue_ends_processing_and_the_other_consumers_stay(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (doomed, exchange) = (fixture.name("doomed"), fixture.name("exchange"));
    let (recorder, _silent) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .queue(&doomed)
        .callback(recorder.callback())
        .await
        .unwrap();
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let (_conn, other) = fixture.channel().await;
    other.delete_queue(&doomed).await.unwrap();
    let err = crate::within("the consumer's end", conn.process_events())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerCancelled);
    chan.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
}

async fn a_channel_that_the_broker_closes_ends_processing_with_its_reason(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let (exchange, missing) = (fixture.name("exchange"), fixture.name("missing"));
    let (recorder, _silent) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let (recorder, mut calls) = record::<String>();
    other
        .register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let cause = chan.publish(&missing, "lost").await.unwrap_err();
    let err = crate::within("the channel's end", conn.process_events())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
    assert_eq!(err.reason(), cause.reason());
    other.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
}

async fn a_channel_closed_from_this_side_does_not_end_processing(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let exchange = fixture.name("exchange");
    let (recorder, mut silent) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let (recorder, mut calls) = record::<String>();
    other
        .register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    chan.close().await.unwrap();
    other.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
    assert!(silent.so_far().is_empty());
}

async fn an_error_on_a_channel_gives_back_what_its_callbacks_had(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["body"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .manual_ack()
        .callback(recorder.callback())
        .await
        .unwrap();
    let held = calls.next(&conn).await;
    let missing = fixture.name("missing");
    chan.publish(&missing, "lost").await.unwrap_err();
    let err = held.ack().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
    let other = conn.create_channel().await.unwrap();
    let got = other.get::<String>(&queue).timeout(crate::expect::LIMIT);
    let got = got.await.unwrap();
    assert!(got.redelivered);
    assert_eq!(got.ack().await.unwrap(), "body");
}

async fn processing_keeps_its_connection_open(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let process = conn.process_events().until_idle();
    chan.publish(&exchange, "body").await.unwrap();
    drop((conn, chan));
    let process = tokio::spawn(process.into_future());
    let call = crate::within("the callback", calls.noted()).await;
    assert_eq!(call.msg, "body");
    crate::within("the end when idle", process)
        .await
        .unwrap()
        .unwrap();
}

async fn consumers_of_several_channels_run_side_by_side(fixture: Fixture) {
    let conn = fixture.connect().await;
    let mut all = Vec::new();
    for number in 0..5 {
        let chan = conn.create_channel().await.unwrap();
        let queue = fixture.name(&number.to_string());
        let (recorder, calls) = record::<String>();
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(&queue)
            .callback(recorder.callback())
            .await
            .unwrap();
        all.push((chan, queue, calls));
    }
    for (chan, queue, _) in &all {
        put(chan, queue, queue).await;
    }
    for (_, queue, calls) in &mut all {
        assert_eq!(&calls.next(&conn).await.msg, queue);
    }
}

/// A consumer whose callbacks run, one at a time, until they are told to finish.
struct SlowConsumer {
    calls: Calls<String>,
    finish: Arc<Notify>,
    /// The bodies of the callbacks that have finished.
    ends: mpsc::UnboundedReceiver<String>,
}

impl SlowConsumer {
    async fn register(fixture: &Fixture, chan: &Channel, queue: &str) -> Self {
        let (recorder, calls) = record::<String>();
        let finish = Arc::new(Notify::new());
        let (ended, ends) = mpsc::unbounded_channel();
        let told = Arc::clone(&finish);
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(queue)
            .concurrency(1)
            .callback(move |resp: Delivery<String>| {
                let (told, ended) = (Arc::clone(&told), ended.clone());
                let body = resp.msg.clone();
                recorder.note(resp);
                async move {
                    told.notified().await;
                    ended.send(body).unwrap();
                }
            })
            .await
            .unwrap();
        Self {
            calls,
            finish,
            ends,
        }
    }
}

scenarios! { processing:
    callbacks_run_only_while_events_are_processed,
    a_cycle_starts_at_most_one_callback_for_each_consumer,
    a_cycle_ends_when_its_callbacks_have,
    a_cycle_without_messages_ends,
    until_idle_follows_messages_that_callbacks_publish,
    a_graceful_shutdown_lets_callbacks_finish_and_starts_no_more,
    a_graceful_shutdown_ends_at_once_when_nothing_runs,
    a_second_call_at_the_same_time_is_not_allowed,
    processing_that_is_dropped_gives_back_what_it_had_begun,
    closing_the_connection_ends_processing_well,
    a_callback_may_close_its_connection,
    a_deleted_queue_ends_processing_and_the_other_consumers_stay,
    a_channel_that_the_broker_closes_ends_processing_with_its_reason,
    a_channel_closed_from_this_side_does_not_end_processing,
    an_error_on_a_channel_gives_back_what_its_callbacks_had,
    processing_keeps_its_connection_open,
    consumers_of_several_channels_run_side_by_side,
}
