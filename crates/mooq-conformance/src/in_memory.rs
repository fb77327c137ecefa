//! mooq's in-memory broker, over its own transport or on a socket.

mod control;

use std::sync::Arc;
use std::time::Duration;

use mooq_core::Transport;
use mooq_memory::{InMemoryBroker, MemoryTransport, Options, Plugin, Profile};
use mooq_server::{Listen, Server};
use tokio::runtime::{Builder, Runtime};

use self::control::ControlInMemory;
use crate::backend::{Backend, Broker};
use crate::control::{CHANNEL_TICK, CONSUMER_TIMEOUT, Control, DEAD_LETTER_RETRY};
use crate::line::ClientNetwork;
use crate::version::Version;

/// The plugins with exchange kinds that every broker needs for the scenarios. They are shipped with
/// RabbitMQ.
pub const PLUGINS: [Plugin; 3] = [
    Plugin::ConsistentHashExchange,
    Plugin::RandomExchange,
    Plugin::RecentHistoryExchange,
];

/// The in-memory broker, as each version that it has a profile for.
#[must_use]
pub fn in_memory() -> Vec<Box<dyn Backend>> {
    let backend = |profile| -> Box<dyn Backend> {
        Box::new(InMemory {
            profile,
            socket: None,
        })
    };
    Profile::ALL.map(backend).into()
}

/// The in-memory broker on a socket, as each version that it has a profile for, reached over a
/// transport of AMQP. `announces_alarms` is true if the transport tells the broker that it
/// understands `connection.blocked`.
///
/// # Panics
/// If the system has no threads for the brokers.
#[must_use]
pub fn served_over(transport: Arc<dyn Transport>, announces_alarms: bool) -> Vec<Box<dyn Backend>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mooq-server")
        .enable_all()
        .build();
    let runtime = Arc::new(runtime.expect("a tokio runtime starts"));
    let backend = |profile| -> Box<dyn Backend> {
        Box::new(InMemory {
            profile,
            socket: Some(Socket {
                transport: Arc::clone(&transport),
                announces_alarms,
                runtime: Arc::clone(&runtime),
            }),
        })
    };
    Profile::ALL.map(backend).into()
}

#[derive(Debug)]
struct InMemory {
    profile: Profile,
    socket: Option<Socket>,
}

/// The transport and runtime of brokers on sockets.
#[derive(Debug)]
struct Socket {
    transport: Arc<dyn Transport>,
    announces_alarms: bool,
    /// A runtime with threads of its own: a scenario that blocks its thread must not block its
    /// broker.
    runtime: Arc<Runtime>,
}

impl Backend for InMemory {
    fn version(&self) -> Version {
        Version::of(self.profile)
    }

    fn broker(&self, scenario: &str, short_timeouts: bool) -> Arc<dyn Broker> {
        let version = self.version();
        // The registry is shared by the process, so each scenario's broker has a host of its own.
        let host = format!("{version}::{scenario}").replace([':', '_'], "-");
        let mut options = Options::of(self.profile);
        options.plugins.extend(PLUGINS);
        options.deprecated_features.transient_nonexcl_queues = Some(true);
        if short_timeouts {
            // No scenario lasts half an hour, not even in virtual time.
            options = options.consumer_timeout(Duration::from_millis(CONSUMER_TIMEOUT));
            options.dead_letter_retry_interval = Duration::from_millis(DEAD_LETTER_RETRY);
            if self.socket.is_some() {
                options.channel_tick_interval = Duration::from_millis(CHANNEL_TICK);
            }
        }
        let broker = InMemoryBroker::with_options(&host, 5672, options);
        broker.run();
        let (url, transport, server): (_, Arc<dyn Transport>, _) = match &self.socket {
            None => {
                let url = format!("memory://{host}:5672");
                (url, Arc::new(MemoryTransport::new()), None)
            }
            Some(socket) => {
                let server = socket.runtime.block_on(broker.listen("127.0.0.1:0"));
                let server = server.expect("a socket opens");
                (server.url(), Arc::clone(&socket.transport), Some(server))
            }
        };
        Arc::new(OneBroker {
            version,
            url,
            transport,
            // The broker announces nothing over its own transport unless its options say so.
            announces_alarms: self.socket.as_ref().is_some_and(|one| one.announces_alarms),
            control: ControlInMemory::of(broker, server.is_some(), short_timeouts),
            _server: server,
        })
    }
}

/// The broker of one scenario.
#[derive(Debug)]
struct OneBroker {
    version: Version,
    url: String,
    transport: Arc<dyn Transport>,
    announces_alarms: bool,
    control: ControlInMemory,
    /// Keeps the socket open.
    _server: Option<Server>,
}

impl Broker for OneBroker {
    fn version(&self) -> Version {
        self.version
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }

    fn control(&self) -> &dyn Control {
        &self.control
    }

    fn network(&self) -> Box<dyn ClientNetwork> {
        Box::new(self.control.clone())
    }

    fn announces_alarms(&self) -> bool {
        self.announces_alarms
    }
}
