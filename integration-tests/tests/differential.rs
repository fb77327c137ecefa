//! Random sequences of operations on the in-memory broker and on RabbitMQ, compared.
//!
//! `MOOQ_DIFFERENTIAL_CASES` says how many sequences run (200 where it does not), and
//! `MOOQ_DIFFERENTIAL_SEED` which is the first. A failure prints its seed and the shortest
//! sequence found that shows it, as a scenario.

use mooq_integration_tests::differential::{self, Settings};

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_rabbitmq_does() {
    differential::run(Settings::from_env());
}
