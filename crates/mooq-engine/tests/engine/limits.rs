//! Length limits (<https://www.rabbitmq.com/docs/maxlength>).

use mooq_engine::Method;

use crate::harness::Broker;

#[test]
fn the_oldest_goes_and_what_is_unacked_does_not_count() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-max-length", 2.into())]);
    broker.put(c, "q", &["1", "2", "3"]);
    broker.prefetch(c, 1, false);
    broker.consume(c, "q", "t");
    assert_eq!(broker.heard(c), ["#1 2 to t"]);
    broker.put(c, "q", &["4"]);
    assert_eq!(broker.counts("q"), (2, 1));
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "t".try_into().unwrap(),
        },
    );
    broker.requeue(c, 1);
    assert_eq!(
        broker.drain(c, "q"),
        ["3", "4"],
        "a requeue goes over the limit, at the head"
    );
}

#[test]
fn bytes_count_bodies_only() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-max-length-bytes", 5.into())]);
    broker.put(c, "q", &["123", "45", "6"]);
    assert_eq!(broker.drain(c, "q"), ["45", "6"]);
}

#[test]
fn a_queue_that_rejects_nacks_once_and_others_keep_their_copy() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(
        c,
        "full",
        [
            ("x-max-length", 1.into()),
            ("x-overflow", "reject-publish".into()),
        ],
    );
    broker.declare(c, "other");
    for name in ["full", "other"] {
        broker.bind(c, "amq.fanout", "", name);
    }
    broker.ok(c, Method::ConfirmSelect);
    for body in ["1", "2"] {
        broker.publish(c, crate::harness::publish("amq.fanout", "", body));
    }
    assert_eq!(broker.heard(c), ["confirm 1", "nack 2"]);
    assert_eq!(broker.drain(c, "full"), ["1"]);
    assert_eq!(broker.drain(c, "other"), ["1", "2"]);
}

#[test]
fn a_limit_of_none_still_lets_a_ready_consumer_have_it() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-max-length", 0.into())]);
    broker.put(c, "q", &["dropped"]);
    broker.consume(c, "q", "t");
    broker.put(c, "q", &["delivered"]);
    assert_eq!(broker.heard(c), ["#1 delivered to t"]);
}
