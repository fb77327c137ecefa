//! Acknowledgements to quorum queues, which take a round of Raft: with a seed it may take its time
//! (docs/divergences.md).

use std::collections::BTreeSet;

use mooq_core::{FieldValue, Settlement};
use mooq_engine::{Method, Options, Profile};

use crate::harness::{Broker, Channel, consumer, settle};

/// Of how many seeds.
const SEEDS: u64 = 64;

/// A broker with this seed, if any, and a quorum queue `q` of `1` to `8`, five of which a consumer
/// `t` has got.
fn setup<const N: usize>(
    profile: Profile,
    seed: Option<u64>,
    more: [(&str, FieldValue); N],
) -> (Broker, Channel) {
    let mut options = Options::of(profile);
    options.seed = seed;
    let mut broker = Broker::with(options);
    let c = broker.channel();
    let mut declare = crate::harness::queue("q");
    declare.arguments = crate::harness::table([("x-queue-type", "quorum".into())]);
    for (key, value) in more {
        declare.arguments.insert(key.try_into().unwrap(), value);
    }
    broker.ok(c, Method::QueueDeclare(declare));
    broker.put(c, "q", &["1", "2", "3", "4", "5", "6", "7", "8"]);
    broker.prefetch(c, 5, false);
    broker.consume(c, "q", "t");
    rest(&mut broker);
    assert_eq!(broker.heard(c).len(), 5);
    (broker, c)
}

/// Lets everything arrive.
fn rest(broker: &mut Broker) {
    while broker.engine.is_under_way() {
        broker.engine.carry_on(broker.time());
        broker.pass(0);
    }
}

fn cancel(broker: &mut Broker, c: Channel) {
    let tag = consumer("q", "t").tag;
    broker.ok(c, Method::BasicCancel { tag });
}

/// Messages in the queue after its consumer has acknowledged two, perhaps rested, was cancelled and
/// requeued the rest.
fn left(profile: Profile, seed: Option<u64>, rests: bool) -> String {
    let (mut broker, c) = setup(profile, seed, []);
    for tag in [1, 2] {
        assert_eq!(broker.ack(c, tag), None);
    }
    if rests {
        rest(&mut broker);
    }
    cancel(&mut broker, c);
    let got = 5 + broker.heard(c).len() as u64;
    for tag in 3..=got {
        let nack = settle(tag, false, Settlement::Nack { requeue: true });
        assert_eq!(broker.send(c, nack), None);
    }
    rest(&mut broker);
    assert_eq!(broker.queue("q").unwrap().unacked, 0);
    broker.drain(c, "q").join(" ")
}

fn all_left(profile: Profile, rests: bool) -> BTreeSet<String> {
    (0..SEEDS)
        .map(|seed| left(profile, Some(seed), rests))
        .collect()
}

#[test]
fn a_cancellation_may_overtake_what_acknowledgements_let_in() {
    for (profile, orders) in [
        (Profile::V4_0, ["3 4 5 6 7 8", "6 7 3 4 5 8"]),
        (Profile::V4_3, ["3 4 5 6 7 8", "6 7 3 4 5 8"]),
        (Profile::V3_10, ["8 3 4 5 6 7", "8 6 7 3 4 5"]),
    ] {
        let expected: BTreeSet<_> = orders.map(str::to_owned).into();
        assert_eq!(all_left(profile, false), expected, "{profile:?}");
        // It does not after a rest, nor without a seed.
        let plain = BTreeSet::from([orders[0].to_owned()]);
        assert_eq!(all_left(profile, true), plain, "{profile:?}");
        assert_eq!(left(profile, None, false), orders[0], "{profile:?}");
    }
}

#[test]
fn the_next_single_active_consumer_gets_what_was_overtaken_after_the_rest() {
    let heard = |seed| {
        let single = [("x-single-active-consumer", true.into())];
        let (mut broker, c) = setup(Profile::V4_0, Some(seed), single);
        let next = broker.channel();
        broker.consume(next, "q", "next");
        for tag in [1, 2] {
            assert_eq!(broker.ack(c, tag), None);
        }
        cancel(&mut broker, c);
        rest(&mut broker);
        let heard = broker.heard(next);
        let bodies = heard.iter().filter_map(|heard| heard.split(' ').nth(1));
        bodies.collect::<Vec<_>>().join(" ")
    };
    let all: BTreeSet<_> = (0..SEEDS).map(heard).collect();
    assert_eq!(all, BTreeSet::from(["8".to_owned(), "8 6 7".to_owned()]));
}
