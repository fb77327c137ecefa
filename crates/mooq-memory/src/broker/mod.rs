//! The shell around the engine, which lets tokio programs use it as a broker.
//!
//! The engine is under a plain mutex, which is never held across an `await` or while waking a task:
//! [`Shared::send`], [`Shared::call`] and [`Shared::send_all`] pass commands to the engine, send
//! the effects to their mailboxes, and wake the receivers once the mutex is free. So every call is
//! done when it returns.

mod administration;
mod alarms;
mod channel;
mod connection;
#[cfg(feature = "definitions")]
mod definitions;
pub mod faults;
mod idle;
mod inspection;
mod listeners;
mod mailboxes;
mod policies;
mod protocol;
mod recording;
mod registry;
mod scheduler;
mod shared;
mod state;
mod timeline;
mod timer;
mod transport;

use std::fmt;
use std::sync::Arc;

pub use alarms::AlarmGuard;
#[cfg(feature = "definitions")]
pub use definitions::password_hash;
use faults::Faults;
pub use listeners::{ListenerGuard, ListenerInfo};
use mooq_engine::{Options, Plugin, Profile};
pub use protocol::{Hold, LoginRefused, ProtocolConnection};
pub use recording::Recording;
use registry::Registry;
use shared::Shared;
pub use timeline::Timeline;
pub use transport::MemoryTransport;

/// A RabbitMQ in this process.
///
/// Clones are the same broker. The broker lives as long as one of its clones, or a connection to
/// it. The expiry of messages and queues is timed by tokio's clock, so that `tokio::time::pause`
/// and `tokio::time::advance` work on the broker as well.
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
/// A broker that is found by host and port, as in Python's mooq:
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
/// assert_eq!(refused.kind(), ErrorKind::ConnectFailed);
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

    /// A broker for `host` and `port` with these `options`, not running yet.
    #[must_use]
    pub fn with_options(host: impl Into<String>, port: u16, options: Options) -> Self {
        Self {
            shared: Shared::new(Some((host.into(), port)), options),
        }
    }

    /// Starts a broker that is reachable only through this handle and its clones: for tests, each
    /// with its own broker.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with_options(Options::default())
    }

    /// Starts a broker that behaves as another version of RabbitMQ than the default 4.0.
    ///
    /// For a broker with a host and a port, give [`Self::with_options`] the options
    /// [`of`](Options::of) the profile.
    ///
    /// # Examples
    /// A request for which RabbitMQ 3.10 closes the connection closes only the channel since 4.0:
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::{Endpoint, ErrorScope, ExchangeDeclare, Scheme, Transport};
    /// use mooq_memory::{InMemoryBroker, Profile};
    ///
    /// let declare = ExchangeDeclare::new("orders".try_into()?, "x-no-such-type".try_into()?);
    /// for (profile, scope) in [
    ///     (Profile::V3_10, ErrorScope::Connection),
    ///     (Profile::V4_0, ErrorScope::Channel),
    /// ] {
    ///     let broker = InMemoryBroker::start_as(profile);
    ///     let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    ///     let channel = opened.connection.open_channel().await?.channel;
    ///     let refused = channel.declare_exchange(declare.clone()).await.unwrap_err();
    ///     assert_eq!(refused.scope(), scope);
    /// }
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn start_as(profile: Profile) -> Self {
        Self::start_with_options(Options::of(profile))
    }

    /// Starts a broker in which `seed` decides everything that RabbitMQ leaves open:
    ///
    /// - the order in which the deliveries of several queues arrive, and their delay: each queue's
    ///   own deliveries to a channel stay in order;
    /// - the batches in which confirms arrive: one by one, or several as one (`multiple`), a later
    ///   one before an earlier one;
    /// - the first of several consumers of one priority to be served: then they are served in turn;
    /// - a delay of an acknowledgement to a quorum queue, so that a cancellation overtakes the
    ///   deliveries that the acknowledgement makes room for, which are requeued before the
    ///   deliveries that the consumer requeues;
    /// - the names that the broker chooses for queues and consumers.
    ///
    /// RabbitMQ's guarantees always hold. A broker without a seed decides in one plain way: all
    /// effects of a method have happened before the next method is handled.
    ///
    /// The same seed gives the same run on a current-thread runtime, as `#[tokio::test]` starts
    /// one, if the test is deterministic itself: `tokio::select!` without `biased`, iteration over
    /// a `HashMap`, and a clock that is not paused are other sources of chance.
    /// `mooq::testing::for_each_seed` and `#[mooq::test(seeds = 0..50)]` run a test with many seeds
    /// and name the one that failed.
    ///
    /// For a broker with a host and a port, give [`Self::with_options`] options with a seed.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// for seed in 0..10 {
    ///     let broker = InMemoryBroker::start_seeded(seed);
    ///     let chan = mooq::connect(&broker).await?.create_channel().await?;
    ///     chan.declare_queue("orders").await?;
    ///     chan.publish("", "book").routing_key("orders").await?;
    ///     assert_eq!(chan.get_one::<String>("orders").await?.ack().await?, "book");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn start_seeded(seed: u64) -> Self {
        let mut options = Options::default();
        options.seed = Some(seed);
        Self::start_with_options(options)
    }

    /// Starts a broker with plugins of RabbitMQ enabled, which add exchange kinds.
    ///
    /// For a broker of another version or with a seed, give [`Self::start_with_options`] options
    /// with [`plugin`](Options::plugin).
    ///
    /// # Examples
    /// All messages with the same key go to the same queue:
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # use mooq::ExchangeKind;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// use mooq::memory::Plugin;
    ///
    /// let broker = InMemoryBroker::start_with_plugins([Plugin::ConsistentHashExchange]);
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_exchange("orders", ExchangeKind::ConsistentHash).await?;
    /// for queue in ["orders-1", "orders-2"] {
    ///     chan.declare_queue(queue).await?;
    ///     chan.bind_queue(queue, "orders", "10").await?; // The key is a weight.
    /// }
    /// for _ in 0..5 {
    ///     chan.publish("orders", "book").routing_key("customer 7").await?;
    /// }
    /// let ready: Vec<_> = broker.queues("orders-*").iter().map(|queue| queue.ready).collect();
    /// assert!(ready == [5, 0] || ready == [0, 5]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn start_with_plugins(plugins: impl IntoIterator<Item = Plugin>) -> Self {
        let mut options = Options::default();
        options.plugins.extend(plugins);
        Self::start_with_options(options)
    }

    /// Starts a broker with these `options`.
    #[must_use]
    pub fn start_with_options(options: Options) -> Self {
        let shared = Shared::new(None, options);
        shared.start();
        Self { shared }
    }

    /// The running broker with this host and port, if there is one.
    #[must_use]
    pub fn lookup(host: &str, port: u16) -> Option<Self> {
        let shared = Registry::global().find(host, port)?;
        Some(Self { shared })
    }

    /// Starts or restarts the broker. On a restart, connections end as with [`Self::close`], and
    /// only durable exchanges, durable queues and the persistent messages in them survive. From
    /// then on the broker is found by its host and port, in place of any earlier one.
    pub fn run(&self) {
        self.shared.stop();
        self.shared.start();
        if let Some((host, port)) = &self.shared.address {
            Registry::global().insert(host, *port, &self.shared);
        }
    }

    /// Stops the broker. Its connections end with the error of a RabbitMQ that shuts down, and new
    /// ones are refused until [`Self::run`].
    pub fn close(&self) {
        if let Some((host, port)) = &self.shared.address {
            Registry::global().remove(host, *port, &self.shared);
        }
        self.shared.stop();
    }

    /// Returns true if the broker takes connections.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    /// A transport that connects to this broker, regardless of an endpoint's host and port.
    #[must_use]
    pub fn transport(&self) -> MemoryTransport {
        MemoryTransport::to(self.clone())
    }

    /// Faults that can be injected into the broker: [`faults`] has the list.
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
