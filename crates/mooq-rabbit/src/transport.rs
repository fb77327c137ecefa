//! The transport itself.

use async_trait::async_trait;
use mooq_core::{Endpoint, OpenedConnection, Result, Transport};

use crate::open;

/// Opens connections to RabbitMQ, for endpoints with the schemes `amqp` and `amqps`.
///
/// # Errors
/// [`open`](Transport::open) fails with the kinds that the trait names. `InvalidArgument` are a
/// heartbeat under 2 seconds, and files of certificates or keys that cannot be used; `amqps` is
/// `UnsupportedScheme` without the feature `tls`. RabbitMQ takes 3 seconds to refuse a login: with a shorter
/// [`connect_timeout`](Endpoint::connect_timeout) a wrong password looks like a broker that does
/// not answer.
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
