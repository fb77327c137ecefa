//! Every scenario on the in-memory broker over a socket, by the same client as on RabbitMQ.

use std::process::ExitCode;

use mooq_integration_tests::backend::BackendKind;

fn main() -> ExitCode {
    mooq_integration_tests::harness::main(BackendKind::Wire)
}
