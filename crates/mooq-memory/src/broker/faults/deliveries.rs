//! Deliveries and acknowledgements that go wrong.

use super::{FaultGuard, Faults};
use crate::engine::Fault;

/// Deliveries. Those without acknowledgement can be corrupted, and nothing else.
///
/// The next `times` are meant of those within the limits; `u64::MAX` stands for all.
impl Faults {
    /// The next acknowledgements are lost, and their connections with them: what was done is
    /// delivered again, marked as redelivered, to the consumer that comes back or to another one.
    /// These are the duplicates that every consumer of RabbitMQ must expect.
    ///
    /// One that acknowledges several at once counts as one. Heeds the limits to connections and
    /// to queues.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = broker.connect().await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "book").routing_key("orders").await?;
    ///
    /// let losing = broker.faults().lose_acks(1);
    /// let order = chan.get::<String>("orders").await?;
    /// assert!(!order.redelivered);
    /// let _ = order.ack().await; // Nobody tells whether the broker has heard it.
    /// assert_eq!(losing.strikes(), 1);
    ///
    /// let chan = broker.connect().await?.create_channel().await?;
    /// let order = chan.get::<String>("orders").await?;
    /// assert!(order.redelivered);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lose_acks(self, times: u64) -> FaultGuard {
        self.begin(Fault::LoseAcks(times))
    }

    /// What the next acknowledgements are for comes again all the same, marked as redelivered,
    /// while the connection stays: as from a quorum queue whose leader changed before it heard
    /// the acknowledgement. It is the shortest way to try what a service does with a duplicate.
    ///
    /// One that acknowledges several at once counts as one. Heeds the limits to connections and
    /// to queues.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = broker.connect().await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "book").routing_key("orders").await?;
    ///
    /// let _duplicating = broker.faults().queue("orders").duplicate_deliveries(1);
    /// for redelivered in [false, true] {
    ///     let order = chan.get::<String>("orders").await?;
    ///     assert_eq!(order.redelivered, redelivered);
    ///     assert_eq!(order.ack().await?, "book");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn duplicate_deliveries(self, times: u64) -> FaultGuard {
        self.begin(Fault::Redeliver(times))
    }

    /// The next messages that go out have another body than was published, of the same size,
    /// which is neither JSON nor any text; an empty one gets a byte. RabbitMQ itself does not do
    /// that: it stands for a publisher that does. What is in the queue stays as it was, so that
    /// the message is sound when it comes again.
    ///
    /// Heeds every limit.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, ErrorKind, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = broker.connect().await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "book").routing_key("orders").await?;
    ///
    /// let _corrupting = broker.faults().corrupt_bodies(1);
    /// let err = chan.get::<String>("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::Decode);
    /// # Ok(())
    /// # }
    /// ```
    pub fn corrupt_bodies(self, times: u64) -> FaultGuard {
        self.begin(Fault::CorruptBodies(times))
    }
}
