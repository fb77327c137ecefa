//! Any bytes, read as what clients do to a broker of some version and seed, and what goes wrong: see `tests/engine/script.rs`.

#![no_main]

#[path = "../../tests/engine/run.rs"]
mod run;
#[path = "../../tests/engine/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (number, bytes) = input;
    run::run(&run::options(number.into()), &script::read(bytes), false);
});
