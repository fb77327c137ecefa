//! Faults of the links between a broker and its clients: slow, frozen.

use std::time::Duration;

use super::{FaultGuard, Faults};
use mooq_engine::Fault;

/// The network between broker and clients.
impl Faults {
    /// Freezes the link in both directions, while connections stay open: no call is answered, no
    /// message delivered or confirmed, and a login waits until the client gives up. Everything sent
    /// meanwhile arrives in order when the guard is dropped.
    ///
    /// The broker itself continues: messages expire, and clients that are not frozen are served.
    ///
    /// Can be limited to connections.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::FutureExt;
    /// use mooq_core::{Endpoint, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    /// let channel = opened.connection.open_channel().await?.channel;
    ///
    /// let frozen = broker.faults().freeze();
    /// let mut declaring = channel.declare_queue(QueueDeclare::new("orders".try_into()?));
    /// assert!((&mut declaring).now_or_never().is_none(), "there is no answer");
    /// assert_eq!(broker.queues("*").len(), 0, "nothing was heard of it");
    ///
    /// drop(frozen);
    /// declaring.await?;
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn freeze(self) -> FaultGuard {
        self.begin(Fault::Freeze)
    }

    /// Delays everything that the broker sends by `delay`, in order, and every login as well: with
    /// `tokio::time::pause` this takes no real time. Everything in flight when the guard is dropped
    /// arrives then.
    ///
    /// Can be limited to connections. Several delays add up. Tokio's timers are exact to a
    /// millisecond.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// use std::time::Duration;
    ///
    /// use mooq_core::{Endpoint, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    /// use tokio::time::Instant;
    ///
    /// let broker = InMemoryBroker::start();
    /// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    /// let channel = opened.connection.open_channel().await?.channel;
    ///
    /// let _slow = broker.faults().slow(Duration::from_secs(5));
    /// let asked = Instant::now();
    /// channel.declare_queue(QueueDeclare::new("orders".try_into()?)).await?;
    /// assert!(asked.elapsed() >= Duration::from_secs(5));
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn slow(self, delay: Duration) -> FaultGuard {
        self.begin(Fault::Slow(delay))
    }
}
