//! Delivery limits: every failed delivery counts, by whichever way it fails. A delivery that was
//! not processed need not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mooq::{
    Channel, Connection, Delivery, Json, NoCallback, Outcome, RawBytes, RegisterConsumer, Retry,
};
use mooq_core::FieldValue;
use tokio::sync::mpsc;

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::{processing, put};

/// The limit of the queue: the fifth delivery that fails is the last one.
const DELIVERY_LIMIT: i32 = 4;

/// A poison message in a quorum queue with a delivery limit, and the queue of its dead letters.
struct Poisoned {
    conn: Connection,
    chan: Channel,
    queue: String,
    dead: String,
}

impl Poisoned {
    /// Declares the queues and publishes "poison".
    async fn new(fixture: &Fixture) -> Self {
        let (conn, chan) = fixture.channel().await;
        let (queue, dead) = (fixture.name("queue"), fixture.name("dead"));
        chan.declare_queue(&dead).await.unwrap();
        let mut declare = chan.declare_queue(&queue);
        for (key, value) in arguments(&dead) {
            declare = declare.argument(key, value);
        }
        declare.await.unwrap();
        put(&chan, &queue, "poison").await;
        Self {
            conn,
            chan,
            queue,
            dead,
        }
    }

    fn register(&self, fixture: &Fixture) -> RegisterConsumer<Json, NoCallback> {
        let register = self
            .chan
            .register_consumer(fixture.name("exchange"), "fanout");
        let mut register = register.queue(&self.queue);
        for (key, value) in arguments(&self.dead) {
            register = register.queue_argument(key, value);
        }
        register
    }

    /// The reason of the message's death.
    async fn reason(&self) -> String {
        let letter = self.chan.get::<bytes::Bytes>(&self.dead).codec(RawBytes);
        let letter = letter.timeout(LIMIT).await.unwrap();
        assert_eq!(letter.msg, "\"poison\"");
        let Some(FieldValue::Array(deaths)) = letter.properties.headers.get("x-death") else {
            panic!("no deaths: {:?}", letter.properties);
        };
        let FieldValue::Table(death) = &deaths[0] else {
            panic!("no death: {deaths:?}");
        };
        let reason = death.get("reason").and_then(FieldValue::as_str);
        let reason = reason.unwrap().to_owned();
        letter.ack().await.unwrap();
        reason
    }

    /// Processes events until the message has died of its queue's delivery limit.
    async fn dies_of_the_limit(&self) {
        let reason = processing(&self.conn, "the dead letter", self.reason()).await;
        assert_eq!(reason, "delivery_limit");
    }
}

fn arguments(dead: &str) -> [(&'static str, FieldValue); 4] {
    [
        ("x-queue-type", "quorum".into()),
        ("x-delivery-limit", DELIVERY_LIMIT.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.into()),
    ]
}

#[scenario]
async fn a_callback_that_fails_under_requeue_is_counted(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let (calls, counter) = counter();
    let register = poisoned.register(&fixture);
    let register = register.retry(Retry::requeue());
    register
        .callback(move |_: Delivery<String>| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Err::<(), _>("poison") }
        })
        .await
        .unwrap();
    poisoned.dies_of_the_limit().await;
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[scenario]
async fn a_callback_that_panics_under_requeue_is_counted(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let (calls, counter) = counter();
    let register = poisoned.register(&fixture);
    let register = register.retry(Retry::requeue());
    register
        .callback(move |msg: Delivery<String>| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move { assert_ne!(msg.msg, "poison", "{}", crate::expect::INTENDED) }
        })
        .await
        .unwrap();
    poisoned.dies_of_the_limit().await;
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[scenario]
async fn a_callback_that_returns_requeue_is_counted(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let (calls, counter) = counter();
    poisoned
        .register(&fixture)
        .callback(move |_: Delivery<String>| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Outcome::Requeue }
        })
        .await
        .unwrap();
    poisoned.dies_of_the_limit().await;
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[scenario]
async fn a_body_that_does_not_decode_under_requeue_is_counted(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let register = poisoned.register(&fixture);
    register
        .on_decode_error(Retry::requeue())
        .callback(|_: Delivery<u32>| async {})
        .await
        .unwrap();
    poisoned.dies_of_the_limit().await;
}

#[scenario]
async fn a_delivery_requeued_by_hand_is_counted(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let mut stream = poisoned
        .chan
        .consume::<String>(&poisoned.queue)
        .await
        .unwrap();
    for _ in 0..5 {
        let next = crate::within("the delivery", stream.next()).await;
        next.unwrap().unwrap().requeue().await.unwrap();
    }
    assert_eq!(poisoned.reason().await, "delivery_limit");
}

/// The cancelled consumer has to reject: on RabbitMQ 4.3 a nack does not count.
#[scenario]
async fn a_failed_delivery_is_counted_when_its_consumer_is_cancelled(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let a_day = Duration::from_secs(86_400);
    let (failing, mut failed) = mpsc::unbounded_channel();
    let register = poisoned.register(&fixture);
    let consumer = register
        .retry(Retry::every(a_day).in_place())
        .callback(move |_: Delivery<String>| {
            failing.send(()).unwrap();
            async { Err::<(), _>("poison") }
        })
        .await
        .unwrap();
    let cancelled = async {
        failed.recv().await.unwrap();
        consumer.cancel().await.unwrap();
    };
    processing(&poisoned.conn, "the cancellation", cancelled).await;
    let get = poisoned.chan.get_one::<String>(&poisoned.queue);
    let message = get.timeout(LIMIT).await.unwrap();
    assert_eq!((message.redelivered, message.delivery_count()), (true, 1));
    message.ack().await.unwrap();
}

/// Before RabbitMQ 4.3 every return counts.
#[scenario(since = V4_3)]
async fn a_delivery_that_was_only_given_back_is_not_counted(fixture: Fixture) {
    let poisoned = Poisoned::new(&fixture).await;
    let mut stream = poisoned
        .chan
        .consume::<String>(&poisoned.queue)
        .await
        .unwrap();
    for _ in 0..10 {
        let next = crate::within("the delivery", stream.next()).await;
        drop(next.unwrap().unwrap());
    }
    let next = crate::within("the last delivery", stream.next()).await;
    let last = next.unwrap().unwrap();
    assert_eq!((last.msg.as_str(), last.redelivered), ("poison", true));
    last.ack().await.unwrap();
}

/// A counter of a callback's calls, and the callback's handle to it.
fn counter() -> (Arc<AtomicU32>, Arc<AtomicU32>) {
    let calls = Arc::<AtomicU32>::default();
    (Arc::clone(&calls), calls)
}
