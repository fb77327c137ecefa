//! Any bytes, read as what clients do to a broker of some version: see `tests/engine/script.rs`.

#![no_main]

#[path = "../../tests/engine/run.rs"]
mod run;
#[path = "../../tests/engine/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (version, bytes) = input;
    let profile = run::PROFILES[usize::from(version) % run::PROFILES.len()];
    run::run(profile, &script::read(bytes), false);
});
