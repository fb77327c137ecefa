//! Observation of a broker: everything that a test can see of it, and wait for.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

mod assertions;
mod chatter;
mod idle;
mod idle_property;
mod inspection;
mod recording;
mod time;
mod timeline;

use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection};

/// A broker, and a connection to it with a channel.
async fn set_up() -> (InMemoryBroker, Connection, Channel) {
    let broker = InMemoryBroker::start();
    let conn = mooq::connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    (broker, conn, chan)
}

/// Publishes straight to a queue.
async fn publish(chan: &Channel, queue: &str, msg: impl serde::Serialize) {
    chan.publish("", &msg).routing_key(queue).await.unwrap();
}
