//! Publishes that go wrong.

use super::{FaultGuard, Faults};
use crate::engine::Fault;

/// Publishes. Those in transactions are not struck.
///
/// The next `times` publishes are meant of those within the limits; `u64::MAX` stands for all.
impl Faults {
    /// The broker refuses the next publishes by `basic.nack`, as RabbitMQ does when a queue fails
    /// inside. They are in no queue. Only those that await a confirm are struck.
    ///
    /// Heeds every limit, that to queues by where the message would go.
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
    /// let nacking = broker.faults().nack_publishes(1);
    /// let err = chan.publish("", "book").routing_key("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::Nacked);
    /// chan.publish("", "pen").routing_key("orders").await?;
    /// assert_eq!(nacking.strikes(), 1);
    /// assert_eq!(chan.get::<String>("orders").await?.ack().await?, "pen");
    /// # Ok(())
    /// # }
    /// ```
    pub fn nack_publishes(self, times: u64) -> FaultGuard {
        self.begin(Fault::NackPublishes(times))
    }

    /// The next publishes are lost before the broker has them, and their connections with them.
    /// The publisher cannot tell this from [`Self::lose_confirms`]: if it publishes again, the
    /// message is there once.
    ///
    /// Heeds every limit, that to queues by where the message would go.
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
    /// let _losing = broker.faults().lose_publishes(1);
    /// let err = chan.publish("", "book").routing_key("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    /// assert_eq!(broker.queues("orders")[0].ready, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lose_publishes(self, times: u64) -> FaultGuard {
        self.begin(Fault::LosePublishes(times))
    }

    /// The broker takes the next publishes, and their connections are lost before the confirm. If
    /// the publisher publishes again, the message is there twice: the one kind of duplicate that
    /// is not marked as redelivered. Only publishes that await a confirm are struck.
    ///
    /// Heeds every limit, that to queues by where the message goes.
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
    /// let _losing = broker.faults().exchange("").lose_confirms(1);
    /// let err = chan.publish("", "book").routing_key("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    /// assert_eq!(broker.queues("orders")[0].ready, 1, "it is there");
    /// # Ok(())
    /// # }
    /// ```
    pub fn lose_confirms(self, times: u64) -> FaultGuard {
        self.begin(Fault::LoseConfirms(times))
    }
}
