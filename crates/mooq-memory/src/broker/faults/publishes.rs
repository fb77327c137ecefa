//! Publishes that go wrong.

use super::{FaultGuard, Faults};
use mooq_engine::Fault;

/// Publishes. Publishes in transactions are not struck.
///
/// A fault strikes the next `times` publishes within the limits; `u64::MAX` stands for all.
impl Faults {
    /// Refuses the next publishes by `basic.nack`, as RabbitMQ does when a queue fails with an
    /// internal error. The refused messages are in no queue. Only publishes that await a confirm
    /// are struck.
    ///
    /// Can be limited to connections, exchanges and queues. For queues, the message's destinations
    /// count.
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
    /// let nacking = broker.faults().nack_publishes(1);
    /// let err = chan.publish("", "book").routing_key("orders").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::Nacked);
    /// chan.publish("", "pen").routing_key("orders").await?;
    /// assert_eq!(nacking.strikes(), 1);
    /// assert_eq!(chan.get_one::<String>("orders").await?.ack().await?, "pen");
    /// # Ok(())
    /// # }
    /// ```
    pub fn nack_publishes(self, times: u64) -> FaultGuard {
        self.begin(Fault::NackPublishes(times))
    }

    /// Loses the next publishes before the broker has them, and their connections with them. The
    /// publisher cannot tell this fault from [`Self::lose_confirms`]: if it publishes again, the
    /// message is there once.
    ///
    /// Can be limited to connections, exchanges and queues. For queues, the message's destinations
    /// count.
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

    /// Takes the next publishes, and drops their connections before the confirm. If the publisher
    /// publishes again, the message is there twice: the one kind of duplicate that is not marked as
    /// redelivered. Only publishes that await a confirm are struck.
    ///
    /// Can be limited to connections, exchanges and queues. For queues, the message's destinations
    /// count.
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
