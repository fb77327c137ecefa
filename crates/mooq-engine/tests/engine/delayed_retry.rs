//! Quorum queues whose messages wait when they come back: when exactly they are ready again
//! (<https://www.rabbitmq.com/docs/quorum-queues#delayed-retry>).

use mooq_core::{FieldValue, Settlement};
use mooq_engine::{Method, Profile};

use crate::harness::{Broker, Channel, settle, table};

const NACK: Settlement = Settlement::Nack { requeue: true };
const REJECT: Settlement = Settlement::Reject { requeue: true };

/// A broker with a quorum queue `q` to which messages come back after 100 to 250 ms.
fn setup<const N: usize>(which: &str, more: [(&str, FieldValue); N]) -> (Broker, Channel) {
    let mut broker = Broker::of(Profile::V4_3);
    let c = broker.channel();
    let mut declare = crate::harness::queue("q");
    declare.arguments = table([
        ("x-queue-type", "quorum".into()),
        ("x-delayed-retry-type", which.into()),
        ("x-delayed-retry-min", 100.into()),
        ("x-delayed-retry-max", 250.into()),
    ]);
    for (key, value) in more {
        declare.arguments.insert(key.try_into().unwrap(), value);
    }
    broker.ok(c, Method::QueueDeclare(declare));
    (broker, c)
}

/// Numbers of ready, delayed and unacked messages.
fn counts(broker: &Broker) -> (u64, u64, u64) {
    let queue = broker.queue("q").unwrap();
    (queue.ready, queue.delayed, queue.unacked)
}

fn fetch(broker: &mut Broker, c: Channel) -> u64 {
    let get = Method::BasicGet {
        queue: "q".try_into().unwrap(),
        no_ack: false,
    };
    match broker.ok(c, get) {
        mooq_engine::Reply::Fetched(Some(fetched)) => fetched.delivery_tag,
        other => panic!("{other:?}"),
    }
}

/// Delays of a message after each of these settlements, in milliseconds.
fn delays(which: &str, settlements: &[Settlement]) -> Vec<u64> {
    let (mut broker, c) = setup(which, []);
    broker.put(c, "q", &["m"]);
    let mut delays = Vec::new();
    for settlement in settlements {
        let tag = fetch(&mut broker, c);
        broker.send(c, settle(tag, false, *settlement));
        let mut millis = 0;
        while counts(&broker).0 == 0 {
            assert_eq!(counts(&broker), (0, 1, 0));
            broker.pass(1);
            millis += 1;
        }
        delays.push(millis);
    }
    delays
}

#[test]
fn delays_grow_with_each_failed_delivery() {
    assert_eq!(
        delays("all", &[NACK, NACK, REJECT, REJECT, NACK, REJECT]),
        [100, 100, 100, 200, 200, 250]
    );
    assert_eq!(delays("failed", &[NACK, REJECT, NACK]), [0, 100, 0]);
    assert_eq!(
        delays("returned", &[NACK, REJECT, REJECT, NACK]),
        [100, 0, 0, 200]
    );
    assert_eq!(delays("disabled", &[NACK, REJECT]), [0, 0]);
}

#[test]
fn delayed_messages_that_are_due_at_once_return_in_the_order_of_arrival() {
    let (mut broker, c) = setup("all", []);
    broker.put(c, "q", &["1", "2", "3", "4"]);
    let tags: Vec<_> = (0..3).map(|_| fetch(&mut broker, c)).collect();
    broker.send(c, settle(tags[2], false, NACK));
    broker.send(c, settle(tags[0], false, NACK));
    broker.pass(1);
    broker.send(c, settle(tags[1], false, NACK));
    broker.pass(200);
    assert_eq!(broker.drain(c, "q"), ["1", "3", "2", "4"]);
}

#[test]
fn a_waiting_consumer_is_served_when_the_delay_ends() {
    let (mut broker, c) = setup("all", []);
    broker.prefetch(c, 1, false);
    broker.consume(c, "q", "t");
    broker.put(c, "q", &["1"]);
    broker.requeue(c, 1);
    broker.heard(c);
    broker.pass(99);
    assert!(broker.heard(c).is_empty());
    broker.pass(1);
    assert_eq!(broker.heard(c), ["#2 1 to t again"]);
}

#[test]
fn delayed_message_neither_expires_nor_is_dropped() {
    let (mut broker, c) = setup(
        "all",
        [("x-message-ttl", 50.into()), ("x-max-length", 1.into())],
    );
    broker.put(c, "q", &["1"]);
    let tag = fetch(&mut broker, c);
    broker.requeue(c, tag);
    broker.put(c, "q", &["2"]);
    assert_eq!(counts(&broker), (0, 1, 0));
    broker.pass(99);
    assert_eq!(counts(&broker), (0, 1, 0));
    broker.pass(1);
    assert_eq!(counts(&broker), (0, 0, 0));
    let tally = broker.queue("q").unwrap().tally;
    assert_eq!((tally.dropped, tally.expired), (1, 1));
}

#[test]
fn a_purge_takes_what_waits_and_a_restart_does_not() {
    let (mut broker, c) = setup("all", []);
    broker.put(c, "q", &["1", "2"]);
    let tag = fetch(&mut broker, c);
    broker.requeue(c, tag);
    let now = broker.time();
    broker.engine.shut_down(now);
    broker.engine.forget_transient();
    while broker.engine.poll_effect().is_some() {}
    assert_eq!(counts(&broker), (1, 1, 0));
    broker.pass(100);
    assert_eq!(counts(&broker), (2, 0, 0));
    let c = broker.channel();
    let tag = fetch(&mut broker, c);
    broker.requeue(c, tag);
    let purge = Method::QueuePurge {
        name: "q".try_into().unwrap(),
    };
    assert_eq!(broker.ok(c, purge), mooq_engine::Reply::MessageCount(2));
    broker.pass(100);
    assert_eq!(counts(&broker), (0, 0, 0));
}

#[test]
fn a_queue_whose_messages_all_wait_expires() {
    let (mut broker, c) = setup("all", [("x-expires", 50.into())]);
    broker.put(c, "q", &["1"]);
    let tag = fetch(&mut broker, c);
    broker.requeue(c, tag);
    broker.pass(50);
    assert!(broker.queue("q").is_none());
    broker.pass(100);
}
