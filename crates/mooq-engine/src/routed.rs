//! Publishes of a transaction that are routed and wait for its commit.

use mooq_core::QueueName;

use super::ids::QueueId;
use super::message::Accepted;

/// A publish that has been routed and waits for its commit.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(super) accepted: Accepted,
    pub(super) mandatory: bool,
    pub(super) queues: RoutedQueues,
}

/// Queues to which a publish goes at its commit.
#[derive(Debug)]
pub(super) enum RoutedQueues {
    /// These queues and no others.
    Queues(Vec<RoutedQueue>),
    /// The queues that have these names at the time of the commit.
    Names(Vec<QueueName>),
}

/// A queue, and the facts about it that are needed once it has gone.
#[derive(Debug)]
pub(super) struct RoutedQueue {
    pub(super) key: QueueId,
    pub(super) name: QueueName,
    pub(super) is_quorum: bool,
}
