//! Quorum queues (<https://www.rabbitmq.com/docs/quorum-queues>): what differs between versions,
//! what takes time, and the corners.

use mooq_core::{FieldTable, FieldValue, Settlement, VirtualHost};
use mooq_engine::{Method, Policy, Profile, Reply};

use crate::harness::{Broker, Channel, consumer, publish_with, queue, settle, table};

const NACK: Settlement = Settlement::Nack { requeue: true };
const REJECT: Settlement = Settlement::Reject { requeue: true };

/// A broker with a quorum queue `q`.
fn setup<const N: usize>(
    profile: Profile,
    arguments: [(&str, FieldValue); N],
) -> (Broker, Channel) {
    let mut broker = Broker::of(profile);
    let c = broker.channel();
    declare(&mut broker, c, "q", arguments);
    (broker, c)
}

fn declare<const N: usize>(
    broker: &mut Broker,
    c: Channel,
    name: &str,
    arguments: [(&str, FieldValue); N],
) {
    let mut arguments = table(arguments);
    arguments.insert("x-queue-type".try_into().unwrap(), "quorum");
    let mut declare = queue(name);
    declare.arguments = arguments;
    broker.ok(c, Method::QueueDeclare(declare));
}

fn fetch(broker: &mut Broker, c: Channel) -> Option<mooq_core::Fetched> {
    let get = Method::BasicGet {
        queue: "q".try_into().unwrap(),
        no_ack: false,
    };
    match broker.ok(c, get) {
        Reply::Fetched(fetched) => fetched,
        other => panic!("{other:?}"),
    }
}

/// Number of times that the next message of `q` was requeued, by its headers.
fn counts(broker: &mut Broker, c: Channel) -> (Option<i64>, Option<i64>) {
    let fetched = fetch(broker, c).unwrap();
    let headers = &fetched.message.properties.headers;
    let count = |key| headers.get(key).and_then(FieldValue::as_i64);
    (count("x-delivery-count"), count("x-acquired-count"))
}

fn count_in(headers: &FieldTable) -> Option<i64> {
    headers.get("x-delivery-count").and_then(FieldValue::as_i64)
}

/// Number of deliveries of a message that is always settled so, at most 100.
fn deliveries(profile: Profile, settlement: Settlement) -> u64 {
    let (mut broker, c) = setup(profile, []);
    broker.put(c, "q", &["m"]);
    (1..=100)
        .take_while(|_| {
            let Some(fetched) = fetch(&mut broker, c) else {
                return false;
            };
            broker.send(c, settle(fetched.delivery_tag, false, settlement));
            true
        })
        .count() as u64
}

fn cancel(broker: &mut Broker, c: Channel, tag: &str) {
    let tag = tag.try_into().unwrap();
    broker.ok(c, Method::BasicCancel { tag });
}

fn consume_with_priority(broker: &mut Broker, c: Channel, tag: &str, priority: i32) {
    let mut consume = consumer("q", tag);
    consume.arguments = table([("x-priority", priority.into())]);
    broker.ok(c, Method::BasicConsume(consume));
}

#[test]
fn versions_differ_in_how_often_they_deliver() {
    assert_eq!(deliveries(Profile::V3_10, NACK), 100);
    assert_eq!(deliveries(Profile::V4_0, NACK), 21);
    assert_eq!(deliveries(Profile::V4_0, REJECT), 21);
    // There a nack does not mean that anything has failed.
    assert_eq!(deliveries(Profile::V4_3, NACK), 100);
    assert_eq!(deliveries(Profile::V4_3, REJECT), 21);
}

#[test]
fn from_4_3_on_failed_deliveries_are_counted_apart() {
    let (mut broker, c) = setup(Profile::V4_3, []);
    broker.put(c, "q", &["m"]);
    assert_eq!(counts(&mut broker, c), (None, None));
    broker.send(c, settle(1, false, NACK));
    assert_eq!(counts(&mut broker, c), (None, Some(1)));
    broker.send(c, settle(2, false, REJECT));
    assert_eq!(counts(&mut broker, c), (Some(1), Some(2)));
    // So are those of a channel that ends.
    let other = broker.sibling(c);
    broker.ok(c, Method::ChannelClose);
    assert_eq!(counts(&mut broker, other), (Some(2), Some(3)));
}

#[test]
fn without_a_limit_what_is_not_wanted_goes_behind_the_rest() {
    for (profile, limit) in [
        (Profile::V3_10, None),
        (Profile::V4_0, Some(("x-delivery-limit", (-1).into()))),
    ] {
        let mut broker = Broker::of(profile);
        let c = broker.channel();
        match limit {
            Some(limit) => declare(&mut broker, c, "q", [limit]),
            None => declare(&mut broker, c, "q", []),
        }
        broker.put(c, "q", &["1", "2", "3"]);
        fetch(&mut broker, c);
        broker.requeue(c, 1);
        assert_eq!(broker.drain(c, "q"), ["2", "3", "1"], "{profile:?}");
    }
}

#[test]
fn in_3_10_a_negative_limit_lets_nothing_come_back() {
    let (mut broker, c) = setup(Profile::V3_10, [("x-delivery-limit", (-1).into())]);
    broker.put(c, "q", &["m"]);
    fetch(&mut broker, c);
    broker.requeue(c, 1);
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn a_message_that_goes_behind_the_rest_has_lost_its_priority() {
    let (mut broker, c) = setup(Profile::V4_0, [("x-delivery-limit", (-1).into())]);
    let high = publish_with("", "q", "high", |p| p.priority = Some(9));
    broker.publish(c, high);
    fetch(&mut broker, c);
    broker.put(c, "q", &["1", "2"]);
    broker.requeue(c, 1);
    assert_eq!(broker.drain(c, "q"), ["1", "2", "high"]);
}

#[test]
fn an_unwanted_message_is_as_it_was_published_where_it_dies() {
    let (mut broker, c) = setup(
        Profile::V4_0,
        [
            ("x-delivery-limit", 1.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
        ],
    );
    broker.declare(c, "dead");
    broker.put(c, "q", &["m"]);
    for tag in 1..=2 {
        fetch(&mut broker, c);
        broker.requeue(c, tag);
    }
    let tally = broker.queue("q").unwrap().tally;
    assert_eq!((tally.over_delivery_limit, tally.dead_lettered), (1, 1));
    let dead = broker.get_message(c, "dead").unwrap();
    assert_eq!(count_in(&dead.properties.headers), None);
}

#[test]
fn failed_deliveries_go_with_a_dead_letter_through_other_queues() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    let letters = |to: &str| {
        [
            ("x-dead-letter-exchange", FieldValue::from("")),
            ("x-dead-letter-routing-key", FieldValue::from(to)),
        ]
    };
    declare(&mut broker, c, "first", letters("classic"));
    broker.declare_with(c, "classic", letters("q"));
    broker.put(c, "first", &["m"]);
    for (name, tag) in [("first", 1), ("classic", 2)] {
        let get = Method::BasicGet {
            queue: name.try_into().unwrap(),
            no_ack: false,
        };
        let Reply::Fetched(Some(fetched)) = broker.ok(c, get) else {
            panic!("{name} is empty");
        };
        assert!(!fetched.redelivered, "{name}");
        broker.reject(c, tag);
    }
    // Only the quorum queue counted.
    let fetched = fetch(&mut broker, c).unwrap();
    assert!(fetched.redelivered);
    assert_eq!(count_in(&fetched.message.properties.headers), Some(1));
}

#[test]
fn expiry_waits_for_who_has_something_to_settle() {
    let (mut broker, c) = setup(Profile::V4_0, [("x-expires", 100.into())]);
    broker.put(c, "q", &["1", "2"]);
    broker.consume(c, "q", "t");
    broker.pass(150);
    cancel(&mut broker, c, "t");
    assert_eq!(broker.queue("q").unwrap().consumers, 1);
    broker.pass(150);
    broker.ack(c, 1);
    broker.pass(150);
    broker.ack(c, 2);
    broker.pass(99);
    assert!(broker.queue("q").is_some());
    broker.pass(1);
    assert!(broker.queue("q").is_none());
}

#[test]
fn declaring_a_queue_again_does_not_keep_it() {
    let (mut broker, c) = setup(Profile::V4_0, [("x-expires", 100.into())]);
    broker.pass(60);
    declare(&mut broker, c, "q", [("x-expires", 100.into())]);
    broker.pass(40);
    assert!(broker.queue("q").is_none());

    // To get something from it does, even if there is nothing.
    declare(&mut broker, c, "q", [("x-expires", 100.into())]);
    broker.pass(60);
    assert_eq!(fetch(&mut broker, c), None);
    broker.pass(99);
    assert!(broker.queue("q").is_some());
    broker.pass(1);
    assert!(broker.queue("q").is_none());
}

#[test]
fn nothing_expires_within_the_millisecond_of_its_arrival() {
    let (mut broker, c) = setup(Profile::V4_0, [("x-message-ttl", 0.into())]);
    broker.put(c, "q", &["m"]);
    assert_eq!(broker.counts("q"), (1, 0));
    broker.pass(1);
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn a_restart_keeps_every_message_and_counts_the_deliveries_it_ended() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    broker.put(c, "q", &["1", "2"]);
    fetch(&mut broker, c);
    let now = broker.time();
    broker.engine.shut_down(now);
    broker.engine.forget_transient();
    broker.pass(0);
    let c = broker.channel();
    let fetched = fetch(&mut broker, c).unwrap();
    assert_eq!(&*fetched.message.body, b"1");
    assert_eq!(count_in(&fetched.message.properties.headers), Some(1));
    assert_eq!(broker.drain(c, "q"), ["2"]);
}

#[test]
fn a_consumer_leaves_the_row_as_soon_as_it_is_full() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    broker.prefetch(c, 1, false);
    broker.consume(c, "q", "a");
    broker.prefetch(c, 2, false);
    broker.consume(c, "q", "b");
    broker.put(c, "q", &["1", "2"]);
    broker.ack(c, 1);
    broker.put(c, "q", &["3", "4"]);
    let heard = ["#1 1 to a", "#2 2 to b", "#3 3 to b", "#4 4 to a"];
    assert_eq!(broker.heard(c), heard);
}

#[test]
fn several_that_were_fetched_come_back_one_by_one() {
    let (mut broker, c) = setup(Profile::V4_0, [("x-max-length", 1.into())]);
    for body in ["1", "2"] {
        broker.put(c, "q", &[body]);
        fetch(&mut broker, c);
    }
    broker.send(c, settle(0, true, NACK));
    // The second, as it came back, was one too many, and the first was the head.
    assert_eq!(broker.drain(c, "q"), ["2"]);
}

#[test]
fn a_cancelled_consumer_goes_with_its_queue_and_with_its_channel() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    let other = broker.channel();
    for end in [
        Method::QueueDelete {
            name: "q".try_into().unwrap(),
            if_unused: false,
            if_empty: false,
        },
        Method::ChannelClose,
    ] {
        declare(&mut broker, other, "q", []);
        broker.put(other, "q", &["m"]);
        broker.consume(c, "q", "t");
        cancel(&mut broker, c, "t");
        assert_eq!(broker.queue("q").unwrap().consumers, 1);
        broker.ok(c, end);
        declare(&mut broker, other, "q", []);
        assert_eq!(broker.queue("q").unwrap().consumers, 0);
    }
}

#[test]
fn limits_of_channels_do_not_reach_quorum_queues() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    broker.consume(c, "q", "t");
    broker.prefetch(c, 1, true);
    broker.put(c, "q", &["1", "2"]);
    assert_eq!(broker.heard(c), ["#1 1 to t", "#2 2 to t"]);
}

#[test]
fn the_active_consumer_gives_way_from_4_0_on() {
    for (profile, heard) in [
        (Profile::V3_10, ["#1 1 to low", "#2 2 to low"]),
        (Profile::V4_0, ["#1 1 to low", "#2 2 to high"]),
    ] {
        let (mut broker, c) = setup(profile, [("x-single-active-consumer", true.into())]);
        broker.prefetch(c, 1, false);
        consume_with_priority(&mut broker, c, "low", 0);
        broker.put(c, "q", &["1", "2"]);
        consume_with_priority(&mut broker, c, "high", 1);
        broker.ack(c, 1);
        assert_eq!(broker.heard(c), heard, "{profile:?}");
    }
}

/// RabbitMQ 4.0 forgets to look for a successor in this one case. In 3.10 none gives way.
#[test]
fn one_that_gives_way_by_requeueing_has_a_successor_at_once_from_4_1_on() {
    for profile in Profile::ALL {
        let heard = match profile {
            Profile::V3_10 => &["#1 1 to low", "#2 1 to low again"][..],
            Profile::V4_0 => &["#1 1 to low"],
            _ => &["#1 1 to low", "#2 1 to high again"],
        };
        let (mut broker, c) = setup(profile, [("x-single-active-consumer", true.into())]);
        consume_with_priority(&mut broker, c, "low", 0);
        broker.put(c, "q", &["1"]);
        consume_with_priority(&mut broker, c, "high", 1);
        broker.requeue(c, 1);
        assert_eq!(broker.heard(c), heard, "{profile:?}");
        if profile == Profile::V4_0 {
            assert_eq!(broker.queue("q").unwrap().consumers, 0);
            consume_with_priority(&mut broker, c, "late", 0);
            assert_eq!(broker.heard(c), ["#2 1 to high again"]);
        }
    }
}

#[test]
fn a_dead_letter_is_let_in_even_when_publishers_are_not() {
    let (mut broker, c) = setup(
        Profile::V4_0,
        [
            ("x-max-length", 0.into()),
            ("x-overflow", "reject-publish".into()),
        ],
    );
    broker.declare_with(
        c,
        "source",
        [
            ("x-max-length", 0.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "q".into()),
        ],
    );
    broker.put(c, "q", &["taken", "refused"]);
    broker.put(c, "source", &["dead"]);
    assert_eq!(broker.drain(c, "q"), ["taken", "dead"]);
}

#[test]
fn a_policy_may_have_a_quorum_queue_refuse_and_let_in_again() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    let definition = table([
        ("max-length", 1.into()),
        ("overflow", "reject-publish".into()),
    ]);
    let policy = Policy::new("^q$", &definition).unwrap();
    let (now, root) = (broker.time(), VirtualHost::root());
    broker
        .engine
        .set_policy(now, &root, "full", policy)
        .unwrap();
    broker.put(c, "q", &["1", "2", "refused"]);
    assert_eq!(broker.drain(c, "q"), ["1", "2"]);
    broker.put(c, "q", &["3"]);
    assert_eq!(broker.drain(c, "q"), ["3"]);
}
