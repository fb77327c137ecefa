//! A test's broker, for users: they get a broker for each test without mooq-conformance, whose
//! brokers are for its scenarios.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use mooq_client::{ConnectOptions, Connection};
#[cfg(feature = "rabbit")]
use mooq_core::Scheme;
use mooq_core::{Endpoint, Result, Transport, VirtualHost};
use mooq_memory::{InMemoryBroker, Options, Policy, Timeline};
#[cfg(feature = "server")]
use mooq_server::Server;

use crate::choice::{self, Choice};
#[cfg(feature = "rabbit")]
use crate::rabbitmq::OwnVhost;
use crate::report::{self, Wanted};
#[cfg(feature = "server")]
use crate::socket;

/// A broker that one test has to itself: one in memory, or a virtual host of a RabbitMQ, depending
/// on `MOOQ_TEST_BROKER`.
///
/// Clones are the same broker. When the last one is dropped, the broker is deleted with its
/// contents. If it is in memory and its thread panics meanwhile, as the thread of a test that fails
/// does, the last events of the broker are printed: see [`Timeline`]. `#[mooq::test]` prints them for
/// every failure.
///
/// # Examples
/// ```test_harness
/// use mooq::testing::TestBroker;
///
/// #[mooq::test]
/// async fn two_services_meet(broker: TestBroker) -> mooq::Result<()> {
///     let one = mooq::connect(&broker).await?.create_channel().await?;
///     // A service that wants a URL.
///     let other = mooq::connect(broker.url()).await?.create_channel().await?;
///
///     one.declare_queue("greetings").await?;
///     other.publish("", "hello").routing_key("greetings").await?;
///     assert_eq!(one.get_one::<String>("greetings").await?.ack().await?, "hello");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct TestBroker {
    inner: Arc<Inner>,
}

struct Inner {
    /// URL for services.
    url: String,
    /// Endpoint for this library.
    endpoint: Endpoint,
    place: Place,
    /// The last events of an in-memory broker, unless `MOOQ_TEST_TIMELINE` is off.
    timeline: Option<Timeline>,
    /// True if the timeline was printed, or need not be.
    is_told: AtomicBool,
    /// The socket of an in-memory broker, which closes with the broker.
    #[cfg(feature = "server")]
    _socket: Option<Server>,
}

enum Place {
    Memory(InMemoryBroker),
    #[cfg(feature = "rabbit")]
    RabbitMq(Arc<OwnVhost>),
}

impl TestBroker {
    /// Starts a new broker, of the kind that `MOOQ_TEST_BROKER` names, for tests that have an
    /// attribute other than `#[mooq::test]`.
    ///
    /// Blocks its thread: in memory for some microseconds, on RabbitMQ for the time that the
    /// creation of a virtual host takes, and the first time until the container has started.
    ///
    /// # Errors
    /// `InvalidArgument` if the variable has an unknown value, or one whose feature is not compiled
    /// in; `InvalidUrl`; `ConnectFailed` if RabbitMQ cannot be started or its management
    /// plugin does not answer.
    pub fn start() -> Result<Self> {
        Self::start_for("test", choice::memory_options()?, false)
    }

    /// Starts a broker as [`start`](Self::start) does, with an `amqp://` URL: see
    /// [`Test::wire`](crate::Test::wire).
    ///
    /// # Errors
    /// Those of [`start`](Self::start), and `ConnectFailed` if there is no port to listen on.
    pub fn start_wire() -> Result<Self> {
        Self::start_for("test", choice::memory_options()?, true)
    }

    /// Starts a broker for the test of this name, in memory with these options.
    pub(crate) fn start_for(name: &str, options: Options, wire: bool) -> Result<Self> {
        match Choice::from_env()? {
            Choice::Memory => Self::start_in_memory(options, wire),
            Choice::Server => Self::start_server(options),
            #[cfg(feature = "rabbit")]
            choice => {
                let vhost = OwnVhost::create(&choice, name)?;
                let url = vhost.url().to_owned();
                Self::at(url, Place::RabbitMq(Arc::new(vhost)))
            }
            #[cfg(not(feature = "rabbit"))]
            _ => {
                let _ = name;
                Err(missing_feature("rabbit"))
            }
        }
    }

    /// Starts an in-memory broker, on a socket too if services need one.
    pub(crate) fn start_in_memory(options: Options, wire: bool) -> Result<Self> {
        let (broker, url) = in_memory(options);
        match wire {
            false => Self::at(url, Place::Memory(broker)),
            #[cfg(feature = "server")]
            true => Self::on_socket(broker, Some(&url)),
            #[cfg(not(feature = "server"))]
            true => Err(missing_feature("server")),
        }
    }

    /// Starts an in-memory broker that tests reach by a socket alone.
    #[cfg(all(feature = "server", feature = "rabbit"))]
    fn start_server(options: Options) -> Result<Self> {
        let (broker, _) = in_memory(options);
        Self::on_socket(broker, None)
    }

    #[cfg(not(all(feature = "server", feature = "rabbit")))]
    fn start_server(_: Options) -> Result<Self> {
        let missing = if cfg!(feature = "rabbit") {
            "server"
        } else {
            "rabbit"
        };
        Err(missing_feature(missing))
    }

    /// Opens a socket for services. This library connects to `own_url`, or else to the socket.
    #[cfg(feature = "server")]
    fn on_socket(broker: InMemoryBroker, own_url: Option<&str>) -> Result<Self> {
        let socket = socket::listen(&broker)?;
        let url = socket.url();
        let endpoint = own_url.unwrap_or(&url).parse()?;
        let inner = Arc::new(Inner {
            url,
            endpoint,
            timeline: timeline(&broker)?,
            is_told: AtomicBool::new(false),
            place: Place::Memory(broker),
            _socket: Some(socket),
        });
        Ok(Self { inner })
    }

    fn at(url: String, place: Place) -> Result<Self> {
        let endpoint = url.parse()?;
        let inner = Arc::new(Inner {
            url,
            endpoint,
            timeline: match &place {
                Place::Memory(broker) => timeline(broker)?,
                #[cfg(feature = "rabbit")]
                Place::RabbitMq(_) => None,
            },
            is_told: AtomicBool::new(false),
            place,
            #[cfg(feature = "server")]
            _socket: None,
        });
        Ok(Self { inner })
    }

    /// Opens a connection for an argument of a test.
    pub(crate) async fn open(&self) -> Result<Connection> {
        Connection::open(self.transport(), self.options()).await
    }

    /// The transport that leads to the broker's options.
    #[doc(hidden)]
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        match &self.inner.place {
            #[cfg(feature = "rabbit")]
            Place::Memory(_) if self.inner.endpoint.scheme == Scheme::Amqp => {
                Arc::new(mooq_rabbit::RabbitTransport)
            }
            Place::Memory(broker) => Arc::new(broker.transport()),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(_) => Arc::new(mooq_rabbit::RabbitTransport),
        }
    }

    /// Options to connect to the broker, to which a name or a deadline can be added.
    pub fn options(&self) -> ConnectOptions {
        self.inner.endpoint.clone().into()
    }

    /// URL of the broker, for a service that connects by itself, with user, password and virtual
    /// host: `amqp://…` on RabbitMQ and in a [wire](crate::Test::wire) test, `memory://…` otherwise.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The broker's virtual host: `/` in memory, one of the test's own on RabbitMQ.
    #[must_use]
    pub fn vhost(&self) -> &VirtualHost {
        &self.inner.endpoint.vhost
    }

    /// Returns true if the broker is in memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.memory().is_some()
    }

    /// The in-memory broker, or `None` on RabbitMQ: for checks that are only possible in memory, in
    /// addition to those on both.
    #[must_use]
    pub fn memory(&self) -> Option<&InMemoryBroker> {
        match &self.inner.place {
            Place::Memory(broker) => Some(broker),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(_) => None,
        }
    }

    /// Sets a policy of the broker's virtual host, in place of a policy of the same name
    /// ([policies](https://www.rabbitmq.com/docs/policies)). The policy also applies to existing
    /// queues and exchanges.
    ///
    /// # Errors
    /// `InvalidArgument` if the policy has a setting that the broker's version of RabbitMQ does not
    /// know, or a setting that is not text, a number or a boolean; `ConnectFailed` if
    /// RabbitMQ's management plugin does not answer.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the policy may have been set or not.
    ///
    /// # Examples
    /// ```test_harness
    /// use mooq::testing::TestBroker;
    /// use mooq::memory::Policy;
    /// use mooq::{Channel, ErrorKind, FieldTable};
    ///
    /// #[mooq::test]
    /// async fn a_full_queue_refuses(broker: TestBroker, chan: Channel) -> mooq::Result<()> {
    ///     let full = FieldTable::new().with("max-length", 1)?.with("overflow", "reject-publish")?;
    ///     broker.set_policy("bounded", Policy::new("^orders$", &full)?).await?;
    ///     chan.declare_queue("orders").await?;
    ///     chan.publish("", "a pencil").routing_key("orders").await?;
    ///
    ///     let refused = chan.publish("", "a pen").routing_key("orders").await;
    ///     assert_eq!(refused.unwrap_err().kind(), ErrorKind::Nacked);
    ///     Ok(())
    /// }
    /// ```
    pub async fn set_policy(&self, name: &str, policy: Policy) -> Result<()> {
        match &self.inner.place {
            Place::Memory(broker) => broker.set_policy(self.vhost(), name, policy),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(vhost) => {
                let name = name.to_owned();
                ask(vhost, move |vhost| vhost.set_policy(&name, &policy)).await
            }
        }
    }

    /// Removes a policy of the broker's virtual host, if one of this name exists.
    ///
    /// # Errors
    /// `ConnectFailed` if RabbitMQ's management plugin does not answer.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the policy may have been removed or not.
    pub async fn clear_policy(&self, name: &str) -> Result<()> {
        match &self.inner.place {
            Place::Memory(broker) => broker.clear_policy(self.vhost(), name),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(vhost) => {
                let name = name.to_owned();
                ask(vhost, move |vhost| vhost.clear_policy(&name)).await
            }
        }
    }

    /// Adds a user of the test's own, with full permissions in the broker's virtual host until
    /// [`TestUser::set_permissions`] changes them. The user is deleted with the broker.
    ///
    /// All virtual hosts of a RabbitMQ share their users, so the user has a longer name there:
    /// [`TestUser::name`].
    ///
    /// # Errors
    /// `ConnectFailed` if RabbitMQ refuses the user or its management plugin does not answer.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the user may have been added or not.
    ///
    /// # Examples
    /// ```test_harness
    /// use mooq::ErrorKind;
    /// use mooq::testing::TestBroker;
    ///
    /// #[mooq::test]
    /// async fn billing_declares_its_own_queues(broker: TestBroker) -> mooq::Result<()> {
    ///     let billing = broker.add_user("billing").await?;
    ///     billing.set_permissions("^billing-", ".*", ".*").await?;
    ///
    ///     let conn = mooq::connect(billing.options()).await?;
    ///     let chan = conn.create_channel().await?;
    ///     chan.declare_queue("billing-orders").await?;
    ///     let refused = chan.declare_queue("orders").await.unwrap_err();
    ///     assert_eq!(refused.kind(), ErrorKind::AccessRefused);
    ///     Ok(())
    /// }
    /// ```
    pub async fn add_user(&self, name: &str) -> Result<TestUser> {
        let mut endpoint = self.inner.endpoint.clone();
        endpoint.credentials.password = "secret".into();
        endpoint.credentials.username = match &self.inner.place {
            Place::Memory(broker) => {
                broker.add_user(name, endpoint.credentials.password.as_str());
                name.to_owned()
            }
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(vhost) => {
                let (name, password) = (name.to_owned(), endpoint.credentials.password.clone());
                ask(vhost, move |vhost| vhost.add_user(&name, &password)).await?
            }
        };
        let user = TestUser {
            broker: self.clone(),
            endpoint,
        };
        user.set_permissions(".*", ".*", ".*").await?;
        Ok(user)
    }

    /// Stops the timeline, so that it ends with what has led to the failure.
    pub(crate) fn stop_timeline(&self) {
        if let Some(timeline) = &self.inner.timeline {
            timeline.stop();
        }
    }

    /// Prints the timeline, and writes it to a file if `file` names the test.
    pub(crate) fn print_timeline(&self, wanted: Wanted, file: Option<&str>) {
        self.inner.is_told.store(true, Ordering::Relaxed);
        if let Some(timeline) = &self.inner.timeline {
            report::print(timeline, wanted, file);
        }
    }

    /// Ends the broker, even if a test that hangs still has it.
    pub(crate) fn end(&self) {
        match &self.inner.place {
            // Its socket hangs up on clients then.
            Place::Memory(broker) => broker.close(),
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(vhost) => vhost.delete(),
        }
    }
}

/// The last events of a broker from now on, if they are to be printed.
fn timeline(broker: &InMemoryBroker) -> Result<Option<Timeline>> {
    let wanted = Wanted::from_env()?;
    Ok((!wanted.is_off()).then(|| broker.timeline(report::KEPT)))
}

impl Drop for Inner {
    fn drop(&mut self) {
        if thread::panicking()
            && !*self.is_told.get_mut()
            && let Some(timeline) = &self.timeline
            && let Ok(wanted) = Wanted::from_env()
        {
            report::print(timeline, wanted, None);
        }
    }
}

/// An in-memory broker with an address, so that services that connect by URL find it.
fn in_memory(options: Options) -> (InMemoryBroker, String) {
    static STARTED: AtomicU64 = AtomicU64::new(1);
    let host = format!("mooq-test-{}", STARTED.fetch_add(1, Ordering::Relaxed));
    let broker = InMemoryBroker::with_options(&host, 5672, options);
    broker.run();
    (broker, format!("memory://{host}:5672"))
}

/// A user of a test's own, created by [`TestBroker::add_user`].
#[derive(Debug, Clone)]
pub struct TestUser {
    broker: TestBroker,
    endpoint: Endpoint,
}

impl TestUser {
    /// The user's name at the broker, also in the broker's errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.endpoint.credentials.username
    }

    /// Options to connect as this user.
    pub fn options(&self) -> ConnectOptions {
        self.endpoint.clone().into()
    }

    /// Sets the user's permissions in the test's virtual host, by three regular expressions for the
    /// names of queues and exchanges: those that the user may create and delete, publish to or
    /// bind, and consume or bind from ([access
    /// control](https://www.rabbitmq.com/docs/access-control#authorisation)). An empty expression
    /// matches no name. Call this before the user connects: an open channel keeps the permissions
    /// that it has used, until it has been idle for a second.
    ///
    /// # Errors
    /// `InvalidArgument` if one of them is not a regular expression; `ConnectFailed` if
    /// RabbitMQ's management plugin does not answer.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the permissions may have been set or not.
    pub async fn set_permissions(&self, configure: &str, write: &str, read: &str) -> Result<()> {
        match &self.broker.inner.place {
            Place::Memory(broker) => {
                broker.set_permissions(self.name(), self.broker.vhost(), configure, write, read)
            }
            #[cfg(feature = "rabbit")]
            Place::RabbitMq(vhost) => {
                let user = self.name().to_owned();
                let limits = [configure, write, read].map(str::to_owned);
                ask(vhost, move |vhost| {
                    vhost.set_permissions(&user, limits.each_ref().map(String::as_str))
                })
                .await
            }
        }
    }
}

/// Calls RabbitMQ's management plugin, which blocks a thread.
#[cfg(feature = "rabbit")]
async fn ask<T: Send + 'static>(
    vhost: &Arc<OwnVhost>,
    ask: impl FnOnce(&OwnVhost) -> Result<T> + Send + 'static,
) -> Result<T> {
    let vhost = Arc::clone(vhost);
    let asked = tokio::task::spawn_blocking(move || ask(&vhost)).await;
    asked.unwrap_or_else(|err| std::panic::resume_unwind(err.into_panic()))
}

/// An error for a broker that needs a feature that is off.
#[cfg(not(all(feature = "server", feature = "testcontainers")))]
pub(crate) fn missing_feature(feature: &str) -> mooq_core::Error {
    mooq_core::Error::new(
        mooq_core::ErrorKind::InvalidArgument,
        format!(
            "{} asks for what needs mooq's feature '{feature}', which is not compiled in: add it to \
             mooq's features in [dev-dependencies]",
            choice::VARIABLE
        ),
    )
}

impl fmt::Debug for TestBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint's text leaves out the password, the URL's does not.
        f.debug_tuple("TestBroker")
            .field(&format_args!("{}", self.inner.endpoint))
            .finish()
    }
}
