//! What recovery does that a live broker cannot be made to show at will.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::sync::Arc;
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, Connection, ConnectionState, ErrorKind, Event, Events, Scheme};

fn options_of(host: &str) -> ConnectOptions {
    ConnectOptions::new().broker(Scheme::Memory).host(host)
}

/// What happens until `last`, which is left out.
async fn until(events: &mut Events, last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut before = Vec::new();
    loop {
        match events.next().await {
            Some(event) if last(&event) => return before,
            Some(event) => before.push(event),
            None => panic!("the connection has ended: {before:?}"),
        }
    }
}

fn reconnected(event: &Event) -> bool {
    matches!(event, Event::Reconnected { .. })
}

#[tokio::test]
async fn the_first_host_that_answers_is_connected_to() {
    let second = InMemoryBroker::new("answers-2", 5672);
    second.run();
    let options = options_of("answers-1")
        .or_host("answers-2", 5672)
        .or_host("answers-3", 5672);
    let conn = mooq::connect(options).await.unwrap();
    assert_eq!(conn.endpoint().address(), "answers-2:5672");

    let none = options_of("none-1").or_host("none-2", 5672);
    let err = mooq::connect(none).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed);
    assert!(err.to_string().contains("none-2:5672"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_goes_to_another_host_and_its_topology_with_it() {
    let brokers = ["moves-1", "moves-2"].map(|host| InMemoryBroker::new(host, 5672));
    brokers.iter().for_each(InMemoryBroker::run);
    let options = options_of("moves-1").or_host("moves-2", 5672);
    let conn = mooq::connect(options).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("orders").await.unwrap();
    let mut events = conn.events();

    brokers[0].close();
    until(&mut events, reconnected).await;
    assert_eq!(conn.endpoint().address(), "moves-2:5672");
    chan.publish("", "there")
        .routing_key("orders")
        .await
        .unwrap();
    assert_eq!(brokers[1].queues("orders")[0].ready, 1);

    // The last good one is tried first, and then the others.
    brokers[0].run();
    brokers[1].close();
    until(&mut events, reconnected).await;
    assert_eq!(conn.endpoint().address(), "moves-1:5672");
}

/// A connection that has lost its exclusive queue to another one.
async fn robbed() -> (Connection, Events, Connection) {
    let broker = InMemoryBroker::start();
    let conn = Connection::open(
        Arc::new(broker.transport()),
        ConnectOptions::new().name("first"),
    );
    let conn = conn.await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("mine").exclusive().await.unwrap();
    let other = mooq::connect(&broker).await.unwrap();
    let robber = other.create_channel().await.unwrap();
    let events = conn.events();
    let refused = broker.faults().refuse_connections();
    let mut state = conn.state();
    broker.faults().connection("first").drop_connections();
    state.wait_for(|state| !state.is_connected()).await.unwrap();
    robber.declare_queue("mine").exclusive().await.unwrap();
    drop(refused);
    (conn, events, other)
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_still_locked_is_waited_for() {
    let (conn, mut events, robber) = robbed().await;
    let locked = |event: &Event| matches!(event, Event::AttemptFailed(err) if err.kind() == ErrorKind::ResourceLocked);
    until(&mut events, locked).await;
    assert!(!conn.is_open());
    robber.close().await.unwrap();
    let before = until(&mut events, reconnected).await;
    let lost = |event: &Event| matches!(event, Event::NotRestored { .. });
    assert!(!before.iter().any(lost), "{before:?}");
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue("mine").passive().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stays_locked_is_done_without() {
    let (conn, mut events, _robber) = robbed().await;
    let began = tokio::time::Instant::now();
    let before = until(&mut events, reconnected).await;
    let told = before.iter().find_map(|event| match event {
        Event::NotRestored { what, error } => Some((what.as_str(), error.kind())),
        _ => None,
    });
    assert_eq!(told, Some(("queue 'mine'", ErrorKind::ResourceLocked)));
    // A broker gives a silent client up after two heartbeats.
    let heartbeat = conn.endpoint().heartbeat;
    assert!(began.elapsed() > 2 * heartbeat);
    assert!(began.elapsed() < 4 * heartbeat);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_not_read_in_time_are_counted() {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let mut events = conn.events();
    let down = broker.faults().stop();
    tokio::time::sleep(Duration::from_secs(600)).await;
    drop(down);
    let mut state = conn.state();
    state.wait_for(ConnectionState::is_connected).await.unwrap();
    let first = events.next().await;
    assert!(
        matches!(first, Some(Event::Missed(missed)) if missed > 500),
        "{first:?}"
    );
    until(&mut events, reconnected).await;
}
