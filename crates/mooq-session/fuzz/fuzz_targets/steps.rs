//! Any bytes, read as what users, the broker and the clock do to a session: see `tests/world/mod.rs`.

#![no_main]

#[path = "../../tests/world/mod.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use world::{Step, World};

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    for step in bytes.chunks_exact(3) {
        world.take(Step::from([step[0], step[1], step[2]]));
    }
    world.come_to_an_end();
});
