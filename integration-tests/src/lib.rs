//! One suite of scenarios, run on every transport of mooq.
//!
//! A scenario is an `async fn(Fixture)` in a file of [`scenarios`], listed once at the end of
//! that file. Each target in `tests/` runs all of them, for every version that it has and that
//! they hold for:
//!
//! - `tests/memory.rs`: the in-memory broker as RabbitMQ 3.10, 4.0, 4.1, 4.2 and 4.3, a fresh one
//!   for each scenario;
//! - `tests/wire.rs`: the same brokers behind mooq-server, each on a socket of its own, by mooq-rabbit;
//! - `tests/rabbitmq.rs`: RabbitMQ 3.10, 4.0 and 4.3, or what the images hold that are named instead,
//!   one container for all scenarios of a version. Ignored unless asked for with
//!   `--include-ignored`, as `run-all` does.
//!
//! `tests/faults.rs` is a suite of its own: what becomes of a workload when its broker fails, see
//! [`faults`].
//!
//! A test is named after version, file and scenario: `v4_0::acks::acks_are_per_channel`.

pub mod backend;
pub mod container;
pub mod control;
pub mod differential;
pub mod example;
pub mod expect;
pub mod faults;
pub mod fixture;
pub mod harness;
pub mod line;
pub mod raw;
pub mod refusals;
pub mod scenarios;
pub mod steps;
pub mod version;

pub use expect::{expect_reason, within};
pub use fixture::Fixture;
pub use raw::Raw;
pub use version::Version;
