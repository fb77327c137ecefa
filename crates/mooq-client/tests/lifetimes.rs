//! What outlives what: consumers the handles of their channels, and what a close does not wait for.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, Connection, Delivery, ErrorKind, Event, Recovery, Scheme};
use tokio::time::Instant;

async fn open(broker: &InMemoryBroker, options: ConnectOptions) -> Connection {
    let options = options.broker(Scheme::Memory);
    let conn = Connection::open(Arc::new(broker.transport()), options);
    conn.await.unwrap()
}

#[tokio::test]
async fn a_consumer_with_a_channel_of_its_own_outlives_the_handle_it_came_from() {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let mut stream = {
        let chan = conn.create_channel().await.unwrap();
        chan.register_consumer("orders", "direct")
            .queue("billed")
            .exclusive_consumer()
            .callback(move |_: Delivery<String>| {
                count.fetch_add(1, Ordering::Relaxed);
                async {}
            })
            .await
            .unwrap();
        chan.declare_queue("read").await.unwrap();
        chan.consume::<String>("read")
            .exclusive_consumer()
            .await
            .unwrap()
    };
    let other = mooq::connect(&broker).await.unwrap();
    let chan = other.create_channel().await.unwrap();
    chan.publish("orders", "a pencil").await.unwrap();
    let publish = chan.publish("", "a book").routing_key("read");
    publish.await.unwrap();

    conn.process_events().cycles(1).await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let order = stream.next().await.unwrap().unwrap();
    assert_eq!(order.ack().await.unwrap(), "a book");
    assert_eq!(broker.consumers("*").len(), 2);

    drop(stream);
    conn.close().await.unwrap();
    broker.wait_idle().await;
    assert_eq!(broker.consumers("*").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_beside_a_loss_waits_for_nothing() {
    for recovery in [Recovery::new(), Recovery::off()] {
        let broker = InMemoryBroker::start();
        let conn = open(&broker, ConnectOptions::new().recovery(recovery)).await;
        let _chan = conn.create_channel().await.unwrap();
        let began = Instant::now();
        broker.faults().drop_connections();
        let _ = conn.close().await;
        assert!(began.elapsed() < Duration::from_secs(1), "{began:?}");
        assert!(!conn.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_may_be_as_long_as_one_likes() {
    let broker = InMemoryBroker::start();
    let conn = open(&broker, ConnectOptions::new().timeout(Duration::MAX)).await;
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("orders").await.unwrap();
    broker.faults().drop_connections();
    let publish = chan.publish("", "a pencil").routing_key("orders");
    publish.timeout(Duration::MAX).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_call_beside_the_end_of_its_connection_gets_the_reason() {
    let broker = InMemoryBroker::start();
    let conn = open(&broker, ConnectOptions::new().recovery(Recovery::off())).await;
    let chan = conn.create_channel().await.unwrap();
    broker.faults().drop_connections();
    // It is made before the loss has been read.
    let err = chan.declare_queue("orders").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_not_idle_while_a_connection_is_on_its_way_back() {
    for _ in 0..20 {
        let broker = InMemoryBroker::start();
        let conn = mooq::connect(&broker).await.unwrap();
        let chan = conn.create_channel().await.unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&seen);
        chan.register_consumer("orders", "direct")
            .queue("orders-to-bill")
            .callback(move |_: Delivery<String>| {
                count.fetch_add(1, Ordering::Relaxed);
                async {}
            })
            .await
            .unwrap();
        let service = conn.clone();
        tokio::spawn(async move { service.process_events().await });
        let lost = broker.faults().lose_acks(1);
        chan.publish("orders", "a pencil").await.unwrap();
        broker.wait_idle().await;
        assert_eq!(lost.strikes(), 1);
        assert_eq!(seen.load(Ordering::Relaxed), 2);
        conn.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_outlives_the_cancellation_of_its_last_consumer() {
    let broker = InMemoryBroker::start();
    let conn = open(&broker, ConnectOptions::new()).await;
    let chan = conn.create_channel().await.unwrap();
    let mut events = conn.events();
    for (queue, deleted) in [("kept", false), ("deleted", true)] {
        chan.declare_queue(queue).exclusive().await.unwrap();
        let mut stream = chan.consume::<String>(queue).await.unwrap();
        if deleted {
            broker.faults().queue(queue).delete_queues();
        } else {
            broker.faults().queue(queue).cancel_consumers();
        }
        assert!(stream.next().await.unwrap().is_err());
        // Until the client knows if the queue is still there.
        broker.wait_idle().await;
    }

    broker.faults().drop_connections();
    while !matches!(events.next().await, Some(Event::Reconnected { .. })) {}
    let queues = broker.queues("*");
    let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(names, ["kept"]);
}

#[tokio::test]
async fn the_endpoint_is_the_one_that_was_open_last() {
    let broker = InMemoryBroker::new("the-endpoint-open-last", 5672);
    broker.run();
    let options = ConnectOptions::new()
        .broker(Scheme::Memory)
        .host("the-endpoint-open-last")
        .or_host("not-running", 5672);
    let conn = mooq::connect(options).await.unwrap();
    let mut events = conn.events();
    broker.close();
    for _ in 0..4 {
        while !matches!(events.next().await, Some(Event::AttemptFailed(_))) {}
        assert_eq!(conn.endpoint().host, "the-endpoint-open-last");
    }
}
