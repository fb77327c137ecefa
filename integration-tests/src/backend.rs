//! What scenarios run on.

use std::sync::OnceLock;

use mooq_core::{Endpoint, OpenedConnection, Transport};
use mooq_memory::{InMemoryBroker, MemoryTransport};
use mooq_rabbit::RabbitTransport;

use crate::container::RabbitContainer;
use crate::control::Control;

/// A sort of broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The in-memory broker.
    Memory,
    /// RabbitMQ in a container.
    RabbitMq,
}

/// The brokers of one test target.
#[derive(Debug)]
pub struct Backend {
    kind: BackendKind,
    /// Started by the first scenario that runs, and shared by all. One that does not start is not
    /// tried again, or every scenario would wait for it in turn.
    container: OnceLock<Result<RabbitContainer, String>>,
}

/// One scenario's broker.
#[derive(Debug, Clone)]
pub struct Broker {
    kind: BackendKind,
    url: String,
    /// Keeps a memory broker running as long as its scenario.
    control: Control,
}

impl Backend {
    /// Nothing is started before a scenario needs it.
    #[must_use]
    pub fn new(kind: BackendKind) -> Self {
        Self {
            kind,
            container: OnceLock::new(),
        }
    }

    /// Which sort of broker this is.
    #[must_use]
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// The broker for the scenario of this name.
    ///
    /// # Panics
    /// If its container cannot be started: the scenario cannot do without it.
    #[must_use]
    pub fn broker(&self, scenario: &str) -> Broker {
        match self.kind {
            BackendKind::Memory => {
                // The registry is the process's: each scenario's broker has a host of its own.
                let host = scenario.replace([':', '_'], "-");
                let memory = InMemoryBroker::new(&host, 5672);
                memory.run();
                Broker {
                    kind: self.kind,
                    url: format!("memory://{host}:5672"),
                    control: Control::Memory(memory),
                }
            }
            BackendKind::RabbitMq => match self.container.get_or_init(RabbitContainer::start) {
                Ok(container) => Broker {
                    kind: self.kind,
                    url: container.url(),
                    control: container.control(),
                },
                Err(reason) => panic!("{reason}"),
            },
        }
    }

    /// Removes the container, if one was started.
    pub fn stop(self) {
        if let Some(Ok(container)) = self.container.into_inner() {
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
            BackendKind::RabbitMq => RabbitTransport.open(endpoint).await,
        };
        opened.expect("the broker takes connections")
    }
}
