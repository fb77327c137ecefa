//! The end of `process_events`, and of the callbacks that run meanwhile.

use std::sync::Arc;

use mooq::{Channel, Delivery, ErrorKind};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::Fixture;
use crate::scenario;
use crate::steps::{Calls, fill, processing, ready_in, record, until_gone};

#[scenario]
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
    // Processing sees the signal, and waits for the running callback.
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
    let left = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!(left.ack().await.unwrap(), "waiting");
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
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

#[scenario]
async fn processing_that_is_dropped_gives_back_what_it_had_begun(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["cut off"]).await;
    let mut slow = SlowConsumer::register(&fixture, &chan, &queue).await;
    let first = slow.calls.next(&conn).await;
    assert!(!first.redelivered);
    assert!(slow.ends.try_recv().is_err(), "the callback was cut off");
    slow.finish.notify_one();
    let end = async {
        let again = slow.calls.noted().await;
        assert!(again.redelivered);
        slow.ends.recv().await.unwrap()
    };
    assert_eq!(processing(&conn, "the second try", end).await, "cut off");
}

#[scenario]
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

#[scenario]
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

#[scenario]
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
    assert!(err.to_string().contains(&doomed), "{err}");
    chan.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
}

#[scenario]
async fn callbacks_that_run_finish_before_a_failure_is_told(fixture: Fixture) {
    let (conn, chan) = fixture.channel_without_recovery().await;
    let other = conn.create_channel().await.unwrap();
    let (queue, missing) = (fixture.name("queue"), fixture.name("missing"));
    fill(&chan, &queue, &["begun", "waiting"]).await;
    let mut slow = SlowConsumer::register(&fixture, &chan, &queue).await;
    let (recorder, _silent) = record::<String>();
    other
        .register_consumer(fixture.name("exchange"), "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let process = tokio::spawn(conn.process_events().into_future());
    let begun = crate::within("the first callback", slow.calls.noted()).await;
    assert_eq!(begun.msg, "begun");

    other.publish(&missing, "lost").await.unwrap_err();
    // Processing sees the failure, and waits for the running callback.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!process.is_finished());
    slow.finish.notify_one();
    let err = crate::within("the end of processing", process)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
    assert_eq!(slow.ends.try_recv().unwrap(), "begun");

    let next = slow.calls.next(&conn).await;
    assert_eq!((next.msg.as_str(), next.redelivered), ("waiting", false));
}

#[scenario]
async fn a_channel_that_the_broker_closes_ends_processing_with_its_reason(fixture: Fixture) {
    let (conn, chan) = fixture.channel_without_recovery().await;
    let other = conn.create_channel().await.unwrap();
    let (exchange, missing) = (fixture.name("exchange"), fixture.name("missing"));
    let (recorder, _silent) = record::<String>();
    let silent = chan
        .register_consumer(&exchange, "fanout")
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
    until_gone(&fixture, &silent.queue()).await;
    other.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
}

#[scenario]
async fn a_channel_with_several_consumers_fails_once(fixture: Fixture) {
    let (conn, chan) = fixture.channel_without_recovery().await;
    let (exchange, missing) = (fixture.name("exchange"), fixture.name("missing"));
    let mut queues = Vec::new();
    for _ in 0..3 {
        let (recorder, _silent) = record::<String>();
        let register = chan.register_consumer(&exchange, "fanout");
        let consumer = register.callback(recorder.callback()).await.unwrap();
        queues.push(consumer.queue());
    }
    chan.publish(&missing, "lost").await.unwrap_err();
    let err = crate::within("the channel's end", conn.process_events())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
    for queue in queues {
        until_gone(&fixture, &queue).await;
    }
    // Processing on a new channel does not report the old one again.
    let other = conn.create_channel().await.unwrap();
    let (recorder, mut calls) = record::<String>();
    other
        .register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    other.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
}

#[scenario]
async fn a_channel_closed_from_this_side_does_not_end_processing(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let other = conn.create_channel().await.unwrap();
    let exchange = fixture.name("exchange");
    let (recorder, mut silent) = record::<String>();
    let consumer = chan
        .register_consumer(&exchange, "fanout")
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
    until_gone(&fixture, consumer.queue().as_str()).await;
    other.publish(&exchange, "go on").await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "go on");
    assert!(silent.so_far().is_empty());
}

#[scenario]
async fn an_error_on_a_channel_gives_back_what_its_callbacks_had(fixture: Fixture) {
    let (conn, chan) = fixture.channel_without_recovery().await;
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

/// A consumer whose callbacks run one at a time, each until it gets the signal to finish.
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

#[scenario]
async fn spawned_processing_runs_callbacks_and_tells_its_end(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let [exchange, queue] = ["exchange", "queue"].map(|name| fixture.name(name));
    let (called, mut calls) = mpsc::unbounded_channel();
    let register = chan.register_consumer(&exchange, "fanout").queue(&queue);
    register
        .callback(move |got: Delivery<String>| {
            called.send(got.msg).unwrap();
            std::future::ready(())
        })
        .await
        .unwrap();
    let processing = conn.process_events().spawn();
    chan.publish(&exchange, "called").await.unwrap();
    let got = crate::within("the call", calls.recv()).await;
    assert_eq!(got.as_deref(), Some("called"));
    chan.delete_queue(&queue).await.unwrap();
    let err = crate::within("the end", processing).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConsumerCancelled, "{err}");
    // Dropping the consumer's handle does not cancel it.
    let (called, mut calls) = mpsc::unbounded_channel();
    chan.register_consumer(&exchange, "fanout")
        .callback(move |got: Delivery<String>| {
            called.send(got.msg).unwrap();
            std::future::ready(())
        })
        .await
        .unwrap();
    drop(conn.process_events().spawn());
    chan.publish(&exchange, "called too").await.unwrap();
    let got = crate::within("the call", calls.recv()).await;
    assert_eq!(got.as_deref(), Some("called too"));
    conn.close().await.unwrap();
}
