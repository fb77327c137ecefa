//! What has become of a queue's messages, in numbers.

/// How many messages came into a queue since the broker was started, and how many of them left it
/// in which way. Each leaves in one way, so that those which came and did not leave are ready or
/// unacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueTally {
    /// The queue took them.
    pub arrived: u64,
    /// Acknowledged by their consumer, or on being sent where it asked for that.
    pub acked: u64,
    /// Rejected by their consumer, and not requeued.
    pub rejected: u64,
    /// Too old ([time to live](https://www.rabbitmq.com/docs/ttl)).
    pub expired: u64,
    /// Too many ([queue length limit](https://www.rabbitmq.com/docs/maxlength)).
    pub dropped: u64,
    /// Came back to a quorum queue too often
    /// ([delivery limit](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling)).
    pub over_delivery_limit: u64,
    /// Purged.
    pub purged: u64,
    /// How many of the rejected, expired, dropped and returned ones went on to the dead-letter exchange, and
    /// of those refused on arrival.
    pub dead_lettered: u64,
}

impl QueueTally {
    /// How many are in the queue: ready, or delivered and not settled.
    #[must_use]
    pub fn present(&self) -> u64 {
        let died = self.rejected + self.expired + self.dropped + self.over_delivery_limit;
        let left = self.acked + died + self.purged;
        self.arrived.saturating_sub(left)
    }
}
