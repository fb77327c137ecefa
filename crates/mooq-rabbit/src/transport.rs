//! The transport itself.

use async_trait::async_trait;
use mooq_core::{Endpoint, OpenedConnection, Result, Transport};
use tokio::runtime::Handle;

use crate::open;

/// Opens connections to RabbitMQ, for endpoints with the schemes `amqp` and `amqps`.
///
/// # Errors
/// [`open`](Transport::open) fails with the kinds that the trait names. `InvalidArgument` stands
/// for a heartbeat under 2 seconds, and for files of certificates or keys that cannot be used;
/// `amqps` is `UnsupportedScheme` without the feature `tls`. RabbitMQ is silent about a login that
/// it refuses: after a second, or half of the [`connect_timeout`](Endpoint::connect_timeout) if
/// that is less, it is asked on another connection, and the error has RabbitMQ's words.
///
/// # Threads
/// Connections run on threads of this crate's own, which start with the first connection: as many
/// as the machine has cores, and 4 at most, with 256 MiB of address space each for the stack, of
/// which the system provides only the part that is used. So connections outlive the runtime that
/// they were opened on.
///
/// # Cancel safety
/// Dropping the future of `open` abandons the attempt and leaves no connection behind.
///
/// ```
/// use mooq_core::{Endpoint, ErrorKind, Transport};
/// use mooq_rabbit::RabbitTransport;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let endpoint: Endpoint = "amqps://localhost?cacertfile=missing.pem".parse().unwrap();
/// let err = RabbitTransport.open(&endpoint).await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::InvalidArgument);
/// # });
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RabbitTransport;

#[async_trait]
impl Transport for RabbitTransport {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        open::open(endpoint).await
    }
}

/// Like [`RabbitTransport`], on a runtime that the caller chooses: for this crate's tests, which
/// count its tasks.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct OnRuntime(pub Handle);

#[async_trait]
impl Transport for OnRuntime {
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenedConnection> {
        open::open_on(&self.0, endpoint).await
    }
}
