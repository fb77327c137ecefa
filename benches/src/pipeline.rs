//! The whole path of a message in memory: publish, route, deliver, decode, callback, acknowledge.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery, ExchangeKind};
use tokio::sync::{Notify, mpsc};

/// Number of publishes in flight before the producer waits for the oldest confirm.
const WINDOW: usize = 256;

/// The message: a short text, as JSON.
const TEXT: &str = "Hello World! Here is a message of 64 bytes, more or less, as JSON";

/// Time of `count` messages from one producer to one consumer's callback, each confirmed and
/// acknowledged, on the caller's thread.
pub async fn publish_callback_ack(count: u64) -> Duration {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker)
        .await
        .expect("the broker takes connections");
    let chan = conn.create_channel().await.expect("a channel opens");
    let handled = Arc::new(AtomicU64::new(0));
    let all_handled = Arc::new(Notify::new());
    let (counter, done) = (Arc::clone(&handled), Arc::clone(&all_handled));
    chan.register_consumer("bench", ExchangeKind::Direct)
        .queue("bench")
        .routing_key("key")
        .callback(move |resp: Delivery<String>| {
            assert_eq!(resp.msg.len(), TEXT.len());
            if counter.fetch_add(1, Ordering::Relaxed) + 1 == count {
                done.notify_one();
            }
            async {}
        })
        .await
        .expect("the consumer is registered");

    let begin = Instant::now();
    let produce = async {
        let mut window = VecDeque::with_capacity(WINDOW);
        for _ in 0..count {
            if window.len() == WINDOW
                && let Some(oldest) = window.pop_front()
            {
                confirmed(oldest).await;
            }
            let publish = chan.publish("bench", TEXT).routing_key("key");
            window.push_back(publish.send().await.expect("the broker takes messages"));
        }
        for confirmation in window {
            confirmed(confirmation).await;
        }
    };
    let consume = conn
        .process_events()
        .with_graceful_shutdown(async move { all_handled.notified().await });
    let ((), consumed) = tokio::join!(produce, consume);
    let taken = begin.elapsed();
    consumed.expect("the connection stays open");
    assert_eq!(handled.load(Ordering::Relaxed), count);
    taken
}

async fn confirmed(confirmation: mooq::Confirmation) {
    confirmation.await.expect("the broker confirms");
}

/// Baseline of a hand-over between two tasks: the same texts through a bounded channel.
pub async fn bounded_mpsc(count: u64) -> Duration {
    let (sender, mut receiver) = mpsc::channel::<String>(1024);
    let begin = Instant::now();
    let produce = async move {
        for _ in 0..count {
            sender
                .send(TEXT.to_string())
                .await
                .expect("the receiver is there");
        }
    };
    let consume = async {
        while let Some(text) = receiver.recv().await {
            assert_eq!(text.len(), TEXT.len());
        }
    };
    tokio::join!(produce, consume);
    begin.elapsed()
}

/// Time to create a broker, a connection and a channel. Returns the three as well, for the caller
/// to drop.
pub async fn fresh_broker() -> (Duration, (InMemoryBroker, Connection, Channel)) {
    let begin = Instant::now();
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker)
        .await
        .expect("the broker takes connections");
    let chan = conn.create_channel().await.expect("a channel opens");
    (begin.elapsed(), (broker, conn, chan))
}

/// Bytes of each of `count` queued messages of 64 bytes beyond its body, by the process's resident
/// memory. None if the system does not report that.
pub async fn queued_overhead(count: u64) -> Option<f64> {
    const BODY: usize = 64;
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker)
        .await
        .expect("the broker takes connections");
    let chan = conn.create_channel().await.expect("a channel opens");
    chan.declare_queue("backlog")
        .await
        .expect("the queue is declared");
    let before = memory_stats::memory_stats()?.physical_mem;
    for number in 0..count {
        let body = format!("{number:064}");
        let publish = chan
            .publish_with("", &body, mooq::RawBytes)
            .routing_key("backlog");
        confirmed(publish.send().await.expect("the broker takes messages")).await;
    }
    let after = memory_stats::memory_stats()?.physical_mem;
    let ready = chan
        .declare_queue("backlog")
        .passive()
        .await
        .expect("the queue is there");
    assert_eq!(u64::from(ready.message_count), count);
    Some(after.saturating_sub(before) as f64 / count as f64 - BODY as f64)
}
