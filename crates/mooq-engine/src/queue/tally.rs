//! Counts of a queue's messages by outcome.

/// Number of messages that arrived in a queue since the broker started, and of those that left it,
/// by the way they left. Each message leaves in one way, so messages that arrived and have not left
/// are ready, delayed or unacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueTally {
    /// Messages that the queue accepted.
    pub arrived: u64,
    /// Messages acked by their consumer, or on being sent if the consumer asked for that.
    pub acked: u64,
    /// Messages that their consumer rejected without requeueing.
    pub rejected: u64,
    /// Messages that were too old ([time to live](https://www.rabbitmq.com/docs/ttl)).
    pub expired: u64,
    /// Messages that were too many ([queue length limit](https://www.rabbitmq.com/docs/maxlength)).
    pub dropped: u64,
    /// Messages that returned to a quorum queue too often
    /// ([delivery limit](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling)).
    pub over_delivery_limit: u64,
    /// Messages that were purged.
    pub purged: u64,
    /// Number of messages that went to the dead-letter exchange: of the rejected, expired, dropped
    /// and returned ones, and of those refused on arrival. A queue that keeps its dead letters
    /// until they have arrived counts a dead letter when it has arrived.
    pub dead_lettered: u64,
}

impl QueueTally {
    /// Number of messages in the queue: ready, delayed or unacked. Dead letters that are kept until
    /// they have arrived elsewhere are not included.
    #[must_use]
    pub fn present(&self) -> u64 {
        let died = self.rejected + self.expired + self.dropped + self.over_delivery_limit;
        let left = self.acked + died + self.purged;
        self.arrived.saturating_sub(left)
    }
}
