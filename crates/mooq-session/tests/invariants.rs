//! What holds whatever happens in whatever order: a million inputs to a session, without a runtime.
//!
//! Each sequence is made of steps. A step is something that a user, the broker or the clock does,
//! and any may come between any other two: a loss, a close, a cancellation, a late answer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is a test, the functions beside it too"
)]

mod world;

use proptest::prelude::*;
use world::{Step, World};

/// Steps of a sequence, at most.
const STEPS: usize = 400;

/// How many sequences: with their average of half as many steps, more than a million in all.
const SEQUENCES: u32 = 6_000;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SEQUENCES,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_the_invariants_hold(
        steps in prop::collection::vec(any::<[u8; 3]>(), 0..STEPS)
    ) {
        let mut world = World::new();
        for bytes in steps {
            world.take(Step::from(bytes));
        }
        world.come_to_an_end();
    }
}

/// Sequences that a comment used to guard, or that once failed.
#[test]
fn known_races_hold() {
    for bytes in SEEDS {
        let mut world = World::new();
        for step in bytes.chunks_exact(3) {
            world.take(Step::from([step[0], step[1], step[2]]));
        }
        world.come_to_an_end();
    }
}

/// Each is a list of steps, three bytes each: see `world::Step`.
const SEEDS: [&[u8]; 5] = [
    // A publish that is to be sent again, a loss, the return, and the connection's close before its
    // confirm.
    &[
        0, 0, 0, 9, 0, 9, 9, 0, 9, 1, 0, 1, 14, 0, 0, 12, 0, 0, 16, 9, 0, 9, 0, 99, 9, 0, 99, 9, 0,
        99, 17, 0, 0,
    ],
    // A consumer that is cancelled while it is registered again.
    &[
        0, 0, 0, 9, 0, 9, 9, 0, 9, 3, 0, 0, 9, 0, 9, 9, 0, 9, 14, 0, 0, 12, 0, 0, 16, 9, 0, 9, 0,
        99, 9, 0, 99, 9, 0, 99, 4, 0, 0, 9, 0, 99,
    ],
    // A channel that is closed while the broker closes it.
    &[
        0, 0, 0, 9, 0, 9, 9, 0, 9, 5, 0, 0, 13, 0, 0, 12, 0, 0, 9, 0, 9,
    ],
    // A channel that has not told of its end is closed while it is opened again: the connection
    // waited for it for ever.
    &[
        0, 0, 0, 9, 0, 9, 9, 0, 64, 14, 0, 0, 16, 1, 0, 5, 0, 0, 9, 182, 9, 16, 1, 0, 9, 91, 64,
        16, 10, 0,
    ],
    // A channel is opened for the first time while the connection is lost and comes back: the lost
    // connection's late answer closed the channel that the new one had opened, and its close waited
    // for ever.
    &[
        100, 0, 0, 54, 0, 0, 197, 1, 0, 42, 0, 0, 125, 19, 64, 82, 0, 0, 47, 0, 0, 26, 31, 64, 89,
        71, 8, 213, 0, 0, 227, 1, 0, 165, 101, 64, 5, 64, 64, 226, 29, 64, 15, 0, 0, 49, 36, 0, 0,
        0, 0, 15, 0, 0, 0, 0, 0, 226, 39, 64, 5, 9, 0,
    ],
];
