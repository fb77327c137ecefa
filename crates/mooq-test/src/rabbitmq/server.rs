//! The RabbitMQ that tests run on.

use std::env;
use std::sync::OnceLock;

use mooq_core::{Credentials, Endpoint, Error, ErrorKind, Result};
use url::Url;

use super::management::Management;
use crate::choice::Choice;

/// The variable with the address of the management plugin, if the plugin is not at its usual port.
const MANAGEMENT_VARIABLE: &str = "MOOQ_TEST_MANAGEMENT";

/// The default port of the management plugin.
const MANAGEMENT_PORT: u16 = 15672;

/// A RabbitMQ that takes connections.
#[derive(Debug)]
pub(crate) struct Server {
    /// The server's URL. Its path is always replaced.
    url: Url,
    management: Management,
}

/// Returns the chosen RabbitMQ, which all tests of the process share. A RabbitMQ that does not
/// start is not tried again, or every test would wait for it in turn.
pub(crate) fn of(choice: &Choice) -> Result<&'static Server> {
    static SERVER: OnceLock<Result<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match choice {
        Choice::Running(url) => running(url, env::var(MANAGEMENT_VARIABLE).ok().as_deref()),
        _ => in_container(),
    });
    server.as_ref().map_err(Error::clone)
}

fn running(url: &str, management: Option<&str>) -> Result<Server> {
    let endpoint: Endpoint = url.parse()?;
    let address = match management {
        None => {
            let mut management = endpoint.clone();
            management.port = MANAGEMENT_PORT;
            management.address()
        }
        Some(management) => management_address(management)?,
    };
    Server::new(url, &address, endpoint.credentials)
}

fn management_address(url: &str) -> Result<String> {
    let address = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    match address {
        Some(address) if address.contains(':') => Ok(address.to_owned()),
        _ => Err(Error::new(
            ErrorKind::InvalidUrl,
            format!("{MANAGEMENT_VARIABLE} is '{url}', expected http://host:port"),
        )),
    }
}

#[cfg(feature = "testcontainers")]
fn in_container() -> Result<Server> {
    let container = super::container::start()?;
    let url = format!("amqp://127.0.0.1:{}", container.amqp);
    let management = format!("127.0.0.1:{}", container.management);
    Server::new(&url, &management, Credentials::default())
}

#[cfg(not(feature = "testcontainers"))]
fn in_container() -> Result<Server> {
    Err(crate::broker::missing_feature("testcontainers"))
}

impl Server {
    fn new(url: &str, management: &str, credentials: Credentials) -> Result<Self> {
        let url = Url::parse(url).map_err(|e| {
            Error::new(ErrorKind::InvalidUrl, format!("not a URL: {e}")).with_source(e)
        })?;
        let management = Management::new(management, credentials)?;
        Ok(Self { url, management })
    }

    pub(crate) fn management(&self) -> &Management {
        &self.management
    }

    /// URL of one of the server's virtual hosts, with user, password and parameters.
    pub(crate) fn url_of(&self, vhost: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(vhost);
        url.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_virtual_host_has_a_url() {
        for (url, expected) in [
            ("amqp://rabbit", "amqp://rabbit/audits"),
            ("amqp://rabbit:5673/", "amqp://rabbit:5673/audits"),
            (
                "amqp://ci:s%2Fcret@rabbit/other?heartbeat=9",
                "amqp://ci:s%2Fcret@rabbit/audits?heartbeat=9",
            ),
        ] {
            assert_eq!(running(url, None).unwrap().url_of("audits"), expected);
        }
    }

    #[test]
    fn management_plugin_is_on_the_same_host_or_at_its_variable() {
        let at = |management| {
            running("amqp://rabbit:5673", management)
                .unwrap()
                .management
                .address()
        };
        assert_eq!(at(None), "rabbit:15672");
        assert_eq!(at(Some("http://localhost:8080/")), "localhost:8080");

        let err = running("amqp://rabbit", Some("localhost")).unwrap_err();
        assert_eq!(
            err.to_string(),
            "MOOQ_TEST_MANAGEMENT is 'localhost', expected http://host:port"
        );
    }
}
