//! Any bytes, read as what clients do to a broker: see `tests/engine/script.rs`.

#![no_main]

#[path = "../../tests/engine/run.rs"]
mod run;
#[path = "../../tests/engine/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    run::run(&script::read(bytes), false);
});
