//! What a broker says unasked: on a channel and on a connection.

use std::sync::Arc;

use crate::error::Error;
use crate::in_flight::InFlight;
use crate::message::Message;
use crate::name::ConsumerTag;

/// `basic.deliver`.
#[derive(Debug, Clone, PartialEq)]
pub struct Deliver {
    /// The consumer it is for.
    pub consumer_tag: ConsumerTag,
    /// The number to settle it by, counted per channel from 1.
    pub delivery_tag: u64,
    /// It was delivered before, to this or another consumer, and came back.
    pub redelivered: bool,
    /// What was published. Every queue that it reached shares it.
    pub message: Arc<Message>,
    /// Kept until all that the delivery gives rise to is done, a callback for example.
    pub in_flight: InFlight,
}

/// `basic.return`: a mandatory message that reached no queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Returned {
    /// Why, as a number: 312 (`NO_ROUTE`).
    pub reply_code: u16,
    /// Why, in words.
    pub reply_text: String,
    /// The message, whole.
    pub message: Arc<Message>,
}

/// What happens on one channel. The order of events is the broker's.
#[derive(Debug, Clone)]
pub enum ChannelEvent {
    /// A message for a consumer.
    Deliver(Deliver),
    /// A mandatory message came back. It comes before that message's confirm.
    Return(Returned),
    /// The broker has taken responsibility for a publish.
    Confirm {
        /// The publish's number, counted per channel from 1 since `confirm.select`.
        sequence: u64,
        /// All unconfirmed publishes up to this one are meant.
        multiple: bool,
    },
    /// The broker has refused a publish.
    Nack {
        /// The publish's number.
        sequence: u64,
        /// All unconfirmed publishes up to this one are meant.
        multiple: bool,
    },
    /// The broker has cancelled a consumer, for example since its queue was deleted.
    ConsumerCancelled(ConsumerTag),
    /// The channel is closed, or its connection is. Always the last event.
    Closed(Error),
}

/// What happens on a connection as a whole.
#[derive(Debug, Clone)]
pub enum ConnectionEvent {
    /// The broker has stopped reading from connections that publish, for the given reason.
    Blocked(String),
    /// It reads again.
    Unblocked,
    /// The connection is closed. Always the last event.
    Closed(Error),
}
