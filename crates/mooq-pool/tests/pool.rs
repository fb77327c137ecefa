//! Limits and ends of a pool, in virtual time on the in-memory broker.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::sync::Arc;
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, ErrorKind, PoolBuilder, Recovery};

fn builder(broker: &InMemoryBroker, options: ConnectOptions) -> PoolBuilder {
    PoolBuilder::over(Arc::new(broker.transport()), options)
}

/// The names of the broker's connections, sorted.
fn names(broker: &InMemoryBroker) -> Vec<String> {
    let connections = broker.connections("**").into_iter();
    let mut names: Vec<_> = connections
        .map(|connection| connection.name.to_string())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test(start_paused = true)]
async fn number_of_connections_is_checked_before_any_is_opened() {
    let broker = InMemoryBroker::start();
    for (publishers, consumers, words) in [
        (0, 1, "0 publishers: expected 1 to 1000"),
        (1001, 1, "1001 publishers: expected 1 to 1000"),
        (1, 1001, "1001 consumers: expected 0 to 1000"),
    ] {
        let pool = builder(&broker, ConnectOptions::new());
        let pool = pool.publishers(publishers).consumers(consumers);
        let err = pool.await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");
        assert!(err.to_string().contains(words), "{err}");
    }
    assert_eq!(names(&broker), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn connections_are_named_and_close_with_the_last_handle() {
    let broker = InMemoryBroker::start();
    let pool = builder(&broker, ConnectOptions::new().name("billing"));
    let pool = pool.publishers(2).consumers(1).await.unwrap();
    let expected = [
        "billing/consumer-1",
        "billing/publisher-1",
        "billing/publisher-2",
    ];
    assert_eq!(names(&broker), expected);
    drop(pool.clone());
    assert_eq!(names(&broker), expected);
    drop(pool);
    broker.wait_idle().await;
    assert_eq!(names(&broker), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn pool_that_only_publishes_has_no_channels_for_consumers() {
    let broker = InMemoryBroker::start();
    let pool = builder(&broker, ConnectOptions::new());
    let pool = pool.consumers(0).await.unwrap();
    let err = pool.create_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err}");
    pool.process_events().await.unwrap();
    let chan = pool.create_publisher_channel().await.unwrap();
    chan.declare_queue("orders").await.unwrap();
    pool.publish("", &7).routing_key("orders").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn broker_that_stays_away_is_waited_for_as_long_as_calls_may_wait() {
    let broker = InMemoryBroker::start();
    let options = ConnectOptions::new()
        .recovery(Recovery::off())
        .timeout(Duration::from_secs(7));
    let pool = builder(&broker, options).await.unwrap();
    let outage = broker.faults().stop();
    let began = tokio::time::Instant::now();
    let err = pool.create_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TimedOut, "{err}");
    assert_eq!(began.elapsed().as_secs(), 7);
    let err = pool
        .publish("", &7)
        .routing_key("orders")
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err}");

    drop(outage);
    let chan = pool.create_channel().await.unwrap();
    chan.declare_queue("orders").await.unwrap();
    pool.create_publisher_channel().await.unwrap();
    pool.publish("", &7).routing_key("orders").await.unwrap();

    pool.close().await.unwrap();
    let err = pool.create_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed, "{err}");
    // Nothing is replaced in a pool that is closed.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(names(&broker), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn processing_goes_on_over_a_connection_that_had_no_channel() {
    let broker = InMemoryBroker::start();
    let options = ConnectOptions::new()
        .name("billing")
        .recovery(Recovery::off());
    let pool = builder(&broker, options).await.unwrap();
    let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let processing = pool.process_events();
    let processing = tokio::spawn(async move { processing.await });
    broker.wait_idle().await;
    let consumer = broker.faults().connection("billing/consumer-1");
    assert_eq!(consumer.close_connections("maintenance"), 1);

    let chan = pool.create_channel().await.unwrap();
    chan.register_consumer("orders", "direct")
        .callback(move |order: mooq::Delivery<u32>| {
            let sent = called.send(order.msg);
            async move { sent.unwrap() }
        })
        .await
        .unwrap();
    pool.publish("orders", &7).await.unwrap();
    assert_eq!(calls.recv().await, Some(7));
    assert!(!processing.is_finished());

    // This one has a channel.
    let consumer = broker.faults().connection("billing/consumer-1");
    assert_eq!(consumer.close_connections("maintenance"), 1);
    let err = processing.await.unwrap().unwrap_err();
    assert_eq!(err.reason().unwrap().code, 320, "{err}");
}
