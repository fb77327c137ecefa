//! The argument of a scenario.

use std::sync::Arc;

use mooq::{Channel, ConnectOptions, Connection, Recovery, Result};

use crate::backend::Broker;
use crate::control::Control;
use crate::expect::{HEARTBEAT, LIMIT};
use crate::raw::Raw;
use crate::version::Version;

/// A broker, and names that no other scenario uses.
#[derive(Debug, Clone)]
pub struct Fixture {
    broker: Arc<dyn Broker>,
    scenario: &'static str,
}

impl Fixture {
    /// A fixture for the scenario of this name.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, scenario: &'static str) -> Self {
        Self { broker, scenario }
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &dyn Broker {
        &*self.broker
    }

    /// The broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.broker.url()
    }

    /// The version of RabbitMQ that the broker is, or behaves as.
    #[must_use]
    pub fn version(&self) -> Version {
        self.broker.version()
    }

    /// Returns a name for a queue, an exchange, a connection or a user that no other scenario uses.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.scenario)
    }

    /// Options to connect to the broker. Their limits are so long that no slow machine reaches
    /// them: a scenario about a limit sets its own.
    pub fn options(&self) -> ConnectOptions {
        let options =
            ConnectOptions::try_from(self.url().as_str()).expect("the broker's URL is valid");
        options
            .connect_timeout(LIMIT)
            .timeout(LIMIT)
            .heartbeat(HEARTBEAT)
    }

    /// Connects over the broker's transport.
    ///
    /// # Errors
    /// Those of [`Connection::open`].
    pub async fn open(&self, options: ConnectOptions) -> Result<Connection> {
        Connection::open(self.broker.transport(), options).await
    }

    /// Connects over the broker's transport, by URL.
    ///
    /// # Errors
    /// Those of the URL, and of [`Connection::open`].
    pub async fn open_url(&self, url: &str) -> Result<Connection> {
        self.open(url.try_into()?).await
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Connection {
        self.open(self.options())
            .await
            .expect("the broker takes connections")
    }

    /// Opens a connection with a channel.
    pub async fn channel(&self) -> (Connection, Channel) {
        let conn = self.connect().await;
        let chan = conn.create_channel().await.expect("a channel opens");
        (conn, chan)
    }

    /// Opens a connection with a channel. Both end for good when the broker closes them.
    pub async fn channel_without_recovery(&self) -> (Connection, Channel) {
        let options = self.options().recovery(Recovery::off());
        let conn = self
            .open(options)
            .await
            .expect("the broker takes connections");
        let chan = conn.create_channel().await.expect("a channel opens");
        (conn, chan)
    }

    /// Opens a connection and a channel below the client, for methods that the client lacks.
    pub async fn raw(&self) -> Raw {
        self.raw_with(&self.options()).await
    }

    /// The same, with other options.
    pub async fn raw_with(&self, options: &ConnectOptions) -> Raw {
        let endpoint = options.endpoint().expect("the options are valid");
        Raw::open(&*self.broker, &endpoint).await
    }

    /// Opens a channel in confirm mode, on a connection of its own, to publish with.
    pub async fn publisher(&self) -> Raw {
        let raw = self.raw().await;
        raw.confirm_select().await;
        raw
    }

    /// Control of the broker beyond AMQP.
    #[must_use]
    pub fn control(&self) -> &dyn Control {
        self.broker.control()
    }
}
