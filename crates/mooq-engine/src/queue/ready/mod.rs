//! Messages of a queue that are ready for delivery, in the order in which they leave. The order
//! depends on the queue type.

mod classic;
mod quorum;

use std::cmp::Reverse;

use classic::ClassicMessages;
use quorum::QuorumMessages;

use super::kind::QueueType;
use crate::message::{QueuedMessage, Unacked};
use crate::profile::Profile;
use crate::queue::measure::Measure;
use crate::time::Time;

/// The ready messages of a queue.
#[derive(Debug)]
pub(crate) enum ReadyMessages {
    Classic(ClassicMessages),
    Quorum(Box<QuorumMessages>),
}

impl ReadyMessages {
    pub(crate) fn new(kind: QueueType, max_priority: u8, profile: Profile) -> Self {
        match kind {
            QueueType::Classic => Self::Classic(ClassicMessages::new(max_priority)),
            QueueType::Quorum => Self::Quorum(Box::new(QuorumMessages::new(profile))),
        }
    }

    /// Returns the part of a message that counts for a limit in bytes.
    pub(crate) fn measure(&self) -> Measure {
        match self {
            Self::Classic(_) => Measure::Body,
            Self::Quorum(messages) => messages.measure(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Classic(messages) => messages.len(),
            Self::Quorum(messages) => messages.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of all bodies, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Classic(messages) => messages.bytes(),
            Self::Quorum(messages) => messages.bytes(),
        }
    }

    /// Adds a message that has just arrived.
    pub(crate) fn push(&mut self, queued: QueuedMessage) {
        match self {
            Self::Classic(messages) => messages.push(queued),
            Self::Quorum(messages) => messages.push(queued),
        }
    }

    /// Notes that a message goes straight to a consumer, without entering this collection.
    pub(crate) fn pass_by(&mut self) {
        match self {
            Self::Classic(_) => {}
            Self::Quorum(messages) => messages.pass_by(),
        }
    }

    /// Puts back a message that was delivered.
    pub(crate) fn put_back(&mut self, queued: QueuedMessage) {
        match self {
            Self::Classic(messages) => messages.put_back(queued),
            Self::Quorum(messages) => messages.put_back(queued),
        }
    }

    /// Puts a message of a quorum queue back behind all others.
    pub(crate) fn push_again(&mut self, queued: QueuedMessage) {
        match self {
            Self::Classic(messages) => messages.push(queued),
            Self::Quorum(messages) => messages.push_again(queued),
        }
    }

    /// Returns all messages in the order in which they leave.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = &QueuedMessage> + '_> {
        match self {
            Self::Classic(messages) => Box::new(messages.iter()),
            Self::Quorum(messages) => Box::new(messages.iter()),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<QueuedMessage> {
        match self {
            Self::Classic(messages) => messages.pop(),
            Self::Quorum(messages) => messages.pop(),
        }
    }

    /// Returns the earliest expiry among the messages that are checked for expiry.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        match self {
            Self::Classic(messages) => messages.front()?.expires,
            Self::Quorum(messages) => messages.next_expiry(),
        }
    }

    /// Removes and returns the next message that has expired.
    pub(crate) fn pop_expired(&mut self, now: Time) -> Option<QueuedMessage> {
        match self {
            Self::Classic(messages) if messages.front()?.expires? <= now => messages.pop(),
            Self::Classic(_) => None,
            Self::Quorum(messages) => messages.pop_expired(now),
        }
    }

    /// Sorts messages that are rejected together into the order in which they are rejected. A
    /// classic queue keeps the deliveries of each priority apart, and goes through the highest
    /// priority first.
    pub(crate) fn sort_rejected(&self, rejected: &mut [Unacked]) {
        if let Self::Classic(messages) = self {
            rejected.sort_by_key(|unacked| Reverse(messages.priority(&unacked.queued)));
        }
    }

    /// Removes all messages, and returns their number.
    pub(crate) fn clear(&mut self) -> usize {
        match self {
            Self::Classic(messages) => messages.clear(),
            Self::Quorum(messages) => messages.clear(),
        }
    }

    /// Forgets the returns of a classic queue's messages, except for their failed deliveries.
    pub(crate) fn forget_returns(&mut self) {
        if let Self::Classic(messages) = self {
            messages.forget_returns();
        }
    }

    /// Drops the messages that do not survive a restart: a quorum queue keeps all of its messages.
    pub(crate) fn forget_transient(&mut self) {
        match self {
            Self::Classic(messages) => messages.retain_persistent(),
            Self::Quorum(_) => {}
        }
    }
}

/// A message with a body of four bytes, for the tests of each type's order.
#[cfg(test)]
fn queued(position: u64, priority: Option<u8>) -> QueuedMessage {
    let mut properties = mooq_core::Properties::default();
    properties.priority = priority;
    QueuedMessage {
        position,
        message: std::sync::Arc::new(mooq_core::Message {
            exchange: Default::default(),
            routing_key: Default::default(),
            properties: properties.into(),
            body: "four".into(),
        }),
        annotations: None,
        expires: None,
        returns: crate::message::Returns::default(),
    }
}
