//! Faults, seen through the transport traits, as mooq's runtime sees them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

mod channels;
mod client;
mod connections;
mod deliveries;
mod limits;
mod link;
mod outages;
mod publishes;
mod queues;
