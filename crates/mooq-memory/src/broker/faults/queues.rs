//! Queues that go, or take nothing.

use super::{FaultGuard, Faults};
use crate::engine::Fault;

/// Queues.
impl Faults {
    /// Deletes queues with all that is in them, whoever uses them. Says how many. Their consumers
    /// are cancelled by `basic.cancel`.
    ///
    /// Heeds the limit to queues: without one, every queue goes.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, ErrorKind, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = broker.connect().await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    ///
    /// assert_eq!(broker.faults().queue("orders").delete_queues(), 1);
    /// let err = chan.get::<String>("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::ConsumerQueueNotFound);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_queues(&self) -> usize {
        self.broker
            .shared
            .administer(|engine, now| engine.delete_queues(now, &self.scope))
    }

    /// Queues take nothing, as if each had reached a `max-length` with the overflow
    /// `reject-publish`: a publish that goes to one of them is nacked, and other queues get their
    /// copy. What is in them can be consumed, which makes no room.
    ///
    /// Heeds the limits to queues and to exchanges. It strikes once for each message and queue.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, ErrorKind, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = broker.connect().await?.create_channel().await?;
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
