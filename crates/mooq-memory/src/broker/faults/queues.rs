//! Queues that are deleted, or take no messages.

use super::{FaultGuard, Faults};
use mooq_engine::Fault;

/// Queues.
impl Faults {
    /// Deletes queues with all their messages, regardless of their users. Returns the number of
    /// deleted queues. Their consumers are cancelled by `basic.cancel`.
    ///
    /// Can be limited to queues: without a limit, every queue is deleted.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # use mooq::ErrorKind;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    ///
    /// assert_eq!(broker.faults().queue("orders").delete_queues(), 1);
    /// let err = chan.get::<String>("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_queues(&self) -> usize {
        self.broker
            .shared
            .admin(|engine, now| engine.delete_queues(now, &self.scope))
    }

    /// Makes queues refuse messages, as if each had reached a `max-length` with the overflow
    /// `reject-publish`: a publish that is routed to one of them is nacked, and other queues get
    /// their copy. Messages in the queues can be consumed, which makes no room.
    ///
    /// Can be limited to queues and to exchanges. The fault strikes once for each message and
    /// queue.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # use mooq::ErrorKind;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    ///
    /// let full = broker.faults().queue("orders").fill_queues();
    /// let err = chan.publish("", "book").routing_key("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::Nacked);
    ///
    /// drop(full);
    /// chan.publish("", "book").routing_key("orders").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fill_queues(self) -> FaultGuard {
        self.begin(Fault::FillQueues)
    }
}
