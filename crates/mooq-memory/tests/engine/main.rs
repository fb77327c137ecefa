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

mod dead_letters;
mod declaring;
mod delivery;
mod endings;
mod harness;
mod invariants;
mod limits;
mod publishing;
mod quorum;
mod run;
mod script;
mod settling;
mod time;
