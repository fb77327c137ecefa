//! Connecting by URL: the choice of the transport by the scheme.

use std::sync::Arc;

use mooq_client::{ConnectOptions, Connection};
use mooq_core::{Error, ErrorKind, IntoChecked, Result, Scheme, Transport};

/// Connects to a broker: RabbitMQ for `amqp://…`, a broker in this process for `memory://…`.
///
/// Takes a URL or [`ConnectOptions`]; see [`Endpoint`](crate::Endpoint) for the parts of a URL.
///
/// # Errors
/// `InvalidUrl`; `UnsupportedScheme`, also for a scheme whose feature is not compiled in;
/// `BrokerConnectionError`, `TlsFailed`, `AuthenticationFailed`, `VirtualHostNotFound`, each naming
/// host and port.
///
/// # Cancel safety
/// If the future is dropped midway, no connection stays open.
///
/// # Examples
/// ```
/// # #[cfg(feature = "memory")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let broker = mooq::InMemoryBroker::new("localhost", 5672);
/// broker.run();
///
/// let conn = mooq::connect("memory://localhost:5672").await?;
/// conn.close().await?;
///
/// let err = mooq::connect("memory://elsewhere:5672").await.unwrap_err();
/// assert_eq!(err.kind(), mooq::ErrorKind::BrokerConnectionError);
/// # Ok::<(), mooq::Error>(())
/// # }).unwrap();
/// ```
pub async fn connect(options: impl IntoChecked<ConnectOptions>) -> Result<Connection> {
    let options = options.into_checked()?;
    let transport = transport(options.endpoint()?.scheme)?;
    Connection::open(transport, options).await
}

fn transport(scheme: Scheme) -> Result<Arc<dyn Transport>> {
    match scheme {
        #[cfg(feature = "rabbit")]
        Scheme::Amqp | Scheme::Amqps => Ok(Arc::new(mooq_rabbit::RabbitTransport)),
        #[cfg(feature = "memory")]
        Scheme::Memory => Ok(Arc::new(mooq_memory::MemoryTransport::new())),
        #[allow(unreachable_patterns, reason = "reached when a feature is off")]
        other => Err(Error::connection(
            ErrorKind::UnsupportedScheme,
            format!(
                "{}:// needs mooq's feature '{}', which is not compiled in",
                other.as_str(),
                if other == Scheme::Memory {
                    "memory"
                } else {
                    "rabbit"
                },
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_needs_its_feature() {
        for (scheme, feature, compiled_in) in [
            (Scheme::Amqp, "'rabbit'", cfg!(feature = "rabbit")),
            (Scheme::Amqps, "'rabbit'", cfg!(feature = "rabbit")),
            (Scheme::Memory, "'memory'", cfg!(feature = "memory")),
        ] {
            match transport(scheme) {
                Ok(_) => assert!(compiled_in, "{scheme:?}"),
                Err(err) => {
                    assert!(!compiled_in, "{err}");
                    assert_eq!(err.kind(), ErrorKind::UnsupportedScheme);
                    assert!(err.to_string().contains(feature), "{err}");
                }
            }
        }
    }
}
