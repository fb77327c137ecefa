//! The shell around the engine: what lets tokio programs use it as a broker.
//!
//! The engine is under a plain mutex, which nobody holds across an `await` or while waking
//! others: [`Shared::handle`] hands a method in, spreads its effects to the mailboxes they are
//! for, and wakes their receivers once the mutex is free. So every call is done when it returns.

mod administration;
mod alarms;
mod channel;
mod connection;
mod courier;
pub mod faults;
mod idle;
mod inspection;
mod policies;
mod ports;
mod recording;
mod registry;
mod shared;
mod state;
mod timer;
mod transport;

use std::fmt;
use std::sync::Arc;

use crate::engine::{Options, Profile};
pub use alarms::AlarmGuard;
use faults::Faults;
pub use recording::Recording;
use registry::Registry;
use shared::Shared;
pub use transport::MemoryTransport;

/// A RabbitMQ in this process.
///
/// Clones are the same broker. It lives as long as one of them, or a connection to it. Messages
/// that expire and queues that do are timed by tokio's clock, so that
/// `tokio::time::pause` and `tokio::time::advance` work on the broker as well.
///
/// # Examples
/// A broker of its own for one test, which nothing else can reach:
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq_core::{Endpoint, QueueDeclare, Scheme, Transport};
/// use mooq_memory::InMemoryBroker;
///
/// let broker = InMemoryBroker::start();
/// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
/// let channel = opened.connection.open_channel().await?.channel;
/// channel.declare_queue(QueueDeclare::new("orders-new".try_into()?)).await?;
///
/// assert_eq!(broker.queues("orders-*").len(), 1);
/// # Ok::<(), mooq_core::Error>(())
/// # }).unwrap();
/// ```
///
/// One that is found by host and port, as in Python's mooq:
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq_core::{Endpoint, ErrorKind, Transport};
/// use mooq_memory::{InMemoryBroker, MemoryTransport};
///
/// let broker = InMemoryBroker::new("rabbit.example", 5672);
/// broker.run();
/// let endpoint: Endpoint = "memory://rabbit.example:5672".parse()?;
/// MemoryTransport::new().open(&endpoint).await?;
///
/// broker.close();
/// let refused = MemoryTransport::new().open(&endpoint).await.unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::BrokerConnectionError);
/// # Ok::<(), mooq_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct InMemoryBroker {
    shared: Arc<Shared>,
}

impl InMemoryBroker {
    /// A broker for `host` and `port`, not running yet.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self::with_options(host, port, Options::default())
    }

    /// A broker for `host` and `port` that is set up as `options` say, not running yet.
    #[must_use]
    pub fn with_options(host: impl Into<String>, port: u16, options: Options) -> Self {
        Self {
            shared: Shared::new(Some((host.into(), port)), options),
        }
    }

    /// A running broker that only those reach who have it: for tests, each with its own.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with_options(Options::default())
    }

    /// The same, which behaves as another version of RabbitMQ than the default 4.0.
    ///
    /// For one with a host and a port give [`Self::with_options`] the options
    /// [`of`](Options::of) the profile.
    ///
    /// # Examples
    /// What RabbitMQ 4.3 refuses and earlier versions do not:
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::{Endpoint, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::{InMemoryBroker, Profile};
    ///
    /// let mut transient = QueueDeclare::new("orders".try_into()?);
    /// transient.durable = false;
    /// for (profile, allowed) in [(Profile::V4_0, true), (Profile::V4_3, false)] {
    ///     let broker = InMemoryBroker::start_as(profile);
    ///     let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    ///     let channel = opened.connection.open_channel().await?.channel;
    ///     let declared = channel.declare_queue(transient.clone()).await;
    ///     assert_eq!(declared.is_ok(), allowed);
    /// }
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn start_as(profile: Profile) -> Self {
        Self::start_with_options(Options::of(profile))
    }

    /// The same, in which `seed` decides wherever RabbitMQ leaves something open: in what order
    /// deliveries of several queues arrive, in what batches confirms come, which of several
    /// consumers is served first, how the broker names things. The same seed decides the same way
    /// on a current-thread runtime. [`seeds`](crate::seeds) says more.
    ///
    /// For one with a host and a port give [`Self::with_options`] options with a seed.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// for seed in 0..10 {
    ///     let broker = InMemoryBroker::start_seeded(seed);
    ///     let chan = broker.connect().await?.create_channel().await?;
    ///     chan.declare_queue("orders").await?;
    ///     chan.publish("", "book").routing_key("orders").await?;
    ///     assert_eq!(chan.get::<String>("orders").await?.ack().await?, "book");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn start_seeded(seed: u64) -> Self {
        Self::start_with_options(Options {
            seed: Some(seed),
            ..Options::default()
        })
    }

    /// The same, set up as `options` say.
    #[must_use]
    pub fn start_with_options(options: Options) -> Self {
        let shared = Shared::new(None, options);
        shared.start();
        Self { shared }
    }

    /// The running broker of this host and port, if there is one.
    #[must_use]
    pub fn lookup(host: &str, port: u16) -> Option<Self> {
        let shared = Registry::global().find(host, port)?;
        Some(Self { shared })
    }

    /// Starts the broker, or starts it anew: then connections end as with [`Self::close`], and
    /// durable exchanges, durable queues and the persistent messages in them are all that is left.
    /// From here on it is found by its host and port, in place of any other that was.
    pub fn run(&self) {
        self.shared.stop();
        self.shared.start();
        if let Some((host, port)) = &self.shared.address {
            Registry::global().insert(host, *port, &self.shared);
        }
    }

    /// Stops the broker. Its connections end with the error that a RabbitMQ which shuts down
    /// gives them, and further ones are refused until [`Self::run`].
    pub fn close(&self) {
        if let Some((host, port)) = &self.shared.address {
            Registry::global().remove(host, *port, &self.shared);
        }
        self.shared.stop();
    }

    /// Whether it takes connections.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    /// What connects to this very broker, whatever host and port an endpoint names.
    #[must_use]
    pub fn transport(&self) -> MemoryTransport {
        MemoryTransport::to(self.clone())
    }

    /// What can be made to go wrong with it: [`faults`] has the list.
    #[must_use = "nothing goes wrong before a fault is chosen"]
    pub fn faults(&self) -> Faults {
        Faults::new(self.clone())
    }
}

impl fmt::Debug for InMemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryBroker")
            .field("address", &self.shared.address)
            .field("running", &self.is_running())
            .finish()
    }
}
