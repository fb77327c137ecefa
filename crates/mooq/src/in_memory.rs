//! Connecting to an in-memory broker by its handle.

use std::future::Future;
use std::sync::Arc;

use mooq_client::{ConnectOptions, Connection};
use mooq_core::{Result, Scheme};
use mooq_memory::InMemoryBroker;

/// Connects straight to an [`InMemoryBroker`], without a URL.
///
/// The trait is here and not with the broker: `mooq-memory` is a transport, and knows nothing of
/// the [`Connection`] above it.
///
/// # Examples
/// ```
/// use mooq::{ConnectInMemory, InMemoryBroker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// let broker = InMemoryBroker::start();
/// let one = broker.connect().await?.create_channel().await?;
/// let other = broker.connect().await?.create_channel().await?;
///
/// one.declare_queue("greetings").await?;
/// other.publish("", "hello").routing_key("greetings").await?;
/// assert_eq!(one.get_one::<String>("greetings").await?.ack().await?, "hello");
/// # Ok(())
/// # }
/// ```
pub trait ConnectInMemory: sealed::Sealed {
    /// Connects to this broker with the default options.
    ///
    /// # Errors
    /// `BrokerConnectionError` if the broker is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no connection stays open.
    fn connect(&self) -> impl Future<Output = Result<Connection>> + Send;

    /// Connects to this broker with `options`; their transport, host and port are ignored.
    ///
    /// # Errors
    /// `BrokerConnectionError` if the broker is closed, `AuthenticationFailed`,
    /// `VirtualHostNotFound`; the first error that a setter found.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, no connection stays open.
    fn connect_with(
        &self,
        options: ConnectOptions,
    ) -> impl Future<Output = Result<Connection>> + Send;
}

impl ConnectInMemory for InMemoryBroker {
    async fn connect(&self) -> Result<Connection> {
        self.connect_with(ConnectOptions::new()).await
    }

    async fn connect_with(&self, options: ConnectOptions) -> Result<Connection> {
        let options = options.broker(Scheme::Memory);
        Connection::open(Arc::new(self.transport()), options).await
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for mooq_memory::InMemoryBroker {}
}
