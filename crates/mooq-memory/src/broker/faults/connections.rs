//! Connections that end, or cannot be opened.

use super::{FaultGuard, Faults};
use mooq_engine::Fault;

/// Connections.
impl Faults {
    /// Drops connections without a close, like a network or a host that fails. Returns the number
    /// of dropped connections. Clients may reconnect at once.
    ///
    /// Can be limited to connections.
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
            .admin(|engine, now| engine.drop_connections(now, &self.scope))
    }

    /// Closes connections as `rabbitmqctl close_connection` and `close_all_connections` do: with
    /// the code 320 and `text`. Returns the number of closed connections. Clients may reconnect at
    /// once.
    ///
    /// Can be limited to connections.
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
            .admin(|engine, now| engine.force_connections(now, &self.scope, text))
    }

    /// Refuses new connections, as if nothing listened. Open connections stay open.
    ///
    /// Can be limited to connections. The fault strikes once for each refused connection.
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
    /// assert_eq!(err.kind(), ErrorKind::ConnectFailed);
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
