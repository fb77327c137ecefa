//! Connecting: the choice of the transport, by a URL's scheme or by the broker itself.

use std::sync::Arc;

use mooq_client::{ConnectOptions, Connection};
use mooq_core::{Endpoint, Error, ErrorKind, Result, Scheme, Transport};
#[cfg(feature = "memory")]
use mooq_memory::InMemoryBroker;
use mooq_pool::PoolBuilder;
#[cfg(feature = "test")]
use mooq_test::TestBroker;

/// Connects to a broker: by URL to RabbitMQ (`amqp://…`) or to a broker in this process
/// (`memory://…`), or to an in-memory broker itself.
///
/// See [`ConnectTo`] for the arguments, [`Endpoint`](crate::Endpoint) for the parts of a URL.
///
/// # Errors
/// `InvalidUrl`; `UnsupportedScheme`, also for a scheme whose feature is not compiled in;
/// `ConnectFailed`, `TlsFailed`, `AuthenticationFailed`, `VirtualHostNotFound`, each naming
/// host and port.
///
/// # Cancel safety
/// If the future is dropped midway, no connection stays open.
///
/// # Examples
/// ```
/// # #[cfg(feature = "memory")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq::memory::InMemoryBroker;
///
/// // A broker that belongs to one test is connected to by itself,
/// let broker = InMemoryBroker::start();
/// let conn = mooq::connect(&broker).await?;
/// conn.close().await?;
///
/// // one with an address by URL, as RabbitMQ is.
/// let broker = InMemoryBroker::new("localhost", 5672);
/// broker.run();
/// let conn = mooq::connect("memory://localhost:5672").await?;
/// conn.close().await?;
///
/// let err = mooq::connect("memory://elsewhere:5672").await.unwrap_err();
/// assert_eq!(err.kind(), mooq::ErrorKind::ConnectFailed);
/// # Ok::<(), mooq::Error>(())
/// # }).unwrap();
/// ```
pub async fn connect(to: impl ConnectTo) -> Result<Connection> {
    let Target {
        transport,
        options,
        opened,
    } = to.target()?;
    let connection = Connection::open(transport, options).await?;
    opened.into_iter().for_each(|then| then(&connection));
    Ok(connection)
}

/// Opens a pool of connections to a broker, of which some publish and others consume, so that an
/// alarm of the broker stops only publishers: see [`Pool`](crate::Pool).
///
/// The arguments are those of [`connect`]. Nothing happens until the builder is awaited.
///
/// # Examples
/// ```
/// # #[cfg(feature = "memory")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let broker = mooq::memory::InMemoryBroker::start();
/// let pool = mooq::pool(&broker).publishers(2).consumers(2).await?;
///
/// let chan = pool.create_channel().await?;
/// chan.declare_queue("orders").await?;
/// pool.publish("", &7).routing_key("orders").await?;
/// assert_eq!(chan.get_one::<i32>("orders").await?.ack().await?, 7);
/// # Ok::<(), mooq::Error>(())
/// # }).unwrap();
/// ```
pub fn pool(to: impl ConnectTo) -> PoolBuilder {
    match to.target() {
        Ok(target) => PoolBuilder::over(target.transport, target.options).once_open(target.opened),
        Err(err) => PoolBuilder::to(Err(err)),
    }
}

/// Argument of [`connect`] and [`pool`]: a URL, [`ConnectOptions`], an [`Endpoint`], or, with the
/// features `memory` and `test`, a reference to an `InMemoryBroker` or a `TestBroker`. With the features
/// `metrics` and `otel`, `metrics::counted` and `otel::traced` are around one of these.
///
/// To connect over another [transport](mooq_core::Transport), open the connection with it:
///
/// ```no_run
/// # #[cfg(feature = "native")]
/// # async fn example() -> mooq::Result<()> {
/// use std::sync::Arc;
///
/// use mooq::{ConnectOptions, Connection, NativeTransport};
///
/// let options = ConnectOptions::new().host("rabbit.example");
/// let conn = Connection::open(Arc::new(NativeTransport), options).await?;
/// # Ok(())
/// # }
/// ```
///
/// To connect to an in-memory broker with options, give the broker an address, and the options its
/// host and port; or open the connection over its transport:
/// `Connection::open(Arc::new(broker.transport()), options)`.
///
/// The trait is sealed. It is here and not with the brokers, which are below the [`Connection`].
pub trait ConnectTo: sealed::Sealed {
    #[doc(hidden)]
    fn target(self) -> Result<Target>;
}

/// A broker to connect to.
#[doc(hidden)]
#[derive(Debug)]
pub struct Target {
    transport: Arc<dyn Transport>,
    options: ConnectOptions,
    /// Called with the connection once it is open.
    opened: Vec<fn(&Connection)>,
}

impl Target {
    fn new(transport: Arc<dyn Transport>, options: ConnectOptions) -> Self {
        Self {
            transport,
            options,
            opened: Vec::new(),
        }
    }
}

/// A broker to connect to with figures: made by [`metrics::counted`](crate::metrics::counted).
#[cfg(feature = "metrics")]
#[derive(Debug)]
pub struct Counted<T>(pub(crate) T);

#[cfg(feature = "metrics")]
impl<T: ConnectTo> ConnectTo for Counted<T> {
    fn target(self) -> Result<Target> {
        let mut target = self.0.target()?;
        target.transport = Arc::new(mooq_metrics::Metered::new(target.transport));
        let layer = mooq_metrics::MeteredCallbacks::default();
        target.options = target.options.callback_layer(layer);
        target.opened.push(mooq_metrics::count_events);
        Ok(target)
    }
}

/// A broker to connect to with traces: made by [`otel::traced`](crate::otel::traced).
#[cfg(feature = "otel")]
#[derive(Debug)]
pub struct Traced<T>(pub(crate) T);

#[cfg(feature = "otel")]
impl<T: ConnectTo> ConnectTo for Traced<T> {
    fn target(self) -> Result<Target> {
        let mut target = self.0.target()?;
        target.transport = Arc::new(mooq_trace::Traced::new(target.transport));
        target.options = mooq_trace::with_layers(target.options);
        target.opened.push(mooq_trace::trace_recovery);
        Ok(target)
    }
}

impl ConnectTo for ConnectOptions {
    fn target(self) -> Result<Target> {
        let transport = transport(self.endpoint()?.scheme)?;
        Ok(Target::new(transport, self))
    }
}

impl ConnectTo for Endpoint {
    fn target(self) -> Result<Target> {
        ConnectOptions::from(self).target()
    }
}

impl ConnectTo for &str {
    fn target(self) -> Result<Target> {
        ConnectOptions::try_from(self)?.target()
    }
}

impl ConnectTo for &String {
    fn target(self) -> Result<Target> {
        self.as_str().target()
    }
}

impl ConnectTo for String {
    fn target(self) -> Result<Target> {
        self.as_str().target()
    }
}

#[cfg(feature = "memory")]
impl ConnectTo for &InMemoryBroker {
    fn target(self) -> Result<Target> {
        let options = ConnectOptions::new().broker(Scheme::Memory);
        Ok(Target::new(Arc::new(self.transport()), options))
    }
}

#[cfg(feature = "test")]
impl ConnectTo for &TestBroker {
    fn target(self) -> Result<Target> {
        Ok(Target::new(self.transport(), self.options()))
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::ConnectOptions {}
    impl Sealed for super::Endpoint {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for String {}
    #[cfg(feature = "metrics")]
    impl<T: Sealed> Sealed for super::Counted<T> {}
    #[cfg(feature = "otel")]
    impl<T: Sealed> Sealed for super::Traced<T> {}
    #[cfg(feature = "memory")]
    impl Sealed for &super::InMemoryBroker {}
    #[cfg(feature = "test")]
    impl Sealed for &super::TestBroker {}
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
