//! Events that time brings about by itself (<https://www.rabbitmq.com/docs/ttl>).

use mooq_core::FieldValue;
use mooq_engine::{Method, Time};

use crate::harness::{Broker, publish_with};

fn expiring(body: &str, millis: &str) -> mooq_core::Publish {
    publish_with("", "q", body, |p| {
        p.expiration = Some(millis.try_into().unwrap());
    })
}

#[test]
fn the_smaller_time_to_live_counts() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-message-ttl", 100.into())]);
    for (body, millis) in [("short", "50"), ("long", "5000")] {
        broker.publish(c, expiring(body, millis));
    }
    broker.pass(50);
    assert_eq!(broker.counts("q"), (1, 0));
    broker.pass(50);
    assert_eq!(broker.counts("q"), (0, 0));
    assert_eq!(broker.engine.next_deadline(), None);
}

#[test]
fn messages_expire_only_at_the_head_and_never_while_unacked() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "q");
    broker.publish(c, expiring("first", "100"));
    broker.publish(c, expiring("second", "10"));
    broker.pass(20);
    assert_eq!(
        broker.counts("q"),
        (2, 0),
        "the second waits behind the first"
    );
    broker.consume(c, "q", "t");
    assert_eq!(
        broker.heard(c),
        ["#1 first to t"],
        "it is past its time once it gets there"
    );
    broker.pass(1000);
    assert_eq!(broker.counts("q"), (0, 1));
    broker.requeue(c, 1);
    assert_eq!(broker.heard(c), [""; 0], "it expires as soon as it is back");
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn no_time_to_live_still_reaches_a_ready_consumer() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-message-ttl", 0.into())]);
    broker.put(c, "q", &["gone"]);
    broker.consume(c, "q", "t");
    broker.put(c, "q", &["delivered"]);
    assert_eq!(broker.heard(c), ["#1 delivered to t"]);
}

#[test]
fn an_unused_queue_goes_and_declares_and_gets_renew_it() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let expires = || [("x-expires", FieldValue::from(100))];
    broker.declare_with(c, "q", expires());
    broker.pass(60);
    broker.declare_with(c, "q", expires());
    broker.pass(60);
    broker.get(c, "q");
    broker.pass(60);
    broker.consume(c, "q", "t");
    broker.pass(1000);
    assert!(broker.queue("q").is_some(), "it is used");
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "t".try_into().unwrap(),
        },
    );
    broker.pass(99);
    assert!(broker.queue("q").is_some());
    broker.pass(1);
    assert!(broker.queue("q").is_none());
}

#[test]
fn the_next_deadline_is_never_late() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-message-ttl", 70.into())]);
    broker.put(c, "q", &["1"]);
    let deadline = broker.engine.next_deadline().unwrap();
    assert_eq!(deadline.since_start().as_millis(), 70);
    broker.engine.advance(Time::START);
    assert_eq!(broker.counts("q"), (1, 0), "time does not go back");
    broker.engine.advance(deadline);
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn events_within_a_leap_of_time_happen_at_their_own_times() {
    let mut broker = Broker::new();
    let c = broker.channel();
    for (queue, millis, next) in [("first", 100, "second"), ("second", 200, "third")] {
        let next = FieldValue::from(next);
        broker.declare_with(
            c,
            queue,
            [
                ("x-message-ttl", millis.into()),
                ("x-dead-letter-exchange", "".into()),
                ("x-dead-letter-routing-key", next),
            ],
        );
    }
    broker.declare_with(c, "third", [("x-message-ttl", 1000.into())]);
    broker.put(c, "first", &["one"]);
    broker.pass(250);
    assert_eq!(broker.counts("second"), (1, 0));
    // It came there at 100, and leaves at 300: that it is later already makes no difference.
    broker.pass(1000);
    assert_eq!(broker.counts("third"), (1, 0));
    broker.pass(49);
    assert_eq!(broker.counts("third"), (1, 0));
    broker.pass(1);
    assert_eq!(broker.counts("third"), (0, 0));
}
