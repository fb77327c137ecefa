//! Brokers with seeds: the same run for the same seed, other runs for other seeds, and RabbitMQ's
//! guarantees in all of them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

mod chatter;
mod guarantees;
mod replaying;
mod services;
