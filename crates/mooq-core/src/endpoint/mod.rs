//! The address of a broker, and the login to it.

mod authority;
mod credentials;
mod hosts;
mod tls;
mod url;

use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::name::{ShortString, VirtualHost};

pub use credentials::{AuthMechanism, Credentials};
pub use hosts::Endpoints;
pub use tls::{ClientCertificate, TlsOptions};

/// The transport that a URL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `amqp://`: RabbitMQ over TCP.
    Amqp,
    /// `amqps://`: RabbitMQ over TLS.
    Amqps,
    /// `memory://`: a broker in this process.
    Memory,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Amqps => "amqps",
            Self::Memory => "memory",
        }
    }

    /// The port used if a URL names none: 5672, or 5671 for TLS.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Amqp | Self::Memory => 5672,
            Self::Amqps => 5671,
        }
    }
}

impl FromStr for Scheme {
    type Err = Error;

    /// Parses a scheme as it stands in a URL, or a broker's name in Python's mooq: `rabbit`,
    /// `in_memory`.
    ///
    /// # Errors
    /// `UnsupportedScheme` for any other text.
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "amqp" | "rabbit" => Ok(Self::Amqp),
            "amqps" => Ok(Self::Amqps),
            "memory" | "in_memory" => Ok(Self::Memory),
            _ => Err(Error::new(
                ErrorKind::UnsupportedScheme,
                format!("'{name}' is no broker: expected rabbit, in_memory, amqp, amqps or memory"),
            )),
        }
    }
}

impl TryFrom<&str> for Scheme {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self, Error> {
        name.parse()
    }
}

impl TryFrom<&String> for Scheme {
    type Error = Error;

    fn try_from(name: &String) -> Result<Self, Error> {
        name.parse()
    }
}

impl TryFrom<String> for Scheme {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

/// A broker's address, and the credentials to log in with.
///
/// Parsed from a URL after the
/// [RabbitMQ URI specification](https://www.rabbitmq.com/docs/uri-spec):
/// `amqp://user:password@host:port/vhost?heartbeat=30&connection_timeout=5000&name=billing`.
/// User, password and virtual host are percent-decoded: in them `/`, `?`, `#`, `@`, `:` and `%`
/// have to be encoded, for example `#` as `%23`. Parts that are left out have defaults: user and
/// password `guest`, host `localhost`, the scheme's port and the virtual host `/`. A name or a
/// password that is given and empty, as in `amqp://user:@host`, is empty. (By the letter of the
/// specification `amqp://host/` names the virtual host `""`, which no broker has: here it is `/` as
/// well.)
///
/// | Query parameter | Unit | Default |
/// |---|---|---|
/// | `heartbeat` | seconds, 2 to 65535 | 6 |
/// | `connection_timeout` | milliseconds, 1 to 600000 | 10000 |
/// | `name` | text, at most 255 bytes: the connection's name in the management UI | none |
///
/// For `amqps` there are [`TlsOptions`], with the names of RabbitMQ's [URI query
/// parameters](https://www.rabbitmq.com/docs/uri-query-parameters):
///
/// | Query parameter | Value | Default |
/// |---|---|---|
/// | `cacertfile` | PEM file of the authorities to trust | Mozilla's list |
/// | `certfile` | PEM file of the certificate to present | none |
/// | `keyfile` | PEM file of its private key | the same file |
/// | `server_name_indication` | the name that the broker's certificate is for | the host |
/// | `verify` | `verify_peer`, or `verify_none` to accept any certificate | `verify_peer` |
/// | `auth_mechanism` | `plain`, also for `amqp`; or `external` to log in by the certificate of `certfile` ([`AuthMechanism`]) | `plain` |
///
/// ```
/// use mooq_core::{Endpoint, ErrorKind, Scheme};
///
/// let endpoint: Endpoint = "amqp://app:s%2Fcret@rabbit.example/%2Forders".parse()?;
/// assert_eq!(endpoint.scheme, Scheme::Amqp);
/// assert_eq!(endpoint.address(), "rabbit.example:5672");
/// assert_eq!(endpoint.vhost, "/orders");
/// assert_eq!(endpoint.credentials.password, "s/cret");
///
/// let err = "http://localhost".parse::<Endpoint>().unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::UnsupportedScheme);
/// # Ok::<(), mooq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The transport.
    pub scheme: Scheme,
    /// The broker's host: a name or an address, IPv6 without brackets.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// The virtual host.
    pub vhost: VirtualHost,
    /// The user who logs in.
    pub credentials: Credentials,
    /// The way of logging in. With [`AuthMechanism::External`] the credentials are not used.
    pub auth_mechanism: AuthMechanism,
    /// Heartbeat interval. A peer that is silent for two intervals is considered dead. The broker's
    /// setting takes precedence if it is shorter.
    pub heartbeat: Duration,
    /// Time limit for connecting and logging in together. When it is over, opening the connection
    /// fails with `ConnectFailed`.
    pub connect_timeout: Duration,
    /// The connection's name in the broker's management UI and logs.
    pub connection_name: Option<ShortString>,
    /// TLS options, for the scheme `amqps`.
    pub tls: TlsOptions,
}

impl Endpoint {
    /// Default heartbeat interval: 6 s, so a dead peer is noticed after 12 s, and a service is
    /// notified within 15 s.
    pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(6);
    /// The default time to connect and log in.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// The scheme's default broker: `localhost`, user `guest`, virtual host `/`.
    #[must_use]
    pub fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            host: "localhost".into(),
            port: scheme.default_port(),
            vhost: VirtualHost::root(),
            credentials: Credentials::default(),
            auth_mechanism: AuthMechanism::Plain,
            heartbeat: Self::DEFAULT_HEARTBEAT,
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            connection_name: None,
            tls: TlsOptions::default(),
        }
    }

    /// Returns a seed for the jitter of delays. Clients of a real broker must not reconnect all at
    /// once; in memory every run must be repeatable.
    #[must_use]
    pub fn jitter_seed(&self) -> u64 {
        match self.scheme {
            Scheme::Memory => 0,
            _ => RandomState::new().hash_one(()),
        }
    }

    /// The client's response in the login, by its mechanism.
    #[must_use]
    pub fn login_response(&self) -> String {
        let Credentials {
            username, password, ..
        } = &self.credentials;
        match self.auth_mechanism {
            AuthMechanism::Plain => format!("\0{username}\0{password}"),
            // The certificate says it all.
            AuthMechanism::External => String::new(),
        }
    }

    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Default for Endpoint {
    /// RabbitMQ on this machine.
    fn default() -> Self {
        Self::new(Scheme::Amqp)
    }
}

/// Returns an error that names the part of the URL that is wrong.
fn invalid(message: impl Into<String>) -> Error {
    Error::connection(
        ErrorKind::InvalidUrl,
        format!("invalid URL: {}", message.into()),
    )
}
