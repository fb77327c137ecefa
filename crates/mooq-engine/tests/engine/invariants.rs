//! Invariants that hold whatever clients do: no panic, no message lost or doubled, tags that rise
//! by one, the same effects for the same commands.

use std::panic::catch_unwind;

use mooq_core::Settlement;
use mooq_engine::Method;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::harness::{consumer, publish, settle};
use crate::run::{options, run};
use crate::script::{self, Action};

/// Number of commands of the ordinary run. `fuzz/` is for more.
const COMMANDS: usize = 1_000_000;

/// What scripts came to.
#[derive(Default)]
struct Total {
    commands: usize,
    deliveries: usize,
}

impl Total {
    /// Checks that commands were not mostly refused, which would prove nothing.
    fn expect_one_delivery_in(&self, commands: usize) {
        let Self {
            commands: all,
            deliveries,
        } = self;
        assert!(
            *deliveries > all / commands,
            "{deliveries} deliveries by {all} commands"
        );
    }
}

#[test]
fn a_million_commands_break_nothing() {
    // Brokers that are left alone, and those with an administrator, alarms and short timeouts.
    let (mut alone, mut administered) = (Total::default(), Total::default());
    let mut seed = 0_u64;
    while alone.commands + administered.commands < COMMANDS {
        seed += 1;
        let mut bytes = vec![0; 40_000];
        let mut key = [0; 16];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        TestRng::from_seed(RngAlgorithm::XorShift, &key).fill_bytes(&mut bytes);
        let mut steps = script::read(&bytes);
        let options = options(seed);
        let total = if options.plugins.is_empty() {
            steps.retain(|step| !matches!(step.action, Action::Administer(_)));
            &mut alone
        } else {
            &mut administered
        };
        let outcome = catch_unwind(|| run(&options, &steps, false));
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed} broke it"));
        total.commands += outcome.commands;
        total.deliveries += outcome.deliveries;
    }
    alone.expect_one_delivery_in(16);
    administered.expect_one_delivery_in(64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_commands_have_the_same_effects(
        number in any::<u32>(),
        bytes in prop::collection::vec(any::<u8>(), 0..4_000),
    ) {
        let steps = script::read(&bytes);
        let options = options(number.into());
        prop_assert_eq!(run(&options, &steps, true), run(&options, &steps, true));
    }

    /// One queue without limits: what was published is ready, unacked or settled.
    #[test]
    fn no_message_is_lost_or_doubled(
        steps in prop::collection::vec((0_usize..3, 0_u8..10, 1_u64..12), 1..200),
    ) {
        let mut broker = crate::harness::Broker::new();
        let owner = broker.channel();
        broker.declare(owner, "q");
        let mut clients = [broker.channel(), broker.channel(), broker.channel()];
        let (mut published, mut settled) = (0, 0);
        for (client, action, tag) in steps {
            let c = clients[client];
            let before = broker.counts("q").1;
            let closed = match action {
                0..4 => {
                    published += 1;
                    broker.publish(c, publish("", "q", "body"))
                }
                4 => broker.call(c, Method::BasicConsume(consumer("q", "t"))).err(),
                5 => {
                    broker.prefetch(c, (tag % 4) as u16, tag > 8);
                    None
                }
                6 | 7 => {
                    let multiple = tag > 10;
                    let closed = broker.send(c, settle(tag, multiple, Settlement::Ack));
                    if closed.is_none() {
                        // Deliveries that follow are unacked as well: count by what is left.
                        settled = published - broker.counts("q").0 - broker.counts("q").1;
                        prop_assert!(settled > 0);
                    }
                    closed
                }
                8 => broker.requeue(c, tag),
                _ => {
                    let cancel = Method::BasicCancel { tag: "t".try_into().unwrap() };
                    broker.ok(c, cancel);
                    None
                }
            };
            let (ready, unacked) = broker.counts("q");
            prop_assert_eq!(published, ready + unacked + settled, "{} before", before);
            if closed.is_some() {
                clients[client] = broker.channel();
            }
        }
    }

    /// The order of a queue survives any requeueing.
    #[test]
    fn messages_leave_in_the_order_in_which_they_came(requeued in prop::collection::vec(1_u64..20, 0..40)) {
        let mut broker = crate::harness::Broker::new();
        let c = broker.channel();
        broker.declare(c, "q");
        let bodies: Vec<_> = (1..20).map(|n| n.to_string()).collect();
        for body in &bodies {
            broker.put(c, "q", &[body]);
        }
        for _ in 0..10 {
            let get = Method::BasicGet { queue: "q".try_into().unwrap(), no_ack: false };
            broker.ok(c, get);
        }
        let mut outstanding: Vec<_> = (1..=10).collect();
        for tag in requeued {
            if let Some(at) = outstanding.iter().position(|other| *other == tag) {
                outstanding.remove(at);
                prop_assert_eq!(broker.requeue(c, tag), None);
            }
        }
        let left: Vec<_> = (1..20_u64).filter(|n| !outstanding.contains(n)).map(|n| n.to_string()).collect();
        prop_assert_eq!(broker.drain(c, "q"), left);
    }
}
