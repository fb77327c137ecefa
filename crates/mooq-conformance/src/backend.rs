//! Brokers that scenarios run on.

use std::fmt::Debug;
use std::sync::Arc;

use mooq_core::Transport;

use crate::control::Control;
use crate::line::ClientNetwork;
use crate::version::Version;

/// The brokers of one version, reached over one transport.
pub trait Backend: Debug + Send + Sync {
    /// The version of RabbitMQ that the brokers are, or behave as.
    fn version(&self) -> Version;

    /// Returns the broker for the scenario of this name: a fresh one, or one that many scenarios
    /// share. Queues, exchanges and users of a scenario bear its name.
    ///
    /// If the broker's time is virtual, it needs `short_timeouts` where the scenario's
    /// [option](crate::Scenario::short_timeouts) says so.
    ///
    /// # Panics
    /// If no broker starts: the scenario fails then.
    fn broker(&self, scenario: &str, short_timeouts: bool) -> Arc<dyn Broker>;

    /// A resource that the scenarios need and a machine may lack. If there is one, they are ignored
    /// unless asked for with `--include-ignored`.
    fn needs(&self) -> Option<&str> {
        None
    }
}

/// A broker, for as long as it is not dropped.
pub trait Broker: Debug + Send + Sync {
    /// The version of RabbitMQ that the broker is, or behaves as.
    fn version(&self) -> Version;

    /// The broker's URL, with the scheme of its transport. User `guest` has every permission.
    fn url(&self) -> String;

    /// The transport over which to reach the broker.
    fn transport(&self) -> Arc<dyn Transport>;

    /// Control of the broker beyond AMQP.
    fn control(&self) -> &dyn Control;

    /// Returns a network between a client and the broker, whose faults hit this client alone.
    fn network(&self) -> Box<dyn ClientNetwork>;

    /// Returns true if the broker sends `connection.blocked` to clients over this transport. amqprs
    /// does not announce that it understands the method, so RabbitMQ does not send it.
    fn announces_alarms(&self) -> bool;

    /// Returns the end of the broker's log, which is shown if a scenario fails.
    fn recent_log(&self) -> Option<String> {
        None
    }
}
