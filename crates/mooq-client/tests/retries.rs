//! What happens to a message whose move to a delay queue is disturbed.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::sync::Arc;
use std::time::Duration;

use mooq::memory::{Alarm, InMemoryBroker};
use mooq::{Channel, Connection, Delivery, Event, Events, Retry};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

const MINUTE: Duration = Duration::from_secs(60);

/// A service whose callback fails at the first attempt, and its calls.
struct Service {
    broker: InMemoryBroker,
    conn: Connection,
    chan: Channel,
    events: Events,
    /// Attempt and redelivered flag of each call.
    calls: UnboundedReceiver<(u32, bool)>,
    /// Callbacks end once it is open.
    gate: Arc<Semaphore>,
    processing: JoinHandle<mooq::Result<()>>,
}

fn process(conn: &Connection) -> JoinHandle<mooq::Result<()>> {
    let conn = conn.clone();
    tokio::spawn(async move { conn.process_events().await })
}

async fn service(policy: Retry) -> Service {
    let service = gated_service(policy).await;
    service.open();
    service
}

async fn gated_service(policy: Retry) -> Service {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let (called, calls) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    chan.register_consumer("orders", "direct")
        .queue("orders")
        .retry(policy)
        .callback(move |order: Delivery<String>| {
            called.send((order.attempt, order.redelivered)).unwrap();
            let opened = Arc::clone(&opened);
            async move {
                let _open = opened.acquire().await;
                match order.attempt {
                    1 => Err("busy"),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    Service {
        events: conn.events(),
        processing: process(&conn),
        broker,
        conn,
        chan,
        calls,
        gate,
    }
}

impl Service {
    fn open(&self) {
        self.gate.add_permits(1);
    }

    async fn publish(&self) {
        self.chan.publish("orders", "pencil").await.unwrap();
    }

    async fn calls<const N: usize>(&mut self) -> [(u32, bool); N] {
        let mut calls = [(0, false); N];
        for call in &mut calls {
            *call = self.calls.recv().await.unwrap();
        }
        calls
    }

    /// Asserts that nothing is left, and that the callback was not called more often.
    async fn ends_with_nothing_left(mut self) {
        tokio::time::sleep(100 * MINUTE).await;
        self.broker.wait_idle().await;
        assert!(self.calls.try_recv().is_err());
        let queues = self.broker.queues("*");
        assert!(queues.iter().all(|queue| queue.ready + queue.unacked == 0));
        self.conn.close().await.unwrap();
        self.processing.await.unwrap().unwrap();
    }

    async fn told(&mut self, is_it: impl Fn(&Event) -> bool) {
        while !self.events.next().await.is_some_and(|event| is_it(&event)) {}
    }
}

/// The copy waits, and the delivery that could not be acked comes back: a duplicate, and no loss.
#[tokio::test(start_paused = true)]
async fn connection_lost_between_the_confirm_and_the_ack_makes_a_duplicate() {
    let mut service = service(Retry::every(MINUTE)).await;
    let lost = service.broker.faults().queue("orders").lose_acks(1);
    service.publish().await;
    assert_eq!(service.calls().await, [(1, false), (1, true)]);
    assert_eq!(lost.strikes(), 1);
    assert_eq!(service.calls().await, [(2, false), (2, false)]);
    service.ends_with_nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn connection_lost_before_the_confirm_makes_a_duplicate() {
    let mut service = service(Retry::every(MINUTE)).await;
    let faults = service.broker.faults();
    let lost = faults.exchange("orders.retry*").lose_confirms(1);
    service.publish().await;
    assert_eq!(service.calls().await, [(1, false), (1, true)]);
    assert_eq!(lost.strikes(), 1);
    assert_eq!(service.calls().await, [(2, false), (2, false)]);
    service.ends_with_nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn connection_lost_with_the_copy_brings_the_delivery_back() {
    let mut service = service(Retry::every(MINUTE)).await;
    let faults = service.broker.faults();
    let lost = faults.exchange("orders.retry*").lose_publishes(1);
    service.publish().await;
    assert_eq!(service.calls().await, [(1, false), (1, true)]);
    assert_eq!(lost.strikes(), 1);
    assert_eq!(service.calls().await, [(2, false)]);
    service.ends_with_nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn nacked_copy_leaves_the_delivery_in_place_for_its_delay() {
    let mut service = service(Retry::every(MINUTE / 2)).await;
    let faults = service.broker.faults();
    let nacked = faults.exchange("orders.retry*").nack_publishes(1);
    service.publish().await;
    assert_eq!(service.calls().await, [(1, false)]);
    let since = tokio::time::Instant::now();
    service
        .told(|event| matches!(event, Event::NotMoved { .. }))
        .await;
    assert_eq!(nacked.strikes(), 1);
    // The same delivery, and its attempts count on.
    assert_eq!(service.calls().await, [(2, false)]);
    assert_eq!(since.elapsed().as_secs(), 30);
    service.ends_with_nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn alarm_during_the_move_makes_at_most_a_duplicate() {
    let mut service = gated_service(Retry::every(MINUTE)).await;
    service.publish().await;
    assert_eq!(service.calls().await, [(1, false)]);
    let alarm = service.broker.raise_alarm(Alarm::Memory);
    service.open();
    // The copy was sent, and its confirm does not come in time: the delivery is kept.
    service
        .told(|event| matches!(event, Event::NotMoved { .. }))
        .await;
    assert_eq!(service.calls().await, [(2, false)]);
    drop(alarm);
    // The copy.
    assert_eq!(service.calls().await, [(2, false)]);
    service.ends_with_nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn processing_that_ends_during_the_move_gives_the_delivery_back() {
    let mut service = gated_service(Retry::every(MINUTE)).await;
    service.publish().await;
    assert_eq!(service.calls().await, [(1, false)]);
    let alarm = service.broker.raise_alarm(Alarm::Memory);
    service.open();
    // The copy waits for the end of the alarm, and its confirm with it.
    tokio::time::sleep(MINUTE / 60).await;
    service.processing.abort();
    drop(alarm);
    service.processing = process(&service.conn);
    assert_eq!(service.calls().await, [(1, true)]);
    assert_eq!(service.calls().await, [(2, false), (2, false)]);
    service.ends_with_nothing_left().await;
}

/// Fifty-nine delays of a minute to six hours, two weeks in all.
#[tokio::test(start_paused = true)]
async fn attempts_go_on_for_days_without_a_drift() {
    let broker = InMemoryBroker::start();
    let recording = broker.record(1_000);
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let policy = Retry::exponential(MINUTE, 360 * MINUTE).attempts(60);
    chan.register_consumer("orders", "direct")
        .queue("orders")
        .retry(policy)
        .callback(|_: Delivery<String>| async { Err::<(), _>("busy") })
        .await
        .unwrap();
    let mut events = conn.events();
    let processing = process(&conn);
    chan.publish("orders", "pencil").await.unwrap();
    let parked = chan.get_one::<String>("orders.parked");
    while !matches!(
        events.next().await,
        Some(Event::GaveUp { attempts: 60, .. })
    ) {}
    parked.await.unwrap().ack().await.unwrap();
    let attempts = recording.deliveries().queue("orders").list();
    let delays: Vec<_> = attempts
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    let minutes: Vec<_> = delays.iter().map(|delay| delay.as_secs() / 60).collect();
    assert_eq!(minutes[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 360]);
    assert!(minutes[10..].iter().all(|minutes| *minutes == 360));
    assert_eq!(minutes.len(), 59);
    conn.close().await.unwrap();
    processing.await.unwrap().unwrap();
}
