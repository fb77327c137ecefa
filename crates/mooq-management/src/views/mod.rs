//! The JSON of each object, made of what the broker tells of it, in the shape of RabbitMQ's.
//!
//! A file per noun; nothing here does I/O.

pub(crate) mod binding;
pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod exchange;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod overview;
pub(crate) mod permissions;
pub(crate) mod policy;
pub(crate) mod properties;
pub(crate) mod queue;
pub(crate) mod user;
pub(crate) mod vhost;

use serde_json::{Map, Value};

/// Name of the broker's only node, and of the cluster. Clients on a socket are sent it as well.
pub(crate) const NODE: &str = "rabbit@mooq";

/// The entries of an object.
fn entries(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}
