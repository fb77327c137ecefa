//! The engine by itself: what RabbitMQ does, told in short lines.
//!
//! What a client can see is tested once more, together with RabbitMQ, by the scenarios of
//! `integration-tests`. Here are the corners, the order of effects, time, and what holds for
//! every sequence of commands.

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
mod endings;
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
mod time;
