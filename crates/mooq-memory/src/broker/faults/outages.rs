//! A broker that goes down as a whole.

use super::Faults;
use crate::broker::InMemoryBroker;

/// An outage of a broker, which lasts until the guard is dropped.
#[derive(Debug)]
#[must_use = "the broker is up again when this is dropped"]
pub struct Outage {
    broker: InMemoryBroker,
}

/// The broker as a whole.
impl Faults {
    /// Restarts the broker. Connections end with 320, `CONNECTION_FORCED - broker forced connection
    /// closure with reason 'shutdown'`, and clients may reconnect at once. Only durable exchanges
    /// and queues, their bindings, and the persistent messages in them survive, including unacked
    /// messages; quorum queues keep every message.
    ///
    /// Cannot be limited. [`InMemoryBroker::run`] does the same.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::{Endpoint, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let endpoint = Endpoint::new(Scheme::Memory);
    /// let opened = broker.transport().open(&endpoint).await?;
    /// let channel = opened.connection.open_channel().await?.channel;
    /// channel.declare_queue(QueueDeclare::new("durable".try_into()?)).await?;
    /// let mut transient = QueueDeclare::new("transient".try_into()?);
    /// transient.durable = false;
    /// channel.declare_queue(transient).await?;
    ///
    /// broker.faults().restart();
    /// let left: Vec<_> = broker.queues("*").into_iter().map(|queue| queue.name).collect();
    /// assert_eq!(left, ["durable"]);
    /// assert!(opened.connection.open_channel().await.is_err());
    /// broker.transport().open(&endpoint).await?;
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn restart(&self) {
        self.broker.run();
    }

    /// Stops the broker until the guard is dropped. Losses and the end of connections are as with
    /// [`Self::restart`]; new connections are refused meanwhile.
    ///
    /// Cannot be limited.
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
    /// let outage = broker.faults().stop();
    /// let err = broker.transport().open(&endpoint).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::ConnectFailed);
    ///
    /// drop(outage);
    /// broker.transport().open(&endpoint).await?;
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn stop(self) -> Outage {
        self.broker.shared.begin_outage();
        Outage {
            broker: self.broker,
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.broker.shared.end_outage();
    }
}
