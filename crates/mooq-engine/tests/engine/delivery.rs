//! Consumers' turns (<https://www.rabbitmq.com/docs/consumers>,
//! <https://www.rabbitmq.com/docs/consumer-prefetch>).

use mooq_core::Consume;
use mooq_engine::Method;

use crate::harness::{Broker, Channel, code_and_text, consumer, table};

fn with_priority(queue: &str, tag: &str, priority: i32) -> Method {
    Method::BasicConsume(Consume {
        arguments: table([("x-priority", priority.into())]),
        ..consumer(queue, tag)
    })
}

fn bodies_to(heard: &[String], tag: &str) -> Vec<String> {
    let to = format!(" to {tag}");
    let mine = heard.iter().filter(|line| line.ends_with(&to));
    mine.map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect()
}

fn setup() -> (Broker, Channel) {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "q");
    (broker, c)
}

#[test]
fn consumers_take_turns() {
    let (mut broker, c) = setup();
    for tag in ["a", "b", "c"] {
        broker.consume(c, "q", tag);
    }
    broker.put(c, "q", &["1", "2", "3", "4", "5"]);
    let heard = broker.heard(c);
    assert_eq!(bodies_to(&heard, "a"), ["1", "4"]);
    assert_eq!(bodies_to(&heard, "b"), ["2", "5"]);
    assert_eq!(bodies_to(&heard, "c"), ["3"]);
}

#[test]
fn a_higher_priority_gets_everything_until_it_can_take_no_more() {
    let (mut broker, c) = setup();
    broker.prefetch(c, 2, false);
    broker.ok(c, with_priority("q", "low", -1));
    broker.consume(c, "q", "middle");
    broker.ok(c, with_priority("q", "high", 5));
    broker.put(c, "q", &["1", "2", "3", "4", "5", "6", "7"]);
    let heard = broker.heard(c);
    assert_eq!(bodies_to(&heard, "high"), ["1", "2"]);
    assert_eq!(bodies_to(&heard, "middle"), ["3", "4"]);
    assert_eq!(bodies_to(&heard, "low"), ["5", "6"]);
    broker.ack(c, 6);
    assert_eq!(broker.heard(c), ["#7 7 to low"]);
}

#[test]
fn requeue_from_a_full_channel_leaves_room_there_for_the_next_turn() {
    let (mut broker, c) = setup();
    let full = broker.sibling(c);
    broker.prefetch(full, 1, true);
    broker.consume(c, "q", "free");
    broker.consume(full, "q", "limited");
    broker.put(c, "q", &["1", "2", "3"]);
    assert_eq!(broker.heard(c), ["#1 1 to free", "#2 3 to free"]);
    assert_eq!(broker.heard(full), ["#1 2 to limited"]);
    broker.requeue(full, 1);
    assert_eq!(broker.heard(full), ["#2 2 to limited again"]);
    assert!(broker.heard(c).is_empty());
}

#[test]
fn prefetch_counts_for_later_consumers_each_its_own() {
    let (mut broker, c) = setup();
    broker.consume(c, "q", "before");
    broker.prefetch(c, 1, false);
    broker.put(c, "q", &["1", "2"]);
    assert_eq!(
        broker.heard(c).len(),
        2,
        "a consumer keeps the limit that it began with"
    );
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "before".try_into().unwrap(),
        },
    );
    broker.consume(c, "q", "a");
    broker.consume(c, "q", "b");
    broker.put(c, "q", &["3", "4", "5"]);
    assert_eq!(broker.heard(c), ["#3 3 to a", "#4 4 to b"]);
    broker.ack(c, 4);
    assert_eq!(broker.heard(c), ["#5 5 to b"]);
}

#[test]
fn a_global_prefetch_is_for_the_channel_as_a_whole() {
    let (mut broker, c) = setup();
    broker.prefetch(c, 2, true);
    broker.consume(c, "q", "a");
    broker.consume(c, "q", "b");
    broker.put(c, "q", &["1", "2", "3", "4"]);
    assert_eq!(broker.heard(c), ["#1 1 to a", "#2 2 to b"]);
    broker.ack(c, 1);
    assert_eq!(broker.heard(c).len(), 1);
    broker.prefetch(c, 0, true);
    assert_eq!(
        broker.heard(c).len(),
        1,
        "without a limit the last one comes"
    );
}

#[test]
fn without_acknowledgement_there_is_no_limit_and_no_tag_to_settle() {
    let (mut broker, c) = setup();
    broker.prefetch(c, 1, false);
    let no_ack = Consume {
        no_ack: true,
        ..consumer("q", "t")
    };
    broker.ok(c, Method::BasicConsume(no_ack));
    broker.put(c, "q", &["1", "2", "3"]);
    assert_eq!(broker.heard(c).len(), 3);
    assert_eq!(broker.counts("q"), (0, 0));
    let (code, text) = code_and_text(broker.ack(c, 2));
    assert_eq!(
        (code, &*text),
        (406, "PRECONDITION_FAILED - unknown delivery tag 2")
    );
}

#[test]
fn get_shares_the_numbers_of_deliveries() {
    let (mut broker, c) = setup();
    broker.put(c, "q", &["1", "2"]);
    broker.get(c, "q");
    broker.consume(c, "q", "t");
    assert_eq!(broker.heard(c), ["#2 2 to t"]);
}

#[test]
fn one_consumer_can_have_the_queue_for_itself() {
    let (mut broker, c) = setup();
    let exclusive = |tag| {
        Method::BasicConsume(Consume {
            exclusive: true,
            ..consumer("q", tag)
        })
    };
    broker.ok(c, exclusive("sole"));
    let other = broker.channel();
    let (code, text) = code_and_text(
        broker
            .call(other, Method::BasicConsume(consumer("q", "t")))
            .err(),
    );
    assert_eq!(
        (code, &*text),
        (
            403,
            "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
        )
    );
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "sole".try_into().unwrap(),
        },
    );
    broker.consume(c, "q", "t");
    let other = broker.channel();
    assert!(
        broker.call(other, exclusive("late")).is_err(),
        "somebody is there"
    );
}

#[test]
fn a_single_active_consumer_stays_until_it_ends() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-single-active-consumer", true.into())]);
    broker.prefetch(c, 1, false);
    broker.consume(c, "q", "first");
    broker.consume(c, "q", "second");
    broker.ok(c, with_priority("q", "third", 1));
    broker.put(c, "q", &["1", "2", "3"]);
    assert_eq!(
        broker.heard(c),
        ["#1 1 to first"],
        "nobody stands in for it"
    );
    broker.ack(c, 1);
    assert_eq!(broker.heard(c), ["#2 2 to first"]);
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "first".try_into().unwrap(),
        },
    );
    assert_eq!(
        broker.heard(c),
        ["#3 3 to third"],
        "the next one by priority"
    );
}

#[test]
fn messages_with_a_priority_overtake() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-max-priority", 5.into())]);
    for (body, priority) in [("low", None), ("high", Some(4)), ("highest", Some(200))] {
        let message = crate::harness::publish_with("", "q", body, |p| p.priority = priority);
        broker.publish(c, message);
    }
    assert_eq!(broker.drain(c, "q"), ["highest", "high", "low"]);
}

#[test]
fn a_consumer_tag_is_used_once() {
    let (mut broker, c) = setup();
    broker.consume(c, "q", "t");
    let again = broker
        .call(c, Method::BasicConsume(consumer("q", "t")))
        .err();
    let (code, text) = code_and_text(again);
    assert_eq!(
        (code, &*text),
        (530, "NOT_ALLOWED - attempt to reuse consumer tag 't'")
    );
    assert!(broker.closed(c).is_some(), "that closes the connection");
}
