//! What happens to a workload when its broker or the network fails, in memory and on RabbitMQ.

use std::process::ExitCode;

fn main() -> ExitCode {
    mooq_integration_tests::faults::suite::main()
}
