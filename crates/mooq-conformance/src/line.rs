//! A client's line to its broker, on which messages are lost or come late.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use mooq::ConnectOptions;

use crate::control::Condition;
use crate::fixture::Fixture;

/// A line that only the scenario's own client uses.
#[derive(Debug)]
pub struct Line {
    options: ConnectOptions,
    network: Box<dyn ClientNetwork>,
}

/// A network between one client and the broker.
pub trait ClientNetwork: Debug + Send + Sync {
    /// The port on 127.0.0.1 that leads over this network, or none if the broker's own port does.
    fn port(&self) -> Option<u16>;

    /// Cuts the connection of the client of this name. No connection is opened over the network
    /// until a disturbance ends.
    fn cut(&self, name: &str);

    /// Disturbs the network.
    fn disturb(&self, how: Disturbance) -> Box<dyn Disturbed + '_>;

    /// Refuses new connections, unless a cut network does that already. Open connections stay.
    fn refuse_connections(&self) -> Option<Box<dyn Condition>>;
}

/// A disturbance of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disturbance {
    /// The next confirm is lost, and the connection with it, at [`Disturbed::cut`] at the latest.
    LoseConfirm,
    /// The next acknowledgement is lost, and the connection with it, at [`Disturbed::cut`] at the
    /// latest.
    LoseAck,
    /// The broker's frames arrive later, by at least this time.
    Slow(Duration),
    /// Nothing gets through, and no connection is opened.
    Down,
}

/// A disturbance that lasts until it is ended or dropped.
#[async_trait]
#[must_use = "the disturbance may end when this is dropped"]
pub trait Disturbed: Debug + Send + Sync {
    /// Cuts the connection: frames that have not got through are lost.
    async fn cut(&self);

    /// Ends the disturbance.
    fn end(self: Box<Self>);
}

impl Line {
    /// A sound line to the scenario's broker.
    #[must_use]
    pub fn of(fixture: &Fixture) -> Self {
        let network = fixture.broker().network();
        let options = fixture.options();
        let options = match network.port() {
            Some(port) => options.port(port),
            None => options,
        };
        Self { options, network }
    }

    /// Options to connect over the line.
    pub fn options(&self) -> ConnectOptions {
        self.options.clone()
    }

    /// Cuts the connection of the client of this name. No connection is opened over the line
    /// afterwards.
    pub fn cut(&self, name: &str) {
        self.network.cut(name);
    }

    /// Loses the next confirm.
    pub fn lose_confirm(&self) -> Box<dyn Disturbed + '_> {
        self.network.disturb(Disturbance::LoseConfirm)
    }

    /// Loses the next acknowledgement.
    pub fn lose_ack(&self) -> Box<dyn Disturbed + '_> {
        self.network.disturb(Disturbance::LoseAck)
    }

    /// Delays what the broker sends, by at least `delay`.
    pub fn slow(&self, delay: Duration) -> Box<dyn Disturbed + '_> {
        self.network.disturb(Disturbance::Slow(delay))
    }

    /// Lets nothing through.
    pub fn down(&self) -> Box<dyn Disturbed + '_> {
        self.network.disturb(Disturbance::Down)
    }

    /// Refuses new connections until the result is dropped, or the disturbance that cut the line
    /// ends. Open connections stay.
    pub fn refuse_connections(&self) -> Option<Box<dyn Condition>> {
        self.network.refuse_connections()
    }
}
