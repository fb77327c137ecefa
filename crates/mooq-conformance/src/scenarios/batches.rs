//! Callbacks for batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mooq::{Channel, Connection, Delivery, ErrorKind, Outcome, Schedule};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::expect::{INTENDED, LIMIT};
use crate::scenario;
use crate::steps::{drain, fill, processing, quickly, ready_in};
use crate::{Fixture, within};

/// Longer than any scenario: a batch is closed because it is full.
const NEVER: Duration = Duration::from_secs(3_600);

/// A queue with these messages.
async fn queue_with(fixture: &Fixture, names: &[&str]) -> (Connection, Channel, String) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, names).await;
    (conn, chan, queue)
}

/// Registers a callback for batches of `size` that notes their bodies, and returns `outcome`.
async fn noted<O>(
    chan: &Channel,
    queue: &str,
    (size, within): (u16, Duration),
    outcome: impl Fn(&[String]) -> O + Send + Sync + 'static,
) -> UnboundedReceiver<Vec<String>>
where
    O: mooq::IntoBatchOutcome + Send + 'static,
{
    let (noted, batches) = mpsc::unbounded_channel();
    chan.register_callback(queue)
        .retry(quickly())
        .batch(size, within)
        .callback(move |batch: Vec<Delivery<String>>| {
            let names: Vec<String> = batch.iter().map(|resp| resp.msg.clone()).collect();
            let outcome = outcome(&names);
            let _ = noted.send(names);
            async move {
                drop(batch);
                outcome
            }
        })
        .await
        .unwrap();
    batches
}

/// Ends the connection in order, and returns what is left in the queue.
async fn left(fixture: &Fixture, conn: Connection, queue: &str) -> Vec<String> {
    let service = conn.clone();
    let service = tokio::spawn(async move { service.process_events().await });
    conn.shutdown(LIMIT).await.unwrap();
    within("the end", service).await.unwrap().unwrap();
    let (_conn, chan) = fixture.channel().await;
    drain(&chan, queue).await
}

#[scenario]
async fn a_full_batch_is_handled_at_once_and_in_order(fixture: Fixture) {
    let names = ["1", "2", "3", "4", "5", "6"];
    let (conn, chan, queue) = queue_with(&fixture, &names).await;
    let mut batches = noted(&chan, &queue, (3, NEVER), |_| ()).await;
    let both = async { [batches.recv().await, batches.recv().await] };
    let both = processing(&conn, "two batches", both).await;
    assert_eq!(both.map(Option::unwrap), [["1", "2", "3"], ["4", "5", "6"]]);
    assert_eq!(left(&fixture, conn, &queue).await, [""; 0]);
}

#[scenario]
async fn a_batch_that_does_not_fill_is_handled_after_its_time(fixture: Fixture) {
    let (conn, chan, queue) = queue_with(&fixture, &["1", "2"]).await;
    let time = Duration::from_millis(300);
    let mut batches = noted(&chan, &queue, (100, time), |_| ()).await;
    let both = async {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(batches.recv().await.unwrap());
        }
        seen
    };
    assert_eq!(processing(&conn, "both", both).await, ["1", "2"]);
}

#[scenario]
async fn each_delivery_of_a_batch_may_have_its_own_outcome(fixture: Fixture) {
    let (conn, chan, queue) = queue_with(&fixture, &["ack", "again", "reject"]).await;
    let times = AtomicUsize::new(0);
    let outcome = move |names: &[String]| -> Vec<Outcome> {
        let of = |name: &String| match &**name {
            "again" if times.fetch_add(1, Ordering::SeqCst) == 0 => Outcome::Requeue,
            "reject" => Outcome::Reject,
            _ => Outcome::Ack,
        };
        names.iter().map(of).collect()
    };
    let time = Duration::from_millis(100);
    let mut batches = noted(&chan, &queue, (3, time), outcome).await;
    // A slow machine may need several batches for the first three.
    let all = async {
        let mut seen = Vec::new();
        while seen.iter().filter(|name| *name == "again").count() < 2 || seen.len() < 4 {
            seen.extend(batches.recv().await.unwrap());
        }
        seen
    };
    let mut seen = processing(&conn, "all outcomes", all).await;
    seen.sort();
    assert_eq!(seen, ["ack", "again", "again", "reject"]);
    assert_eq!(left(&fixture, conn, &queue).await, [""; 0]);
}

#[scenario]
async fn the_error_of_a_batch_is_that_of_each_delivery(fixture: Fixture) {
    let (conn, chan, queue) = queue_with(&fixture, &["1", "2"]).await;
    let (noted, mut errors) = mpsc::unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    chan.register_callback(&queue)
        .retry(quickly())
        .batch(2, NEVER)
        .callback(move |batch: Vec<Delivery<String>>| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            for resp in &batch {
                let _ = noted.send((resp.attempt, resp.last_error.clone()));
            }
            async move {
                match call {
                    0 => Err("not yet".into()),
                    1 => panic!("{INTENDED}"),
                    2 => Ok(vec![Outcome::Ack; 3]),
                    _ => Ok::<_, mooq::CallbackError>(vec![Outcome::Ack; batch.len()]),
                }
            }
        })
        .await
        .unwrap();
    let failed = |why: &str| Some(format!("the callback of its batch {why}"));
    let reasons = [
        None,
        failed("failed: not yet"),
        failed(&format!("panicked: {INTENDED}")),
        failed("failed: the callback returned 3 outcomes for a batch of 2"),
    ];
    let story = async {
        for (attempt, reason) in (1..).zip(reasons) {
            for _ in 0..2 {
                assert_eq!(errors.recv().await, Some((attempt, reason.clone())));
            }
        }
    };
    processing(&conn, "four calls", story).await;
    assert_eq!(left(&fixture, conn, &queue).await, [""; 0]);
}

#[scenario]
async fn a_delivery_of_a_batch_that_is_settled_early_keeps_its_settlement(fixture: Fixture) {
    let (conn, chan, queue) = queue_with(&fixture, &["early", "late"]).await;
    let (recorded, mut batches) = mpsc::unbounded_channel();
    chan.register_callback(&queue)
        .retry(quickly())
        .batch(2, NEVER)
        .callback(move |batch: Vec<Delivery<String>>| {
            let recorded = recorded.clone();
            async move {
                let first = batch.iter().all(|resp| resp.attempt == 1);
                let _ = recorded.send(batch.len());
                for resp in batch {
                    if resp.msg == "early" {
                        resp.ack().await?;
                    }
                }
                match first {
                    true => Err(mooq::Error::new(ErrorKind::NotFound, "not yet")),
                    false => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    let story = async {
        assert_eq!(batches.recv().await, Some(2));
        // The other one alone is tried again, and waits for a second.
        fill(&chan, &queue, &["third"]).await;
        assert_eq!(batches.recv().await, Some(2));
    };
    processing(&conn, "two batches", story).await;
    assert_eq!(left(&fixture, conn, &queue).await, [""; 0]);
}

#[scenario]
async fn a_shutdown_settles_a_batch_that_is_not_full(fixture: Fixture) {
    let (conn, chan, queue) = queue_with(&fixture, &["1", "2"]).await;
    let time = Duration::from_millis(100);
    let mut batches = noted(&chan, &queue, (100, time), |_| ()).await;
    within("both deliveries", async {
        while ready_in(&chan, &queue).await > 0 {}
    })
    .await;
    assert_eq!(left(&fixture, conn, &queue).await, [""; 0]);
    let mut seen = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        seen.extend(batch);
    }
    assert_eq!(seen, ["1", "2"]);
}

#[scenario]
async fn a_batch_that_is_not_full_is_given_back_when_processing_is_dropped(fixture: Fixture) {
    let (conn, chan, queue) = queue_with(&fixture, &["1", "2"]).await;
    let mut batches = noted(&chan, &queue, (3, NEVER), |_| ()).await;
    // Once the queue is empty both are at the client, and are collected in this one poll.
    let collected = async {
        let (_conn, other) = fixture.channel().await;
        while ready_in(&other, &queue).await > 0 {}
        tokio::task::yield_now().await;
    };
    processing(&conn, "both deliveries", collected).await;
    assert!(batches.try_recv().is_err());
    conn.close().await.unwrap();
    let (_conn, chan) = fixture.channel().await;
    let both = async {
        let mut names = Vec::new();
        while names.len() < 2 {
            names.extend(drain(&chan, &queue).await);
        }
        names
    };
    assert_eq!(within("both messages again", both).await, ["1", "2"]);
}

#[scenario]
async fn a_batch_of_nothing_is_refused(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let registering = chan
        .register_consumer(fixture.name("exchange"), "fanout")
        .batch(0, NEVER)
        .callback(|_: Vec<Delivery<String>>| async {});
    let err = registering.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument);
    assert!(err.to_string().contains("batch of 0"), "{err}");
}
