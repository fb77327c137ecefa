//! Outcomes of callbacks.

use std::time::Duration;

use mooq_core::Settlement;

use crate::verdict::Failed;

/// Outcome of a callback: the settlement of its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Acknowledges the delivery: it is done.
    Ack,
    /// Requeues a delivery that failed to its place in the queue, by `basic.reject`, which a
    /// queue's [delivery
    /// limit](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling) counts.
    Requeue,
    /// Rejects the delivery: it is dead-lettered, or dropped if the queue has no dead-letter
    /// exchange.
    Reject,
    /// Retries the delivery after this time, for example the one that a server under load has asked
    /// for. It counts as a failed attempt, and the rest is up to the consumer's policy,
    /// [`Retry`](crate::Retry): the delivery waits in a delay queue if the policy uses those, and
    /// in place otherwise; after the last attempt the end of the policy holds.
    ///
    /// In delay queues, the time is rounded up to the next of 36 steps, from 50 ms to 49 days and
    /// 17 hours, which is the most: 1 s, 2 s, 3 s, 5 s, 10 s, 15 s, 20 s, 30 s, 45 s and so on.
    /// Each has a queue of its own. A time of zero puts the message at the end of its queue.
    RetryAfter(Duration),
    /// Parks the delivery: a copy goes to the queue of [`Retry::then_park`](crate::Retry::then_park),
    /// or without one to the queue `<queue>.parked`, and the delivery is acked once the broker has
    /// confirmed the copy.
    Park,
}

impl Outcome {
    /// Returns the settlement to send to the broker, or the failure that the outcome amounts to. A
    /// delivery that failed is rejected, not nacked: RabbitMQ 4.3 counts only `basic.reject`
    /// towards a queue's delivery limit.
    ///
    /// # Errors
    /// The failure.
    pub fn settlement(self) -> Result<Settlement, Failed> {
        match self {
            Self::Ack => Ok(Settlement::Ack),
            Self::Requeue => Ok(Settlement::Reject { requeue: true }),
            Self::Reject => Ok(Settlement::Reject { requeue: false }),
            Self::RetryAfter(delay) => Err(Failed::RetryAfter(delay)),
            Self::Park => Err(Failed::Park),
        }
    }
}
