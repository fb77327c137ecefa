//! A test's broker.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mooq_client::{ConnectOptions, Connection};
use mooq_core::{Endpoint, IntoChecked, Result, Scheme, Transport, VirtualHost};
use mooq_memory::{InMemoryBroker, Options};

use crate::choice::Choice;
#[cfg(feature = "rabbit")]
use crate::rabbitmq::OwnVhost;

/// A broker that one test has to itself: one in memory, or a virtual host of a RabbitMQ, whichever
/// `MOOQ_TEST_BROKER` names.
///
/// Clones are the same broker. When the last one is dropped it goes, with all that is in it.
///
/// # Examples
/// ```test_harness
/// use mooq::testing::TestBroker;
///
/// #[mooq::test]
/// async fn two_services_meet(broker: TestBroker) -> mooq::Result<()> {
///     let one = broker.connect().await?.create_channel().await?;
///     // A service that wants a URL.
///     let other = mooq::connect(broker.url()).await?.create_channel().await?;
///
///     one.declare_queue("greetings").await?;
///     other.publish("", "hello").routing_key("greetings").await?;
///     assert_eq!(one.get::<String>("greetings").await?.ack().await?, "hello");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct TestBroker {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    endpoint: Endpoint,
    place: Place,
}

enum Place {
    Memory(InMemoryBroker),
    #[cfg(feature = "rabbit")]
    RabbitMq(OwnVhost),
}

impl TestBroker {
    /// A fresh broker where `MOOQ_TEST_BROKER` says, for tests that have another attribute than
    /// `#[mooq::test]`.
    ///
    /// Blocks its thread: in memory for some microseconds, on RabbitMQ for the time that a virtual
    /// host takes, and the first time until the container has started.
    ///
    /// # Errors
    /// `InvalidArgument` if the variable names nothing known, or something whose feature is not
    /// compiled in; `InvalidUrl`; `BrokerConnectionError` if RabbitMQ cannot be started or its
    /// management plugin does not answer.
    pub fn start() -> Result<Self> {
        Self::start_for("test", Options::default())
    }

    /// The same for the test of this name, in memory with these options.
    pub(crate) fn start_for(name: &str, options: Options) -> Result<Self> {
        match Choice::from_env()? {
            Choice::Memory => Self::start_in_memory(options),
            #[cfg(feature = "rabbit")]
            choice => {
                let vhost = OwnVhost::create(&choice, name)?;
                let url = vhost.url().to_owned();
                Self::at(url, Place::RabbitMq(vhost))
            }
            #[cfg(not(feature = "rabbit"))]
            _ => {
                let _ = name;
                Err(missing_feature("rabbit"))
            }
        }
    }

    fn start_in_memory(options: Options) -> Result<Self> {
        static STARTED: AtomicU64 = AtomicU64::new(1);
        // An address, so that services find it which connect by URL.
        let host = format!("mooq-test-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let broker = InMemoryBroker::with_options(&host, 5672, options);
        broker.run();
        Self::at(format!("memory://{host}:5672"), Place::Memory(broker))
    }

    fn at(url: String, place: Place) -> Result<Self> {
        let endpoint = url.parse()?;
        let inner = Arc::new(Inner {
            url,
            endpoint,
            place,
        });
        Ok(Self { inner })
    }

    /// Connects to it.
    ///
    /// # Errors
    /// As [`Connection::open`].
    ///
    /// # Cancel safety
    /// Dropped midway, no connection stays open.
    pub async fn connect(&self) -> Result<Connection> {
        self.connect_with(self.options()).await
    }

    /// Connects to it with these options, which begin with [`Self::options`].
    ///
    /// # Errors
    /// As [`Connection::open`].
    ///
    /// # Cancel safety
    /// Dropped midway, no connection stays open.
    pub async fn connect_with(
        &self,
        options: impl IntoChecked<ConnectOptions>,
    ) -> Result<Connection> {
        Connection::open(self.transport(), options).await
    }

    fn transport(&self) -> Arc<dyn Transport> {
        match &self.inner.place {
            Place::Memory(broker) => Arc::new(broker.transport()),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(_) => Arc::new(mooq_rabbit::RabbitTransport),
        }
    }

    /// How to connect to it, for a name or a deadline to be added.
    pub fn options(&self) -> ConnectOptions {
        self.inner.endpoint.clone().into()
    }

    /// Where it is, for a service that connects by itself: `memory://…` or `amqp://…`, with user,
    /// password and virtual host.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Its virtual host: `/` in memory, one of the test's own on RabbitMQ.
    #[must_use]
    pub fn vhost(&self) -> &VirtualHost {
        &self.inner.endpoint.vhost
    }

    /// Whether it is in memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.inner.endpoint.scheme == Scheme::Memory
    }

    /// The in-memory broker, unless this is RabbitMQ: for a look that only a test in memory can
    /// have, beside what it checks on both.
    #[must_use]
    pub fn memory(&self) -> Option<&InMemoryBroker> {
        match &self.inner.place {
            Place::Memory(broker) => Some(broker),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(_) => None,
        }
    }

    /// Ends it, although a test that hangs still has it.
    pub(crate) fn end(&self) {
        match &self.inner.place {
            Place::Memory(broker) => broker.close(),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(vhost) => vhost.delete(),
        }
    }
}

/// What was asked for needs a feature that is off.
#[cfg(not(feature = "testcontainers"))]
pub(crate) fn missing_feature(feature: &str) -> mooq_core::Error {
    mooq_core::Error::new(
        mooq_core::ErrorKind::InvalidArgument,
        format!(
            "{} asks for what needs mooq's feature '{feature}', which is not compiled in: add it to \
             mooq's features in [dev-dependencies]",
            crate::choice::VARIABLE
        ),
    )
}

impl fmt::Debug for TestBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint keeps its password to itself, the URL does not.
        f.debug_tuple("TestBroker")
            .field(&format_args!("{}", self.inner.endpoint))
            .finish()
    }
}
