//! Quorum queues that keep their dead letters until these have arrived: what is tried again, and
//! when (<https://www.rabbitmq.com/docs/quorum-queues#dead-lettering>).

use std::time::Duration;

use mooq_core::{ExchangeKind, FieldValue};
use mooq_engine::{Method, Options, Policy, Profile, Reply};

use crate::harness::{Broker, Channel, binding, table};

/// A broker that tries again every two seconds, with a quorum queue `q` that keeps its dead letters
/// for the exchange `dlx`.
fn setup<const N: usize>(profile: Profile, more: [(&str, FieldValue); N]) -> (Broker, Channel) {
    let mut options = Options::of(profile);
    options.dead_letter_retry_interval = Duration::from_secs(2);
    let mut broker = Broker::with(options);
    let c = broker.channel();
    let mut declare = crate::harness::queue("q");
    declare.arguments = table([
        ("x-queue-type", "quorum".into()),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-overflow", "reject-publish".into()),
        ("x-dead-letter-exchange", "dlx".into()),
    ]);
    for (key, value) in more {
        declare.arguments.insert(key.try_into().unwrap(), value);
    }
    broker.ok(c, Method::QueueDeclare(declare));
    (broker, c)
}

/// Messages arrive in `q` and are rejected one after the other.
fn kill(broker: &mut Broker, c: Channel, bodies: &[&str]) {
    for body in bodies {
        broker.put(c, "q", &[body]);
        let get = Method::BasicGet {
            queue: "q".try_into().unwrap(),
            no_ack: false,
        };
        let Reply::Fetched(Some(fetched)) = broker.ok(c, get) else {
            panic!("there is a message");
        };
        assert_eq!(broker.reject(c, fetched.delivery_tag), None);
    }
}

fn kept(broker: &Broker) -> u64 {
    broker.queue("q").unwrap().kept_dead_letters
}

fn unbind(broker: &mut Broker, c: Channel, queue: &str) {
    broker.ok(c, Method::Unbind(binding("dlx", "", queue)));
}

/// Sets a policy that changes `q`.
fn change_policy(broker: &mut Broker) {
    let definition = table([("message-ttl", 3_600_000.into())]);
    let policy = Policy::new("^q$", &definition).unwrap();
    let (now, root) = (broker.time(), mooq_core::VirtualHost::root());
    let set = broker.engine.set_policy(now, &root, "p", policy);
    assert!(set.is_ok());
}

/// A fanout exchange `dlx` to `free`, and to `full`, which has no room.
fn two_targets(broker: &mut Broker, c: Channel) {
    broker.declare_exchange(c, "dlx", ExchangeKind::Fanout);
    broker.declare(c, "free");
    let limits = [
        ("x-max-length", 2.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    broker.declare_with(c, "full", limits);
    broker.put(c, "full", &["first", "second"]);
    broker.bind(c, "dlx", "", "free");
    broker.bind(c, "dlx", "", "full");
}

#[test]
fn unroutable_dead_letter_is_retried_at_the_next_turn_of_the_first_ones_timer() {
    for profile in Profile::ALL {
        let (mut broker, c) = setup(profile, []);
        kill(&mut broker, c, &["1"]);
        broker.pass(700);
        kill(&mut broker, c, &["2"]);
        assert_eq!((kept(&broker), broker.counts("q")), (2, (0, 0)));
        broker.pass(1_300);
        assert_eq!(kept(&broker), 2, "{profile:?}");

        broker.declare_exchange(c, "dlx", ExchangeKind::Fanout);
        broker.declare(c, "dead");
        broker.bind(c, "dlx", "", "dead");
        broker.pass(1_999);
        assert_eq!(broker.counts("dead"), (0, 0));
        broker.pass(1);
        assert_eq!(broker.drain(c, "dead"), ["1", "2"]);
        assert_eq!(kept(&broker), 0);
    }
}

#[test]
fn refused_dead_letter_is_retried_after_the_interval_and_only_where_it_was_refused() {
    for profile in Profile::ALL {
        let (mut broker, c) = setup(profile, []);
        two_targets(&mut broker, c);
        kill(&mut broker, c, &["1"]);
        broker.pass(700);
        kill(&mut broker, c, &["2"]);
        assert_eq!(broker.drain(c, "free"), ["1", "2"]);
        assert_eq!(broker.drain(c, "full"), ["first", "second"]);
        broker.pass(1_299);
        assert_eq!(broker.get(c, "full"), None);
        broker.pass(1);
        assert_eq!(broker.drain(c, "full"), ["1"]);
        // The other was published less than an interval ago: it waits for the next turn.
        broker.pass(1_999);
        assert_eq!(broker.get(c, "full"), None);
        broker.pass(1);
        assert_eq!(broker.drain(c, "full"), ["2"]);
        assert_eq!(broker.get(c, "free"), None);
        assert_eq!(kept(&broker), 0);
    }
}

#[test]
fn the_timer_begins_anew_with_the_next_dead_letter_that_does_not_arrive() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    kill(&mut broker, c, &["1"]);
    broker.pass(1_200);
    broker.declare_exchange(c, "dlx", ExchangeKind::Fanout);
    broker.declare(c, "dead");
    broker.bind(c, "dlx", "", "dead");
    change_policy(&mut broker);
    assert_eq!((kept(&broker), broker.counts("dead")), (0, (1, 0)));
    unbind(&mut broker, c, "dead");
    kill(&mut broker, c, &["2"]);
    broker.bind(c, "dlx", "", "dead");
    broker.pass(1_999);
    assert_eq!(broker.drain(c, "dead"), ["1"]);
    broker.pass(1);
    assert_eq!(broker.drain(c, "dead"), ["2"]);
}

#[test]
fn dead_letter_that_one_target_took_is_done_without_a_route_but_not_when_the_other_goes() {
    for profile in Profile::ALL {
        let (mut broker, c) = setup(profile, []);
        two_targets(&mut broker, c);
        kill(&mut broker, c, &["1"]);
        unbind(&mut broker, c, "full");
        broker.pass(60_000);
        assert_eq!(kept(&broker), 1, "{profile:?}");
        unbind(&mut broker, c, "free");
        broker.pass(2_000);
        assert_eq!(kept(&broker), 0, "{profile:?}");
        assert_eq!(broker.drain(c, "free"), ["1"]);
    }
}

#[test]
fn a_cycle_is_waited_for_only_once_it_is_published_again() {
    for profile in Profile::ALL {
        let ttl = [("x-message-ttl", 100.into())];
        let (mut broker, c) = setup(profile, ttl);
        two_targets(&mut broker, c);
        unbind(&mut broker, c, "full");
        broker.bind(c, "dlx", "", "q");
        broker.put(c, "q", &["1"]);
        broker.pass(100);
        assert_eq!((kept(&broker), broker.counts("free")), (0, (1, 0)));
        broker.bind(c, "dlx", "", "full");
        broker.put(c, "q", &["2"]);
        broker.pass(100);
        assert_eq!(broker.drain(c, "full"), ["first", "second"]);
        broker.pass(60_000);
        assert_eq!(broker.drain(c, "full"), ["2"]);
        assert_eq!(kept(&broker), 1, "{profile:?}");
    }
}

#[test]
fn a_dead_letter_to_its_own_queue_stays_there_as_a_dead_one_before_4_0() {
    for (profile, stays) in [(Profile::V3_10, 1), (Profile::V4_0, 0), (Profile::V4_3, 0)] {
        let (mut broker, c) = setup(profile, []);
        broker.declare_exchange(c, "dlx", ExchangeKind::Fanout);
        broker.bind(c, "dlx", "", "q");
        kill(&mut broker, c, &["1"]);
        broker.pass(60_000);
        assert_eq!((kept(&broker), broker.counts("q")), (stays, (1, 0)));
        assert_eq!(broker.drain(c, "q"), ["1"]);
    }
}

#[test]
fn a_changed_policy_has_what_had_no_route_tried_again_at_once() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    kill(&mut broker, c, &["1"]);
    broker.declare_exchange(c, "dlx", ExchangeKind::Fanout);
    broker.declare(c, "dead");
    broker.bind(c, "dlx", "", "dead");
    assert_eq!(kept(&broker), 1);
    change_policy(&mut broker);
    assert_eq!((kept(&broker), broker.counts("dead")), (0, (1, 0)));
}

#[test]
fn the_death_of_one_that_waits_for_others_is_dated_when_its_turn_comes() {
    let (mut broker, c) = setup(Profile::V4_0, []);
    let bodies: Vec<_> = (1..=33).map(|number| number.to_string()).collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
    kill(&mut broker, c, &bodies);
    assert_eq!(kept(&broker), 33);
    broker.pass(1_000);
    broker.declare_exchange(c, "dlx", ExchangeKind::Fanout);
    broker.declare(c, "dead");
    broker.bind(c, "dlx", "", "dead");
    broker.pass(1_000);
    let died = |broker: &mut Broker| {
        let letter = broker.get_message(c, "dead").unwrap();
        match letter.properties.headers.get("x-death") {
            Some(FieldValue::Array(deaths)) => match &deaths[..] {
                [FieldValue::Table(death)] => death.get("time").cloned(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..32 {
        assert_eq!(died(&mut broker), Some(FieldValue::Timestamp(0)));
    }
    assert_eq!(died(&mut broker), Some(FieldValue::Timestamp(2)));
}

#[test]
fn an_interval_of_nothing_is_a_millisecond() {
    let mut options = Options::of(Profile::V4_0);
    options.dead_letter_retry_interval = Duration::ZERO;
    let mut broker = Broker::with(options);
    let c = broker.channel();
    let arguments = [
        ("x-queue-type", "quorum".into()),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-overflow", "reject-publish".into()),
        ("x-dead-letter-exchange", "dlx".into()),
    ];
    broker.declare_with(c, "q", arguments);
    kill(&mut broker, c, &["1"]);
    broker.pass(10);
    assert_eq!(kept(&broker), 1);
}
