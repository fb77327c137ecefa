//! Faults of brokers and networks under a workload, in memory and on RabbitMQ.

use std::process::ExitCode;

fn main() -> ExitCode {
    mooq_integration_tests::faults::suite::main()
}
