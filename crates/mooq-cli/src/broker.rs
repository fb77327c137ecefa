//! The broker that the command talks to.

use std::time::Duration;

use clap::Args;
use mooq::{ConnectOptions, Connection, Endpoint, Recovery, Scheme};

use crate::failure::{Failure, Result};
use crate::management::Management;

/// The broker.
#[derive(Debug, Args)]
pub(crate) struct BrokerArguments {
    /// URL of the broker: amqp://user:password@host:port/vhost, or amqps:// with RabbitMQ's
    /// parameters for TLS. The environment hides a password from other users of this machine
    #[arg(
        long,
        global = true,
        env = "MOOQ_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "amqp://localhost:5672"
    )]
    url: String,
    /// URL of the broker's management API, http://host:port, with another user and password if it
    /// has any; by default port 15672 of the broker's host
    #[arg(
        long,
        global = true,
        env = "MOOQ_MANAGEMENT",
        hide_env_values = true,
        value_name = "URL"
    )]
    management: Option<String>,
    /// Time limit for each answer of the broker, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

impl BrokerArguments {
    /// Connects. A lost connection ends the command: it does not reconnect.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let endpoint = self.endpoint()?;
        let limit = self.timeout();
        let options = ConnectOptions::from(endpoint)
            .name("mooq")
            .connect_timeout(limit)
            .timeout(limit)
            .recovery(Recovery::off());
        Ok(mooq::connect(options).await?)
    }

    /// The management API, which has not been asked anything yet.
    pub(crate) fn management(&self) -> Result<Management> {
        let endpoint = self.endpoint()?;
        Management::new(self.management.as_deref(), &endpoint, self.timeout())
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let endpoint: Endpoint = self.url.parse().map_err(Failure::from)?;
        match endpoint.scheme {
            Scheme::Amqp | Scheme::Amqps => Ok(endpoint),
            _ => Err(Failure::wrong_usage(format!(
                "{endpoint} is in the memory of another process: expected an amqp:// or amqps:// URL"
            ))),
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
