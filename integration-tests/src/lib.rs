//! Tests of mooq on the in-memory broker and on RabbitMQ.
//!
//! The scenarios of mooq-conformance run on every transport. Each target in `tests/` runs all of
//! them, for each of its versions that they hold for:
//!
//! - `tests/memory.rs`: the in-memory broker as RabbitMQ 3.10, 4.0, 4.1, 4.2 and 4.3, a fresh one
//!   for each scenario;
//! - `tests/wire.rs`: the same brokers behind mooq-server, each on a socket of its own, by mooq-rabbit;
//! - `tests/rabbitmq.rs`: RabbitMQ 3.10, 4.0 and 4.3, or the images named instead, one container
//!   for all scenarios of a version. Ignored without `--include-ignored`, which `run-all` sets.
//!
//! `tests/differential.rs` compares the effects of random operations ([`differential`]), and
//! `tests/faults.rs` runs a workload whose broker fails ([`faults`]).

pub mod differential;
pub mod example;
pub mod faults;
pub mod rabbitmq;
