//! What a scenario is given.

use std::time::Duration;

use mooq::{Channel, ConnectOptions, Connection, Recovery};

use crate::backend::{BackendKind, Broker, uses_native};
use crate::control::Control;
use crate::expect::LIMIT;
use crate::raw::Raw;
use crate::version::Version;

/// With a shorter one, a machine that is busy with others loses connections that are sound.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// A broker, and names that no other scenario uses.
#[derive(Debug, Clone)]
pub struct Fixture {
    broker: Broker,
    scenario: &'static str,
}

impl Fixture {
    pub(crate) fn new(broker: Broker, scenario: &'static str) -> Self {
        Self { broker, scenario }
    }

    /// Where the broker is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.broker.url()
    }

    /// Which sort of broker this is.
    #[must_use]
    pub fn kind(&self) -> BackendKind {
        self.broker.kind()
    }

    /// Which version of RabbitMQ it is, or behaves as.
    #[must_use]
    pub fn version(&self) -> Version {
        self.broker.version()
    }

    /// A name for a queue or an exchange, this scenario's own: container and broker are fresh
    /// for each run.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.scenario)
    }

    /// How to connect to the broker. Nothing is given up because the machine is slow: where a
    /// scenario is about a limit, it sets that itself.
    pub fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::try_from(self.url()).expect("the broker's URL is valid");
        options
            .connect_timeout(LIMIT)
            .timeout(LIMIT)
            .heartbeat(HEARTBEAT)
    }

    /// A connection.
    pub async fn connect(&self) -> Connection {
        mooq::connect(self.options())
            .await
            .expect("the broker takes connections")
    }

    /// A connection with a channel.
    pub async fn channel(&self) -> (Connection, Channel) {
        let conn = self.connect().await;
        let chan = conn.create_channel().await.expect("a channel opens");
        (conn, chan)
    }

    /// A connection with a channel, both of which end for good when the broker closes them.
    pub async fn channel_without_recovery(&self) -> (Connection, Channel) {
        let options = self.options().recovery(Recovery::off());
        let conn = mooq::connect(options)
            .await
            .expect("the broker takes connections");
        let chan = conn.create_channel().await.expect("a channel opens");
        (conn, chan)
    }

    /// A connection and a channel below the client runtime, for what is AMQP's alone.
    pub async fn raw(&self) -> Raw {
        self.raw_with(&self.options()).await
    }

    /// The same for a connection that is opened with other options.
    pub async fn raw_with(&self, options: &ConnectOptions) -> Raw {
        let endpoint = options.endpoint().expect("the options are valid");
        Raw::open(&self.broker, &endpoint).await
    }

    /// What can be done to the broker from outside of AMQP.
    #[must_use]
    pub fn control(&self) -> &Control {
        self.broker.control()
    }

    /// Whether connections are told of the broker's alarms, which amqprs does not ask for.
    pub(crate) fn is_told_of_alarms(&self) -> bool {
        self.kind() == BackendKind::RabbitMq && uses_native()
    }

    /// A channel in confirm mode on a connection of its own, to publish with.
    pub async fn publisher(&self) -> Raw {
        let raw = self.raw().await;
        raw.confirm_select().await;
        raw
    }
}
