//! Random sequences of operations on the in-memory broker and on RabbitMQ, compared.
//!
//! `MOOQ_DIFFERENTIAL_CASES` says how many sequences run (200 where it does not),
//! `MOOQ_DIFFERENTIAL_SEED` which is the first, `MOOQ_DIFFERENTIAL_FAILURES` after how many failures
//! to stop (one where it does not), and `MOOQ_DIFFERENTIAL_AT_ONCE` how many run at a time. A failure
//! prints its seed and the shortest sequence found that shows it, as a scenario.
//!
//! Memory and disk alarms are raised in the sequences whose seeds `MOOQ_DIFFERENTIAL_ALARMS` divides
//! (25 where it does not say): in all with one, and in none with zero. Such a sequence has the broker
//! for itself.

use mooq_integration_tests::differential::{self, Settings};
use mooq_integration_tests::rabbitmq::container::Image;

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_the_oldest_rabbitmq_does() {
    differential::run(&Image::oldest(), Settings::from_env());
}

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_the_current_rabbitmq_does() {
    differential::run(&Image::current(), Settings::from_env());
}

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn the_in_memory_broker_does_what_the_newest_rabbitmq_does() {
    differential::run(&Image::newest(), Settings::from_env());
}
