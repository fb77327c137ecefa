//! Every scenario on the in-memory broker over a socket, by the same client as on RabbitMQ.

use std::process::ExitCode;

use mooq_integration_tests::rabbitmq::{transport, uses_native};

fn main() -> ExitCode {
    mooq_conformance::main(mooq_conformance::served_over(transport(), uses_native()))
}
