//! A message, and a request to publish one.

use std::sync::Arc;

use bytes::Bytes;

use crate::name::{ExchangeName, RoutingKey};
use crate::properties::Properties;

/// A message with its exchange and routing key. Cloning a message copies neither body nor
/// properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The exchange that the message was published to. The empty name is the default exchange.
    pub exchange: ExchangeName,
    /// The routing key that the message was published with.
    pub routing_key: RoutingKey,
    /// The message's properties, including its headers.
    pub properties: Arc<Properties>,
    /// The message's body.
    pub body: Bytes,
}

/// `basic.publish`.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// The message to publish, with its address.
    pub message: Message,
    /// True if the broker returns the message when it reaches no queue.
    pub mandatory: bool,
    /// True if the broker returns the message when no consumer is ready. RabbitMQ refuses this flag
    /// (540).
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
