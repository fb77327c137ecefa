//! Every scenario on the in-memory broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    mooq_conformance::main(mooq_conformance::in_memory())
}
