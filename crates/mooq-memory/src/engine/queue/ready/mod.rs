//! The messages of a queue that are ready for delivery, in the order in which they leave it, which
//! is each queue type's own.

mod classic;
mod quorum;

use std::cmp::Reverse;
use std::sync::Arc;

use mooq_core::Message;

use classic::ClassicMessages;
use quorum::QuorumMessages;

use super::kind::QueueType;
use crate::engine::dead_letter::Annotations;
use crate::engine::ledger::Unacked;
use crate::engine::profile::Profile;
use crate::engine::time::Time;

/// A message in a queue. Kept small: there may be millions.
#[derive(Debug, Clone)]
pub(crate) struct QueuedMessage {
    /// Its place in the order of arrival.
    pub(crate) position: u64,
    pub(crate) message: Arc<Message>,
    /// What the broker knows of it beyond what its consumers see.
    pub(crate) annotations: Option<Arc<Annotations>>,
    /// When it expires. Fixed at arrival and kept through requeues.
    pub(crate) expires: Option<Time>,
    /// How often it came back.
    pub(crate) returns: Returns,
}

/// How often a message came back from those it was delivered to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Returns {
    /// In all, to this queue.
    pub(crate) all: u32,
    /// Since its delivery failed. These a quorum queue hands on with its dead letters.
    pub(crate) failed: u32,
}

/// What is ready in one queue.
#[derive(Debug)]
pub(crate) enum ReadyMessages {
    Classic(ClassicMessages),
    Quorum(Box<QuorumMessages>),
}

impl QueuedMessage {
    /// Whether it was delivered before, as its next consumer hears.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.returns != Returns::default()
    }

    /// What the broker knows of it when it dies.
    pub(crate) fn annotations_at_death(&self) -> Option<Arc<Annotations>> {
        let known = self.annotations.as_deref();
        let failed = self.returns.failed;
        if failed <= known.map_or(0, |annotations| annotations.failed_deliveries) {
            return self.annotations.clone();
        }
        let mut annotations = known.cloned().unwrap_or_default();
        annotations.failed_deliveries = failed;
        Some(annotations.into())
    }

    fn bytes(&self) -> u64 {
        self.message.body.len() as u64
    }
}

impl ReadyMessages {
    pub(crate) fn new(kind: QueueType, max_priority: u8, profile: Profile) -> Self {
        match kind {
            QueueType::Classic => Self::Classic(ClassicMessages::new(max_priority)),
            QueueType::Quorum => Self::Quorum(Box::new(QuorumMessages::new(profile))),
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

    /// The size of all bodies.
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

    /// Takes back a message that was delivered.
    pub(crate) fn put_back(&mut self, queued: QueuedMessage) {
        match self {
            Self::Classic(messages) => messages.put_back(queued),
            Self::Quorum(messages) => messages.put_back(queued),
        }
    }

    /// Takes back a message of a quorum queue behind all others.
    pub(crate) fn push_again(&mut self, queued: QueuedMessage) {
        match self {
            Self::Classic(messages) => messages.push(queued),
            Self::Quorum(messages) => messages.push_again(queued),
        }
    }

    /// The message that leaves next.
    pub(crate) fn front(&self) -> Option<&QueuedMessage> {
        match self {
            Self::Classic(messages) => messages.front(),
            Self::Quorum(messages) => messages.front(),
        }
    }

    /// Everything, in the order in which it leaves.
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

    /// Puts messages that are rejected at once into the order in which that happens: a classic
    /// queue keeps the deliveries of each priority apart, and goes through the highest first.
    pub(crate) fn sort_rejected(&self, rejected: &mut [Unacked]) {
        if let Self::Classic(messages) = self {
            rejected.sort_by_key(|unacked| Reverse(messages.priority(&unacked.queued)));
        }
    }

    /// Removes everything, and says how many messages that were.
    pub(crate) fn clear(&mut self) -> usize {
        match self {
            Self::Classic(messages) => messages.clear(),
            Self::Quorum(messages) => messages.clear(),
        }
    }

    /// Drops what does not survive a restart: a quorum queue keeps everything.
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
        message: Arc::new(Message {
            exchange: Default::default(),
            routing_key: Default::default(),
            properties: properties.into(),
            body: "four".into(),
        }),
        annotations: None,
        expires: None,
        returns: Returns::default(),
    }
}
