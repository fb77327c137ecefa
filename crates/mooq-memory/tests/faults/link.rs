//! Slow and frozen links between the broker and its clients.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mooq_core::{ChannelEvent, ConnectionEvent, ErrorKind};
use mooq_memory::{Alarm, InMemoryBroker};
use tokio::time::Instant;

use crate::client::{Client, endpoint, open, queue};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn over_a_frozen_link_nothing_comes_or_goes_and_then_all_in_order() {
    let broker = InMemoryBroker::start();
    let mut frozen = Client::named(&broker, "frozen").await;
    let other = Client::named(&broker, "other").await;
    frozen.declare("in").await;
    frozen.declare("out").await;
    frozen.channel.confirm_select().await.unwrap();
    frozen.consume("in").await;

    let fault = broker.faults().connection("frozen").freeze();
    frozen.put("out", "published");
    let channel = Arc::clone(&frozen.channel);
    let mut declaring = channel.declare_queue(queue("late"));
    assert!((&mut declaring).now_or_never().is_none());
    other.put("in", "delivered");
    frozen.hears_nothing();
    let ready = |name: &str| broker.queues(name).first().map(|queue| queue.ready);
    assert_eq!(ready("out"), Some(0), "what was published has not arrived");
    assert_eq!(ready("late"), None);

    drop(fault);
    declaring.now_or_never().unwrap().unwrap();
    assert_eq!(frozen.delivered(), "delivered");
    let event = frozen.event();
    assert!(
        matches!(event, ChannelEvent::Confirm { sequence: 1, .. }),
        "{event:?}"
    );
    assert_eq!(ready("out"), Some(1));
}

#[tokio::test]
async fn link_that_is_frozen_twice_thaws_with_the_last_fault() {
    let broker = InMemoryBroker::start();
    let client = Client::new(&broker).await;
    let (first, second) = (broker.faults().freeze(), broker.faults().freeze());
    let mut declaring = client.channel.declare_queue(queue("orders"));
    assert!((&mut declaring).now_or_never().is_none());
    drop(first);
    assert!((&mut declaring).now_or_never().is_none());
    drop(second);
    declaring.now_or_never().unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_a_connection_is_heard_of_after_the_thaw() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    let frozen = broker.faults().freeze();
    let channel = Arc::clone(&client.channel);
    let mut declaring = channel.declare_queue(queue("orders"));
    assert!((&mut declaring).now_or_never().is_none());
    broker.faults().restart();
    client.hears_nothing();
    drop(frozen);
    let err = declaring.now_or_never().unwrap().unwrap_err();
    assert_eq!(err.reason().unwrap().code, 320);
    assert_eq!(client.connection_closed().reason().unwrap().code, 320);
}

#[tokio::test]
async fn request_of_a_client_that_gave_up_arrives_after_the_thaw() {
    let broker = InMemoryBroker::start();
    let client = Client::new(&broker).await;
    client.declare("orders").await;
    let frozen = broker.faults().freeze();
    client.put("orders", "book");
    drop(client);
    drop(frozen);
    assert_eq!(broker.queues("orders")[0].ready, 1);
}

#[tokio::test]
async fn an_alarm_and_a_freeze_hold_up_together() {
    let broker = InMemoryBroker::start();
    broker.announce_blocked();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    let alarm = broker.raise_alarm(Alarm::Memory);
    client.put("orders", "book");
    let event = client.connection_events.try_recv();
    assert!(
        matches!(event, Some(ConnectionEvent::Blocked(_))),
        "{event:?}"
    );

    let frozen = broker.faults().freeze();
    drop(alarm);
    client.hears_nothing();
    assert_eq!(broker.queues("orders")[0].ready, 0);
    // An alarm that begins before the thaw finds what was sent before.
    let alarm = broker.raise_alarm(Alarm::Memory);
    drop(frozen);
    let event = client.connection_events.try_recv();
    assert!(
        matches!(event, Some(ConnectionEvent::Unblocked)),
        "{event:?}"
    );
    let event = client.connection_events.try_recv();
    assert!(
        matches!(event, Some(ConnectionEvent::Blocked(_))),
        "{event:?}"
    );
    assert_eq!(broker.queues("orders")[0].ready, 0);
    drop(alarm);
    assert_eq!(broker.queues("orders")[0].ready, 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_over_a_frozen_link_waits_as_long_as_the_client_does() {
    let broker = InMemoryBroker::start();
    let frozen = broker.faults().connection("billing").freeze();
    let began = Instant::now();
    let err = open(&broker, "billing").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed);
    let limit = endpoint("billing").connect_timeout;
    assert!((limit..limit + SECOND).contains(&began.elapsed()));
    open(&broker, "shipping").await.unwrap();

    let thaw = async {
        tokio::time::sleep(SECOND).await;
        drop(frozen);
    };
    let (opened, ()) = tokio::join!(open(&broker, "billing"), thaw);
    opened.unwrap();
}

#[tokio::test(start_paused = true)]
async fn over_slow_links_all_arrives_later_by_the_sum() {
    let broker = InMemoryBroker::start();
    let mut client = Client::named(&broker, "slow").await;
    client.declare("orders").await;
    client.channel.confirm_select().await.unwrap();
    client.consume("orders").await;
    let first = broker.faults().slow(SECOND);
    let _second = broker.faults().connection("slow").slow(2 * SECOND);

    let began = Instant::now();
    client.put("orders", "book");
    assert_eq!(broker.queues("orders")[0].unacked, 1, "it arrived at once");
    client.declare("invoices").await;
    let took = began.elapsed();
    assert!((3 * SECOND..4 * SECOND).contains(&took), "{took:?}");
    assert_eq!(client.delivered(), "book");
    let event = client.event();
    assert!(
        matches!(event, ChannelEvent::Confirm { sequence: 1, .. }),
        "{event:?}"
    );

    drop(first);
    let began = Instant::now();
    client.declare("invoices").await;
    let took = began.elapsed();
    assert!((2 * SECOND..3 * SECOND).contains(&took), "{took:?}");
    let began = Instant::now();
    open(&broker, "slow").await.unwrap();
    assert!(began.elapsed() >= 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn nothing_overtakes_on_a_link_that_becomes_faster() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.consume("orders").await;
    let _always = broker.faults().slow(SECOND);
    let slower = broker.faults().slow(5 * SECOND);
    client.put("orders", "1");
    drop(slower);
    client.put("orders", "2");
    client.declare("orders").await;
    assert_eq!([client.delivered(), client.delivered()], ["1", "2"]);
}

#[tokio::test]
async fn delayed_traffic_arrives_with_the_end_of_the_fault() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.consume("orders").await;
    let slow = broker.faults().slow(Duration::MAX);
    client.put("orders", "book");
    client.hears_nothing();
    drop(slow);
    assert_eq!(client.delivered(), "book");
}
