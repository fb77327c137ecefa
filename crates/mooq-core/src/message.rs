//! A message, and the publishing of one.

use std::sync::Arc;

use bytes::Bytes;

use crate::name::{ExchangeName, RoutingKey};
use crate::properties::Properties;

/// A message with its address. Cloning one copies neither body nor properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The exchange it was published to. The empty name is the default exchange.
    pub exchange: ExchangeName,
    /// The routing key it was published with.
    pub routing_key: RoutingKey,
    /// Its properties, headers among them.
    pub properties: Arc<Properties>,
    /// Its body.
    pub body: Bytes,
}

/// `basic.publish`.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// What to publish, and where.
    pub message: Message,
    /// Hand the message back if it reaches no queue.
    pub mandatory: bool,
    /// Hand it back if no consumer is ready. RabbitMQ refuses this flag (540).
    pub immediate: bool,
}

impl Publish {
    /// Publishes `message` with neither flag set.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self {
            message,
            mandatory: false,
            immediate: false,
        }
    }
}
