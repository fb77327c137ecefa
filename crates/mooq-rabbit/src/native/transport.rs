//! The transport itself.

use async_trait::async_trait;
use mooq_core::{Endpoint, OpenedConnection, Result, Transport};
use tokio::runtime::Handle;

use super::open;

/// Opens connections to RabbitMQ without amqprs, for endpoints with the schemes `amqp` and `amqps`.
///
/// Publishes and settlements are taken without waiting; while more than 1 MiB of them is not written
/// yet, a publish returns [`Handoff::Full`](mooq_core::Handoff::Full). Acks that follow one another
/// are sent as one.
///
/// # Errors
/// [`open`](Transport::open) fails with the kinds that the trait names. `InvalidArgument` stands
/// for a heartbeat under 2 seconds, and for files of certificates or keys that cannot be used;
/// `amqps` is `UnsupportedScheme` without the feature `tls`. A refused login is known at once, in
/// RabbitMQ's words. A peer that does not keep to AMQP 0-9-1 ends a connection with
/// `ConnectionLost`, and the error's source names the violation.
///
/// # Threads
/// Connections run on threads of this crate's own, which start with the first connection: as many
/// as the machine has cores, and 4 at most. So connections outlive the runtime that they were
/// opened on, and stay alive while its threads are busy. Handles may be used and dropped anywhere.
///
/// # Cancel safety
/// Dropping the future of `open` abandons the attempt and leaves no connection behind.
///
/// ```
/// use mooq_core::Transport;
/// use mooq_memory::InMemoryBroker;
/// use mooq_rabbit::NativeTransport;
/// use mooq_server::Listen;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let broker = InMemoryBroker::start();
/// let server = broker.listen("127.0.0.1:0").await?;
///
/// let endpoint = server.url().parse()?;
/// let opened = NativeTransport.open(&endpoint).await?;
/// let channel = opened.connection.open_channel().await?.channel;
/// channel.declare_queue(mooq_core::QueueDeclare::new("orders".try_into()?)).await?;
/// assert_eq!(broker.queues("orders").len(), 1);
/// opened.connection.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeTransport;

#[async_trait]
impl Transport for NativeTransport {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        open::open(endpoint).await
    }
}

/// Like [`NativeTransport`], on a runtime that the caller chooses: for this crate's tests, which
/// pause its clock.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct NativeOnRuntime(pub Handle);

#[async_trait]
impl Transport for NativeOnRuntime {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        open::open_on(&self.0, endpoint).await
    }
}
