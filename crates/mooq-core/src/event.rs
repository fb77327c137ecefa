//! Events on a channel and on a connection, nearly all of which a broker sends without being asked.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::in_flight::InFlight;
use crate::message::Message;
use crate::name::ConsumerTag;
use crate::returned::Returned;

/// `basic.deliver`.
#[derive(Debug, Clone, PartialEq)]
pub struct Deliver {
    /// The consumer that the delivery is for.
    pub consumer_tag: ConsumerTag,
    /// The number to settle the delivery by, counted per channel from 1.
    pub delivery_tag: u64,
    /// True if the message was delivered before, to this or another consumer, and requeued.
    pub redelivered: bool,
    /// The published message, shared by every queue that it reached.
    pub message: Arc<Message>,
    /// Kept until all work that the delivery causes is done, for example a callback.
    pub in_flight: InFlight,
}

/// Events on one channel, in the broker's order.
#[derive(Debug, Clone)]
pub enum ChannelEvent {
    /// A message for a consumer.
    Deliver(Deliver),
    /// A mandatory message was returned. The event arrives before that message's confirm.
    Return(Returned),
    /// The broker has taken responsibility for a publish.
    Confirm {
        /// The publish's number, counted per channel from 1 since `confirm.select`.
        sequence: u64,
        /// True for all unconfirmed publishes up to this one.
        multiple: bool,
    },
    /// The broker has refused a publish.
    Nack {
        /// The publish's number.
        sequence: u64,
        /// True for all unconfirmed publishes up to this one.
        multiple: bool,
    },
    /// The broker has cancelled a consumer, for example because its queue was deleted.
    ConsumerCancelled(ConsumerTag),
    /// The channel or its connection is closed. Always the last event.
    Closed(Error),
}

/// Events of a connection as a whole.
#[derive(Debug, Clone)]
pub enum ConnectionEvent {
    /// The broker has stopped reading from connections that publish, for the given reason.
    Blocked(String),
    /// The broker reads again from connections that publish.
    Unblocked,
    /// The broker has taken new credentials in place of those that are about to expire. Sent by the
    /// layer that renews them, never by a broker.
    CredentialsRenewed,
    /// New credentials could not be obtained, or the broker has not taken them. Sent by the layer
    /// that renews them, never by a broker.
    CredentialsNotRenewed {
        /// The reason.
        error: Error,
        /// Time until the next attempt.
        next_attempt: Duration,
    },
    /// The connection is closed. Always the last event.
    Closed(Error),
}
