//! Random sequences of operations on the in-memory broker and on RabbitMQ, compared.
//!
//! `MOOQ_DIFFERENTIAL_CASES` sets the number of sequences (default 200), `MOOQ_DIFFERENTIAL_SEED`
//! the first seed, `MOOQ_DIFFERENTIAL_FAILURES` the number of failures after which to stop (default
//! 1), and `MOOQ_DIFFERENTIAL_AT_ONCE` the number of concurrent sequences. A failure prints its
//! seed and the shortest sequence found that shows it, as a scenario.
//!
//! Sequences whose seeds `MOOQ_DIFFERENTIAL_ALARMS` divides (default 25) raise memory and disk
//! alarms: all with 1, none with 0. Such a sequence has the broker for itself.

use mooq_integration_tests::differential::{self, Settings};
use mooq_integration_tests::rabbitmq::container::Image;

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_rabbitmq_3_10_does() {
    differential::run(&Image::v3_10(), Settings::from_env());
}

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_the_current_rabbitmq_does() {
    differential::run(&Image::current(), Settings::from_env());
}

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_rabbitmq_4_3_does() {
    differential::run(&Image::v4_3(), Settings::from_env());
}
