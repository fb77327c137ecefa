//! Waits of tests: for an idle broker, and for a day of paused time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mooq::memory::InMemoryBroker;
use mooq::{Delivery, ExchangeKind};
use tokio::runtime::Builder;
use tokio::sync::Notify;

/// Time of `rounds` of publish, callback and a wait for the idle broker, on the caller's thread.
pub async fn rounds_until_idle(rounds: u64) -> Duration {
    let broker = InMemoryBroker::start();
    rounds_of(rounds, &broker, || {}, async || broker.wait_idle().await).await
}

/// The same, but with a signal from the callback in place of the wait: the shortest possible wait.
pub async fn rounds_until_told(rounds: u64) -> Duration {
    let broker = InMemoryBroker::start();
    let called = Arc::new(Notify::new());
    let tell = {
        let called = Arc::clone(&called);
        move || called.notify_one()
    };
    rounds_of(rounds, &broker, tell, async || called.notified().await).await
}

async fn rounds_of(
    rounds: u64,
    broker: &InMemoryBroker,
    called: impl Fn() + Clone + Send + Sync + 'static,
    wait: impl AsyncFn(),
) -> Duration {
    let conn = mooq::connect(broker)
        .await
        .expect("the broker takes connections");
    let chan = conn.create_channel().await.expect("a channel opens");
    chan.register_consumer("bench", ExchangeKind::Direct)
        .queue("bench")
        .callback(move |_: Delivery<u64>| {
            let called = called.clone();
            async move { called() }
        })
        .await
        .expect("the consumer is registered");
    let processing = tokio::spawn(async move { conn.process_events().await });
    let begin = Instant::now();
    for round in 0..rounds {
        let publish = chan.publish("bench", &round);
        publish.await.expect("the broker confirms");
        wait().await;
    }
    let taken = begin.elapsed();
    processing.abort();
    taken
}

/// Delays of a day's retries.
const WAITS: [Duration; 10] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(4 * 60 * 60),
    Duration::from_secs(6 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
];

/// Time of a day with tokio's clock paused, in which a service retries a message ten times:
/// runtime, broker, connection and queues included.
///
/// The first call makes the clock a little slower for the rest of the process.
pub fn day_of_retries() -> Duration {
    let begin = Instant::now();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    let tries = runtime.block_on(retry_for_a_day());
    let taken = begin.elapsed();
    assert_eq!(tries, WAITS.len() + 1);
    taken
}

async fn retry_for_a_day() -> usize {
    let broker = InMemoryBroker::start();
    let recording = broker.record(1_000);
    let conn = mooq::connect(&broker)
        .await
        .expect("the broker takes connections");
    let chan = conn.create_channel().await.expect("a channel opens");
    for (tries, wait) in WAITS.iter().enumerate() {
        let millis = i64::try_from(wait.as_millis()).expect("the delay fits in 64 bits");
        chan.declare_queue(format!("wait-{tries}"))
            .argument("x-message-ttl", millis)
            .argument("x-dead-letter-exchange", "")
            .argument("x-dead-letter-routing-key", "jobs")
            .await
            .expect("the queue is declared");
    }
    let retries = chan.clone();
    chan.register_consumer("jobs", ExchangeKind::Direct)
        .queue("jobs")
        .callback(move |tries: Delivery<usize>| {
            let chan = retries.clone();
            async move {
                let next = format!("wait-{}", tries.msg);
                let again = tries.msg + 1;
                chan.publish("", &again).routing_key(next).await
            }
        })
        .await
        .expect("the consumer is registered");
    let first = chan.publish("jobs", &0_usize);
    first.await.expect("the broker confirms");
    tokio::spawn(async move { conn.process_events().await });
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    recording.deliveries().queue("jobs").count()
}
