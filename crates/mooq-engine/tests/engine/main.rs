//! The engine by itself: what RabbitMQ does, told in short lines.
//!
//! The scenarios of `integration-tests` test a second time, together with RabbitMQ, everything that
//! a client can see. Here are the corners, the order of effects, time, and the invariants of every
//! sequence of commands.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

mod consumer_timeouts;
mod dead_letters;
mod declaring;
mod delayed_retry;
mod delivery;
mod harness;
mod invariants;
mod kept_dead_letters;
mod limits;
mod permissions;
mod plugins;
mod publishing;
mod quorum;
mod raft_rounds;
mod run;
mod script;
mod settling;
mod teardown;
mod time;
