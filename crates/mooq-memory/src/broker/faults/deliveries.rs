//! Deliveries and acknowledgements that go wrong.

use super::{FaultGuard, Faults};
use mooq_engine::Fault;

/// Deliveries and acknowledgements. Corrupted bodies, held queues and reordered queues also affect
/// deliveries without acknowledgement.
///
/// A fault strikes the next `times` deliveries or acknowledgements within the limits; `u64::MAX`
/// stands for all.
impl Faults {
    /// Loses the next acknowledgements, and their connections with them: messages that were already
    /// processed are redelivered, to the reconnected consumer or to another one. These are the
    /// duplicates that every consumer of RabbitMQ must expect.
    ///
    /// An acknowledgement of several deliveries at once counts as one. Can be limited to
    /// connections and to queues.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "book").routing_key("orders").await?;
    ///
    /// let losing = broker.faults().lose_acks(1);
    /// let order = chan.get_one::<String>("orders").await?;
    /// assert!(!order.redelivered);
    /// let _ = order.ack().await; // Nobody tells whether the broker has heard it.
    /// assert_eq!(losing.strikes(), 1);
    ///
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// let order = chan.get_one::<String>("orders").await?;
    /// assert!(order.redelivered);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lose_acks(self, times: u64) -> FaultGuard {
        self.begin(Fault::LoseAcks(times))
    }

    /// Redelivers the messages of the next acknowledgements, while the connection stays open: like
    /// a quorum queue whose leader changed before it received the acknowledgement. This is the
    /// shortest way to test a service's handling of a duplicate.
    ///
    /// An acknowledgement of several deliveries at once counts as one. Can be limited to
    /// connections and to queues.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    /// chan.publish("", "book").routing_key("orders").await?;
    ///
    /// let _duplicating = broker.faults().queue("orders").duplicate_deliveries(1);
    /// for redelivered in [false, true] {
    ///     let order = chan.get_one::<String>("orders").await?;
    ///     assert_eq!(order.redelivered, redelivered);
    ///     assert_eq!(order.ack().await?, "book");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn duplicate_deliveries(self, times: u64) -> FaultGuard {
        self.begin(Fault::Redeliver(times))
    }

    /// Sends the next messages with a body other than the published one, of the same size, which is
    /// neither JSON nor any text; an empty body gets a byte. RabbitMQ itself never does that: the
    /// fault stands for a publisher that does. The message in the queue stays as it was, so that it
    /// is sound when it is redelivered.
    ///
    /// Can be limited to connections, exchanges and queues.
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

    /// Stops queues from delivering to their consumers, like a queue that is busy with its disk.
    /// Messages are ready meanwhile, can be fetched, and are delivered in order when the guard is
    /// dropped. While one queue is held and another one is not, a service sees their messages in
    /// the order that the test wants. A broker whose queues are held can be idle.
    ///
    /// Can be limited to queues.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # use mooq::{Delivery, ExchangeKind::Direct};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// use tokio::sync::mpsc::unbounded_channel;
    ///
    /// let broker = InMemoryBroker::start();
    /// let conn = mooq::connect(&broker).await?;
    /// let chan = conn.create_channel().await?;
    /// let (seen, mut payments_and_orders) = unbounded_channel();
    /// for queue in ["orders", "payments"] {
    ///     let seen = seen.clone();
    ///     chan.register_consumer("shop", Direct)
    ///         .queue(queue)
    ///         .routing_key(queue)
    ///         .callback(move |event: Delivery<String>| {
    ///             let _ = seen.send(event.msg);
    ///             async {}
    ///         })
    ///         .await?;
    /// }
    ///
    /// let held = broker.faults().queue("orders").hold_queues();
    /// chan.publish("shop", "ordered").routing_key("orders").await?;
    /// chan.publish("shop", "paid").routing_key("payments").await?;
    /// conn.process_events().cycles(1).await?;
    /// drop(held);
    /// conn.process_events().cycles(1).await?;
    /// assert_eq!(payments_and_orders.try_recv().unwrap(), "paid");
    /// assert_eq!(payments_and_orders.try_recv().unwrap(), "ordered");
    /// # Ok(())
    /// # }
    /// ```
    pub fn hold_queues(self) -> FaultGuard {
        self.begin(Fault::HoldQueues)
    }

    /// Reverses the order in which messages of several queues arrive that are sent to consumers of
    /// one connection at about the same time: of the messages in flight, the one that was sent last
    /// arrives first. Each queue's own messages keep their order, as RabbitMQ guarantees; between
    /// queues RabbitMQ guarantees nothing.
    ///
    /// Messages in flight arrive as soon as no task has anything else to do first: messages that a
    /// service publishes without waiting for confirms are in flight together.
    ///
    /// Can be limited to connections and to queues. The fault strikes once for each delivery.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use mooq_core::{
    ///     ChannelEvent, Consume, Endpoint, Message, Publish, QueueDeclare, Scheme, Transport,
    /// };
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    /// let mut opened = opened.connection.open_channel().await?;
    /// let channel = &opened.channel;
    /// for queue in ["orders", "payments"] {
    ///     channel.declare_queue(QueueDeclare::new(queue.try_into()?)).await?;
    ///     channel.consume(Consume::new(queue.try_into()?)).await?;
    /// }
    ///
    /// let _reordering = broker.faults().reorder_queues();
    /// for queue in ["orders", "payments"] {
    ///     let _ = channel.publish(Publish::new(Message {
    ///         exchange: "".try_into()?,
    ///         routing_key: queue.try_into()?,
    ///         properties: Default::default(),
    ///         body: "body".into(),
    ///     }))?;
    /// }
    /// for queue in ["payments", "orders"] {
    ///     let Some(ChannelEvent::Deliver(delivery)) = opened.events.next().await else { panic!() };
    ///     assert_eq!(delivery.message.routing_key, queue);
    /// }
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn reorder_queues(self) -> FaultGuard {
        self.begin(Fault::ReorderQueues)
    }
}
