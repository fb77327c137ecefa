//! Deliveries that are not acknowledged in time
//! (<https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout>).

use std::time::Duration;

use mooq_core::Settlement;
use mooq_engine::{Method, Options, Profile, Reply, Time};

use crate::harness::{Broker, Channel};

const MINUTE: u64 = 60_000;

fn timed_out(millis: i64) -> String {
    format!(
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout \
         value used: {millis} ms. This timeout value can be configured, see consumers doc guide \
         to learn more"
    )
}

/// A consumer of `q`, which holds what `bodies` says.
fn holding(broker: &mut Broker, bodies: &[&str]) -> Channel {
    let c = broker.channel();
    broker.consume(c, "q", "t");
    let d = broker.sibling(c);
    broker.put(d, "q", bodies);
    assert_eq!(broker.heard(c).len(), bodies.len());
    c
}

/// Why a channel was closed meanwhile, if one was.
fn closed_within(broker: &mut Broker, millis: u64) -> Vec<String> {
    let closed = broker.pass(millis);
    closed.map(|reason| reason.text).into_iter().collect()
}

fn is_open(broker: &mut Broker, c: Channel) -> bool {
    broker.heard(c).is_empty()
}

#[test]
fn an_overdue_delivery_closes_its_channel_at_the_next_tick() {
    for profile in [Profile::V3_10, Profile::V4_0, Profile::V4_1, Profile::V4_2] {
        let mut broker = Broker::of(profile);
        let a = broker.channel();
        broker.declare(a, "q");
        broker.pass(7);
        let c = holding(&mut broker, &["one", "two"]);
        // At the tick after half an hour that is not yet over.
        broker.pass(31 * MINUTE - 1);
        assert!(is_open(&mut broker, c), "{profile:?}");
        assert_eq!(
            closed_within(&mut broker, 1),
            [timed_out(1_800_000)],
            "{profile:?}"
        );
        assert_eq!(broker.heard(c), ["close 406"]);
        assert_eq!(broker.counts("q"), (2, 0));
        broker.consume(a, "q", "t");
        assert_eq!(broker.heard(a), ["#1 one to t again", "#2 two to t again"]);
    }
}

#[test]
fn a_leap_of_time_ends_at_the_same_tick() {
    let mut broker = Broker::new();
    let a = broker.channel();
    broker.declare(a, "q");
    let c = holding(&mut broker, &["one"]);
    assert_eq!(
        closed_within(&mut broker, 24 * 60 * MINUTE),
        [timed_out(1_800_000)]
    );
    assert_eq!(broker.heard(c), ["close 406"]);
}

#[test]
fn the_oldest_delivery_counts_from_when_it_was_delivered() {
    let mut broker = Broker::new();
    let a = broker.channel();
    broker.declare(a, "q");
    let c = holding(&mut broker, &["one"]);
    broker.pass(20 * MINUTE);
    broker.put(a, "q", &["two"]);
    broker.ack(c, 1);
    broker.heard(c);
    // Half an hour after the first nothing is overdue.
    broker.pass(30 * MINUTE);
    assert!(is_open(&mut broker, c));
    assert_eq!(closed_within(&mut broker, MINUTE), [timed_out(1_800_000)]);
    assert_eq!(broker.heard(c), ["close 406"]);
}

#[test]
fn fetched_message_is_timed_and_one_without_ack_is_not() {
    let mut broker = Broker::new();
    let a = broker.channel();
    broker.declare(a, "q");
    broker.put(a, "q", &["one", "two"]);
    let fetch = |no_ack| Method::BasicGet {
        queue: "q".try_into().unwrap(),
        no_ack,
    };
    let (lax, strict) = (broker.channel(), broker.channel());
    assert!(matches!(
        broker.ok(lax, fetch(true)),
        Reply::Fetched(Some(_))
    ));
    assert_eq!(broker.engine.next_deadline(), None);
    assert!(matches!(
        broker.ok(strict, fetch(false)),
        Reply::Fetched(Some(_))
    ));
    assert_eq!(
        closed_within(&mut broker, 31 * MINUTE),
        [timed_out(1_800_000)]
    );
    assert_eq!(broker.heard(strict), ["close 406"]);
    assert!(is_open(&mut broker, lax));
}

#[test]
fn options_change_or_disable_the_timeout() {
    let mut options = Options::default().consumer_timeout(Duration::from_millis(90_000));
    let mut broker = Broker::with(options.clone());
    let a = broker.channel();
    broker.declare(a, "q");
    let c = holding(&mut broker, &["one"]);
    assert_eq!(closed_within(&mut broker, 2 * MINUTE), [timed_out(90_000)]);
    assert_eq!(broker.heard(c), ["close 406"]);

    options = options.consumer_timeout(None);
    let mut broker = Broker::with(options);
    let a = broker.channel();
    broker.declare(a, "q");
    let c = holding(&mut broker, &["one"]);
    broker.pass(2 * 24 * 60 * MINUTE);
    assert!(is_open(&mut broker, c));
}

#[test]
fn queues_have_timeouts_of_their_own_since_4_0() {
    for (profile, millis) in [(Profile::V3_10, None), (Profile::V4_0, Some(2000))] {
        let mut broker = Broker::of(profile);
        let a = broker.channel();
        broker.declare_with(a, "q", [("x-consumer-timeout", 2000.into())]);
        let c = holding(&mut broker, &["one"]);
        let expected: Vec<_> = millis.map(timed_out).into_iter().collect();
        assert_eq!(closed_within(&mut broker, MINUTE), expected);
        assert_eq!(is_open(&mut broker, c), millis.is_none());
    }
}

#[test]
fn a_stream_of_messages_is_dated_late_and_never_early() {
    let mut broker = Broker::new();
    let a = broker.channel();
    broker.declare(a, "q");
    broker.put(a, "q", &["m"; 200]);
    // Nobody needs the exact time any more until this moment is over.
    let settle = |tag| {
        Method::BasicSettle(mooq_core::Settle {
            delivery_tag: tag,
            multiple: false,
            settlement: Settlement::Ack,
        })
    };
    assert!(!broker.engine.needs_time(&settle(1)));
    let c = broker.channel();
    broker.consume(c, "q", "t");
    broker.heard(c);
    broker.pass(100);
    assert!(broker.engine.needs_time(&settle(1)));
    let tick = Time::after_start(Duration::from_millis(100 + MINUTE));
    assert_eq!(broker.engine.next_deadline(), Some(tick));
    // A tenth of a second late, which is less than a tick.
    broker.pass(30 * MINUTE);
    assert!(is_open(&mut broker, c));
    assert_eq!(closed_within(&mut broker, MINUTE), [timed_out(1_800_000)]);
    assert_eq!(broker.heard(c), ["close 406"]);
    assert_eq!(broker.counts("q"), (200, 0));
}

#[test]
fn a_quiet_channel_waits_for_nothing() {
    let mut broker = Broker::new();
    let a = broker.channel();
    broker.declare(a, "q");
    let c = holding(&mut broker, &["one"]);
    broker.ack(c, 1);
    broker.pass(MINUTE);
    assert_eq!(broker.engine.next_deadline(), None);
}

#[test]
fn queues_of_4_3_watch_themselves() {
    let mut broker = Broker::of(Profile::V4_3);
    let a = broker.channel();
    broker.declare(a, "classic");
    broker.declare_with(a, "q", [("x-queue-type", "quorum".into())]);
    let c = holding(&mut broker, &["one", "two"]);
    let d = broker.channel();
    broker.consume(d, "classic", "t");
    broker.put(a, "classic", &["three"]);
    broker.heard(d);
    broker.pass(30 * MINUTE - 1);
    assert!(is_open(&mut broker, c));
    broker.pass(1);
    assert_eq!(broker.heard(c), ["cancel t"]);
    assert_eq!(broker.counts("q"), (2, 0));
    // Classic queues do not.
    broker.pass(2 * 24 * 60 * MINUTE);
    assert!(is_open(&mut broker, d));
    assert!(is_open(&mut broker, c));
    // It gets messages again, once it has settled everything.
    broker.ack(c, 1);
    assert!(is_open(&mut broker, c));
    broker.requeue(c, 2);
    assert_eq!(broker.heard(c), ["#3 one to t again", "#4 two to t again"]);
    broker.ack(c, 3);
    broker.ack(c, 4);
    assert_eq!(broker.counts("q"), (0, 0));
}

#[test]
fn quorum_queues_of_4_3_have_a_day_where_the_broker_has_no_timeout() {
    let options = Options::of(Profile::V4_3).consumer_timeout(None);
    let mut broker = Broker::with(options);
    let a = broker.channel();
    broker.declare_with(a, "q", [("x-queue-type", "quorum".into())]);
    let c = holding(&mut broker, &["one"]);
    broker.pass(24 * 60 * MINUTE - 1);
    assert!(is_open(&mut broker, c));
    broker.pass(1);
    assert_eq!(broker.heard(c), ["cancel t"]);
}
