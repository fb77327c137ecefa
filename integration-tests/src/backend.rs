//! What scenarios run on.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use mooq_core::{Endpoint, OpenedConnection, Transport};
use mooq_memory::{InMemoryBroker, MemoryTransport, Options, Plugin, Profile};
use mooq_rabbit::RabbitTransport;
use mooq_server::{Listen, Server};
use tokio::runtime::Runtime;

use crate::container::{Image, RabbitContainer};
use crate::control::{CONSUMER_TIMEOUT, Control, DEAD_LETTER_RETRY, TICK};
use crate::version::Version;

/// The plugins with exchange kinds that every broker of the scenarios has. RabbitMQ is shipped with
/// them.
pub(crate) const PLUGINS: [Plugin; 3] = [
    Plugin::ConsistentHashExchange,
    Plugin::RandomExchange,
    Plugin::RecentHistoryExchange,
];

/// Whether RabbitMQ is connected to by mooq-rabbit's own driver, in place of amqprs. Scenarios hold
/// with either.
pub(crate) fn uses_native() -> bool {
    std::env::var("MOOQ_DRIVER").is_ok_and(|driver| driver == "native")
}

/// A sort of broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The in-memory broker.
    Memory,
    /// The in-memory broker on a socket, to which scenarios connect as to RabbitMQ.
    Wire,
    /// RabbitMQ in a container.
    RabbitMq,
}

/// The brokers of one version.
#[derive(Debug)]
pub struct Backend {
    version: Version,
    source: Source,
    /// Those read it that can share a broker, and those write it that need it for themselves.
    turn: RwLock<()>,
}

/// A scenario's time on the broker.
#[derive(Debug)]
pub enum Turn<'a> {
    /// With others.
    Shared(RwLockReadGuard<'a, ()>),
    /// Alone.
    Alone(RwLockWriteGuard<'a, ()>),
}

#[derive(Debug)]
enum Source {
    Memory {
        profile: Profile,
        /// What brokers are served on, if they are reached over the wire. It has threads of its own,
        /// so that a scenario which blocks its thread does not block its broker.
        wire: Option<Arc<Runtime>>,
    },
    RabbitMq {
        image: Image,
        /// Lines of its configuration.
        settings: &'static str,
        /// Started by the first scenario that runs, and shared by all. One that does not start is
        /// not tried again, or every scenario would wait for it in turn.
        container: Box<OnceLock<Result<RabbitContainer, String>>>,
    },
}

/// One scenario's broker.
#[derive(Debug, Clone)]
pub struct Broker {
    kind: BackendKind,
    version: Version,
    url: String,
    /// Keeps a memory broker running as long as its scenario.
    control: Control,
    /// The socket of a memory broker that is reached over the wire.
    #[expect(dead_code, reason = "the socket is open as long as this is kept")]
    server: Option<Arc<Server>>,
}

impl Backend {
    /// The in-memory broker as each version that it has a profile for.
    #[must_use]
    pub fn memory() -> Vec<Self> {
        Self::in_memory(None)
    }

    /// The same on sockets.
    ///
    /// # Panics
    /// If the system has no threads for them.
    #[must_use]
    pub fn wire() -> Vec<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("wire")
            .enable_all()
            .build();
        Self::in_memory(Some(Arc::new(runtime.expect("a tokio runtime starts"))))
    }

    fn in_memory(wire: Option<Arc<Runtime>>) -> Vec<Self> {
        let of = |profile| Self {
            version: Version::of(profile),
            source: Source::Memory {
                profile,
                wire: wire.clone(),
            },
            turn: RwLock::default(),
        };
        Profile::ALL.map(of).into()
    }

    /// RabbitMQ from these images, one for each version. Nothing is started before a scenario
    /// needs it.
    #[must_use]
    pub fn rabbitmq(images: impl IntoIterator<Item = (Version, Image)>) -> Vec<Self> {
        Self::rabbitmq_with(images, "")
    }

    /// The same with lines in RabbitMQ's configuration.
    pub(crate) fn rabbitmq_with(
        images: impl IntoIterator<Item = (Version, Image)>,
        settings: &'static str,
    ) -> Vec<Self> {
        if uses_native() {
            mooq_rabbit::use_native_for_all();
        }
        let mut backends: Vec<Self> = Vec::new();
        for (version, image) in images {
            if backends.iter().all(|other| other.version != version) {
                let container = Box::default();
                backends.push(Self {
                    version,
                    source: Source::RabbitMq {
                        image,
                        settings,
                        container,
                    },
                    turn: RwLock::default(),
                });
            }
        }
        backends
    }

    /// Which version of RabbitMQ this is or behaves as.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Waits until a scenario may use the broker, alone or with others.
    #[must_use = "the turn ends when this is dropped"]
    pub fn turn(&self, alone: bool) -> Turn<'_> {
        // A scenario that failed has left nothing behind that would matter.
        if alone {
            Turn::Alone(self.turn.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Turn::Shared(self.turn.read().unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// The broker for the scenario of this name.
    ///
    /// # Panics
    /// If its container cannot be started: the scenario cannot do without it.
    #[must_use]
    pub fn broker(&self, scenario: &str) -> Broker {
        match &self.source {
            Source::Memory { profile, wire } => {
                // The registry is the process's: each scenario's broker has a host of its own.
                let host = format!("{}::{scenario}", self.version).replace([':', '_'], "-");
                let mut options = Options::of(*profile);
                options.plugins.extend(PLUGINS);
                options.deprecated_features.transient_nonexcl_queues = Some(true);
                if scenario.starts_with("consumer_timeouts::") {
                    // No scenario lasts half an hour, in virtual time either.
                    options = options.consumer_timeout(Duration::from_millis(CONSUMER_TIMEOUT));
                    if wire.is_some() {
                        options.channel_tick_interval = Duration::from_millis(TICK);
                    }
                }
                if scenario.starts_with("quorum_kept_dead_letters::a_timer") {
                    options.dead_letter_retry_interval = Duration::from_millis(DEAD_LETTER_RETRY);
                }
                let memory = InMemoryBroker::with_options(&host, 5672, options);
                memory.run();
                match wire {
                    None => Broker {
                        kind: BackendKind::Memory,
                        version: self.version,
                        url: format!("memory://{host}:5672"),
                        control: Control::Memory(memory),
                        server: None,
                    },
                    Some(runtime) => {
                        let server = runtime.block_on(memory.listen("127.0.0.1:0"));
                        let server = server.expect("a socket opens");
                        Broker {
                            kind: BackendKind::Wire,
                            version: self.version,
                            url: server.url(),
                            control: Control::Wire(memory),
                            server: Some(Arc::new(server)),
                        }
                    }
                }
            }
            Source::RabbitMq {
                image,
                settings,
                container,
            } => {
                // As in memory. Debian's packages permit it without being told.
                let permitted = if self.version >= Version::V4_3 {
                    "deprecated_features.permit.transient_nonexcl_queues = true\n"
                } else {
                    ""
                };
                let settings = format!("{settings}{permitted}");
                match container.get_or_init(|| RabbitContainer::start_with(image, &settings)) {
                    Ok(container) => Broker {
                        kind: BackendKind::RabbitMq,
                        version: self.version,
                        url: container.url(),
                        control: container.control(),
                        server: None,
                    },
                    Err(reason) => panic!("{reason}"),
                }
            }
        }
    }

    /// Removes the container, if one was started.
    pub fn stop(self) {
        if let Source::RabbitMq { container, .. } = self.source
            && let Some(Ok(container)) = container.into_inner()
        {
            container.remove();
        }
    }
}

impl Broker {
    /// Which sort of broker this is.
    #[must_use]
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Which version of RabbitMQ it is or behaves as.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What can be done to it from outside of AMQP.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// A connection below the client runtime.
    pub async fn open_transport(&self, endpoint: &Endpoint) -> OpenedConnection {
        let opened = match self.kind {
            BackendKind::Memory => MemoryTransport::new().open(endpoint).await,
            BackendKind::Wire | BackendKind::RabbitMq => RabbitTransport.open(endpoint).await,
        };
        opened.expect("the broker takes connections")
    }
}
