//! One suite of scenarios, run on every transport of mooq.
//!
//! A scenario is an `async fn(Fixture)` in a file of [`scenarios`], listed once at the end of
//! that file. Each target in `tests/` runs all of them on one backend:
//!
//! - `tests/memory.rs`: the in-memory broker, a fresh one for each scenario;
//! - `tests/rabbitmq.rs`: RabbitMQ in a container, one for all. Ignored unless asked for with
//!   `--include-ignored`, as `run-all` does.

pub mod backend;
pub mod container;
pub mod control;
pub mod example;
pub mod expect;
pub mod fixture;
pub mod harness;
pub mod raw;
pub mod scenarios;
pub mod steps;

pub use expect::{expect_reason, within};
pub use fixture::Fixture;
pub use raw::Raw;
