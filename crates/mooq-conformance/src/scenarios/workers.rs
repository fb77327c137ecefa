//! Callbacks on workers, and in order by a key.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooq::{Delivery, ErrorKind, Outcome, Retry, Schedule};
use tokio::sync::{Barrier, Notify, mpsc};

use crate::expect::{INTENDED, LIMIT};
use crate::scenario;
use crate::steps::{bodies, drain, fill, processing, quickly, ready_in, record, running_together};
use crate::{Fixture, within};

/// The part of a body before its first character that is a digit.
fn letter(resp: &Delivery<String>) -> String {
    resp.msg
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .to_owned()
}

#[scenario]
async fn as_many_callbacks_run_at_once_as_there_are_workers(fixture: Fixture) {
    const WORKERS: usize = 3;
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3", "4", "5", "6"]).await;
    let (callback, mut ends) = running_together(WORKERS);
    chan.register_callback(&queue)
        .workers(WORKERS)
        .callback(callback)
        .await
        .unwrap();
    let all = async {
        for _ in 0..6 {
            let at_once = ends.recv().await.unwrap();
            assert!(at_once <= WORKERS, "{at_once} callbacks at once");
        }
    };
    processing(&conn, "six callbacks", all).await;
    conn.shutdown(LIMIT).await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(drain(&chan, &queue).await, [""; 0], "all are acknowledged");
}

#[scenario]
async fn a_callback_that_fails_or_panics_on_a_worker_is_tried_again(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .retry(quickly())
        .workers(2)
        .callback(move |resp: Delivery<String>| {
            let attempt = resp.attempt;
            recorder.note(resp);
            async move {
                match attempt {
                    1 => Err("not yet"),
                    2 => panic!("{INTENDED}"),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    let calls = calls.take(&conn, 3).await;
    let errors: Vec<_> = calls
        .iter()
        .map(|call| call.last_error.as_deref())
        .collect();
    let panicked = format!("it panicked: {INTENDED}");
    assert_eq!(errors, [None, Some("not yet"), Some(&*panicked)]);
}

#[scenario]
async fn a_shutdown_waits_for_workers(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let finish = Arc::new(Notify::new());
    let finished = Arc::clone(&finish);
    chan.register_callback(&queue)
        .workers(1)
        .callback(move |_: Delivery<String>| {
            let (begun, finished) = (begun.clone(), Arc::clone(&finished));
            async move {
                begun.send(()).unwrap();
                finished.notified().await;
            }
        })
        .await
        .unwrap();
    let service = conn.clone();
    let service = tokio::spawn(async move { service.process_events().await });
    within("the callback", begins.recv()).await.unwrap();
    let mut down = Box::pin(conn.shutdown(LIMIT));
    assert!(futures_util::poll!(&mut down).is_pending());
    finish.notify_one();
    within("the shutdown", down).await.unwrap();
    within("the end", service).await.unwrap().unwrap();
    let (_conn, chan) = fixture.channel().await;
    assert_eq!(ready_in(&chan, &queue).await, 0);
}

#[scenario]
async fn a_worker_is_stopped_with_processing_and_its_message_comes_again(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (alive, mut dropped) = mpsc::channel::<()>(1);
    chan.register_callback(&queue)
        .workers(1)
        .callback(move |resp: Delivery<String>| {
            let (begun, alive) = (begun.clone(), alive.clone());
            async move {
                begun.send(resp.redelivered).unwrap();
                if !resp.redelivered {
                    std::future::pending::<()>().await;
                }
                drop(alive);
            }
        })
        .await
        .unwrap();
    let first = processing(&conn, "a callback", begins.recv()).await;
    assert_eq!(first, Some(false));
    let second = processing(&conn, "the message again", begins.recv()).await;
    assert_eq!(second, Some(true));
    // The consumer's callback holds the last sender: the cut-off call's is gone once it is.
    conn.shutdown(LIMIT).await.unwrap();
    drop((conn, chan));
    assert_eq!(within("the callbacks' end", dropped.recv()).await, None);
}

#[scenario]
async fn a_worker_cannot_wait_for_its_own_connections_shutdown(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["message"]).await;
    let (told, mut kinds) = mpsc::unbounded_channel();
    let own = conn.clone();
    chan.register_callback(&queue)
        .workers(1)
        .callback(move |_: Delivery<String>| {
            let (own, told) = (own.clone(), told.clone());
            async move {
                let refused = own.shutdown(LIMIT).await.unwrap_err();
                told.send(refused.kind()).unwrap();
            }
        })
        .await
        .unwrap();
    let kind = processing(&conn, "the refusal", kinds.recv()).await;
    assert_eq!(kind, Some(ErrorKind::NotAllowed));
    conn.close().await.unwrap();
}

#[scenario]
async fn no_workers_are_refused(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let registering = chan
        .register_consumer(fixture.name("exchange"), "fanout")
        .workers(0)
        .callback(|_: Delivery<String>| async {});
    let err = registering.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument);
    assert!(err.to_string().contains("0 workers"), "{err}");
}

#[scenario]
async fn callbacks_with_the_same_key_run_in_order_and_others_at_once(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["a1", "a2", "b1", "b2", "a3", "b3"]).await;
    // Opens when an a and a b run at once.
    let both = Arc::new(Barrier::new(2));
    let running = Arc::new(AtomicUsize::new(0));
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .workers(4)
        .ordered_by(letter)
        .callback(move |resp: Delivery<String>| {
            let (both, running) = (Arc::clone(&both), Arc::clone(&running));
            let recorder = recorder.clone();
            async move {
                let at_once = running.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(at_once <= 2, "two keys, and {at_once} callbacks at once");
                both.wait().await;
                running.fetch_sub(1, Ordering::SeqCst);
                recorder.note(resp);
            }
        })
        .await
        .unwrap();
    let mut by_letter: HashMap<String, Vec<String>> = HashMap::new();
    for call in calls.take(&conn, 6).await {
        by_letter.entry(letter(&call)).or_default().push(call.msg);
    }
    assert_eq!(by_letter["a"], ["a1", "a2", "a3"]);
    assert_eq!(by_letter["b"], ["b1", "b2", "b3"]);
}

#[scenario]
async fn a_message_keeps_its_turn_while_it_is_retried(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["a1", "a2", "b1"]).await;
    let (recorder, mut calls) = record::<String>();
    let other = Arc::new(Notify::new());
    chan.register_callback(&queue)
        .retry(quickly())
        .ordered_by(letter)
        .callback(move |resp: Delivery<String>| {
            let (name, attempt) = (resp.msg.clone(), resp.attempt);
            let other = Arc::clone(&other);
            recorder.note(resp);
            async move {
                match (&*name, attempt) {
                    ("a1", 1..=3) => Err("not yet"),
                    // It ends only after the other key has had its turn.
                    ("a1", _) => {
                        other.notified().await;
                        Ok(())
                    }
                    ("b1", _) => {
                        other.notify_one();
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    let mut seen = bodies(calls.take(&conn, 6).await);
    seen.retain(|name| name.starts_with('a'));
    assert_eq!(seen, ["a1", "a1", "a1", "a1", "a2"]);
}

#[scenario]
async fn a_message_that_is_given_up_passes_its_turn_on(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["a1", "a2", "a3"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .retry(Retry::never().then_reject())
        .ordered_by(letter)
        .callback(move |resp: Delivery<String>| {
            let name = resp.msg.clone();
            recorder.note(resp);
            async move {
                match &*name {
                    "a1" => Err("never"),
                    "a2" => Ok(Outcome::Reject),
                    _ => Ok(Outcome::Ack),
                }
            }
        })
        .await
        .unwrap();
    assert_eq!(bodies(calls.take(&conn, 3).await), ["a1", "a2", "a3"]);
}

#[scenario]
async fn with_manual_ack_the_turn_lasts_until_the_message_is_settled(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["a1", "a2", "b1"]).await;
    let (recorder, mut calls) = record::<String>();
    chan.register_callback(&queue)
        .manual_ack()
        .ordered_by(letter)
        .callback(recorder.callback())
        .await
        .unwrap();
    let first = calls.next(&conn).await;
    let other = calls.next(&conn).await;
    assert_eq!((&*first.msg, &*other.msg), ("a1", "b1"));
    first.ack().await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "a2");
}

#[scenario]
async fn without_acks_the_turn_lasts_as_long_as_the_callback(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["a1", "a2"]).await;
    let (steps, mut seen) = mpsc::unbounded_channel();
    chan.register_callback(&queue)
        .auto_ack()
        .ordered_by(letter)
        .callback(move |resp: Delivery<String>| {
            let steps = steps.clone();
            async move {
                steps.send(format!("{} begins", resp.msg)).unwrap();
                tokio::task::yield_now().await;
                steps.send(format!("{} ends", resp.msg)).unwrap();
            }
        })
        .await
        .unwrap();
    let story = async {
        for step in ["a1 begins", "a1 ends", "a2 begins", "a2 ends"] {
            assert_eq!(seen.recv().await.as_deref(), Some(step));
        }
    };
    processing(&conn, "two callbacks", story).await;
}
