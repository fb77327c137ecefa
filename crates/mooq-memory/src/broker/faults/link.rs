//! What goes between the broker and its clients slowly or not at all.

use std::time::Duration;

use super::{FaultGuard, Faults};
use crate::engine::Fault;

/// The network between.
impl Faults {
    /// Lets nothing through in either direction, while connections stay open: nothing is answered,
    /// nothing delivered or confirmed, and a login waits until the client gives up. What was sent
    /// meanwhile arrives in order when the guard is dropped.
    ///
    /// The broker itself goes on: messages expire, and clients that are not frozen are served.
    ///
    /// Heeds the limit to connections.
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

    /// Whatever the broker sends arrives so much later, in order, and a login takes as long: with
    /// `tokio::time::pause` in no time at all. What is under way when the guard is dropped arrives
    /// then.
    ///
    /// Heeds the limit to connections. Several add up. Tokio's timers are exact to a millisecond.
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
