//! Connections that end, or do not come about.

use super::{FaultGuard, Faults};
use crate::engine::Fault;

/// Connections.
impl Faults {
    /// Cuts connections without a word, as a network or a host that fails does. Says how many.
    /// They may come back at once.
    ///
    /// Heeds the limit to connections.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use mooq_core::{ConnectionEvent, Endpoint, ErrorKind, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let mut opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    ///
    /// assert_eq!(broker.faults().drop_connections(), 1);
    /// let Some(ConnectionEvent::Closed(err)) = opened.events.next().await else { panic!() };
    /// assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    /// assert!(err.reason().is_none(), "the broker did not say anything");
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn drop_connections(&self) -> usize {
        self.broker
            .shared
            .administer(|engine, now| engine.drop_connections(now, &self.scope))
    }

    /// Closes connections as `rabbitmqctl close_connection` and `close_all_connections` do: with
    /// the code 320 and `text`. Says how many. They may come back at once.
    ///
    /// Heeds the limit to connections.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use mooq_core::{ConnectionEvent, Endpoint, ErrorKind, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let mut opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    ///
    /// assert_eq!(broker.faults().close_connections("maintenance"), 1);
    /// let Some(ConnectionEvent::Closed(err)) = opened.events.next().await else { panic!() };
    /// assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    /// assert_eq!(err.reason().unwrap().text, "CONNECTION_FORCED - maintenance");
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn close_connections(&self, text: &str) -> usize {
        self.broker
            .shared
            .administer(|engine, now| engine.force_connections(now, &self.scope, text))
    }

    /// Takes no new connections, as if nothing listened. Those that are open go on.
    ///
    /// Heeds the limit to connections. It strikes once for each that is refused.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::{Endpoint, ErrorKind, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let endpoint = Endpoint::new(Scheme::Memory);
    ///
    /// let refusing = broker.faults().refuse_connections();
    /// let err = broker.transport().open(&endpoint).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::BrokerConnectionError);
    ///
    /// drop(refusing);
    /// broker.transport().open(&endpoint).await?;
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn refuse_connections(self) -> FaultGuard {
        self.begin(Fault::RefuseConnections)
    }
}
