//! Options of a connection.

use std::sync::Arc;
use std::time::Duration;

use mooq_core::{
    AuthMechanism, Credentials, Endpoint, Endpoints, Error, ErrorKind, FirstError, IntoChecked,
    Result, Scheme, ShortString, TlsOptions, VirtualHost,
};
use mooq_credentials::{CredentialsProvider, Provider};

use super::layers::{CallbackLayer, Layers, PublishLayer};
use mooq_session::{Recovery, WhileDisconnected};

/// Options of a connection: the broker's address, the credentials, and the timeouts of calls. The
/// defaults are Python mooq's: RabbitMQ on `localhost:5672`.
///
/// ```
/// use mooq::{ConnectOptions, Scheme};
///
/// let options = ConnectOptions::new().host("rabbit.example").port(5673).broker(Scheme::Amqp);
/// assert_eq!(options.endpoint()?.to_string(), "amqp://rabbit.example:5673");
///
/// let same = ConnectOptions::try_from("amqp://rabbit.example:5673")?;
/// assert_eq!(same.endpoint()?, options.endpoint()?);
/// # Ok::<(), mooq::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until they are connected with"]
pub struct ConnectOptions {
    endpoint: Endpoint,
    /// Other hosts to connect to, with the same credentials.
    other_hosts: Vec<(String, u16)>,
    pub(crate) provider: Option<Provider>,
    pub(crate) wait_for_broker: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) recovery: Recovery,
    pub(crate) while_disconnected: WhileDisconnected,
    pub(crate) publish_buffer: usize,
    pub(crate) layers: Arc<Layers>,
    deferred: FirstError,
}

impl ConnectOptions {
    /// Default time that a call may wait for the broker.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Default number of bytes of publishes that may wait for a lost connection.
    pub const DEFAULT_PUBLISH_BUFFER: usize = 64 * 1024 * 1024;

    /// Options for RabbitMQ on this machine.
    pub fn new() -> Self {
        Self::from(Endpoint::default())
    }

    /// The kind of broker: RabbitMQ ([`Scheme::Amqp`], or the text `rabbit`) or one in memory
    /// ([`Scheme::Memory`], or `in_memory`). Does not change the port, and keeps TLS if the options
    /// have it: [`Scheme::Amqp`] after [`tls`](Self::tls) or an `amqps` URL is RabbitMQ over TLS.
    /// Any other text fails with `UnsupportedScheme` on connecting.
    pub fn broker(mut self, broker: impl IntoChecked<Scheme>) -> Self {
        match (self.deferred.check(broker), self.endpoint.scheme) {
            (None, _) | (Some(Scheme::Amqp), Scheme::Amqps) => {}
            (Some(scheme), _) => self.endpoint.scheme = scheme,
        }
        self
    }

    /// The broker's host: a name or an address.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.endpoint.host = host.into();
        self
    }

    /// The broker's port.
    pub fn port(mut self, port: u16) -> Self {
        self.endpoint.port = port;
        self
    }

    /// The virtual host; `/` by default.
    pub fn vhost(mut self, vhost: impl IntoChecked<VirtualHost>) -> Self {
        if let Some(vhost) = self.deferred.check(vhost) {
            self.endpoint.vhost = vhost;
        }
        self
    }

    /// User and password; `guest` and `guest` by default. For those that change, see
    /// [`credentials_from`](Self::credentials_from).
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.endpoint.credentials = Credentials::new(username, password);
        self
    }

    /// Logs in by the client certificate of the [`tls`](Self::tls) options, without a password: the
    /// broker takes the user's name from the certificate. It takes RabbitMQ's plugin
    /// `rabbitmq_auth_mechanism_ssl`.
    ///
    /// Connecting fails with `InvalidArgument` without TLS, as in memory, or without a certificate;
    /// with `AuthenticationFailed` if the broker knows no such user, or does not offer the
    /// mechanism.
    ///
    /// ```
    /// use mooq::{ConnectOptions, TlsOptions};
    ///
    /// let tls = TlsOptions::new()
    ///     .ca_file("/etc/app/ca.pem")
    ///     .client_certificate("/etc/app/cert.pem", "/etc/app/key.pem");
    /// let options = ConnectOptions::new().host("rabbit.example").tls(tls).login_by_certificate();
    ///
    /// let url = "amqps://rabbit.example?cacertfile=/etc/app/ca.pem&certfile=/etc/app/cert.pem\
    ///            &keyfile=/etc/app/key.pem&auth_mechanism=external";
    /// assert_eq!(options.endpoint()?, ConnectOptions::try_from(url)?.endpoint()?);
    /// # Ok::<(), mooq::Error>(())
    /// ```
    pub fn login_by_certificate(mut self) -> Self {
        self.endpoint.auth_mechanism = AuthMechanism::External;
        self
    }

    /// Asks `provider` for the credentials before each login, the first one and those of a lost
    /// connection: an async closure, or a [`CredentialsProvider`]. If the credentials
    /// [expire](Credentials::expires_in), it is asked again after 80 % of that time, and the broker
    /// gets the new password while the connection is open.
    ///
    /// The provider has the time of [`connect_timeout`](Self::connect_timeout), which includes the
    /// login. If it fails, or takes longer, the attempt to connect fails with
    /// `CredentialsUnavailable`: connecting fails, and a lost connection goes on trying.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use mooq::{ConnectOptions, Credentials};
    ///
    /// async fn token() -> std::io::Result<Credentials> {
    ///     let token = std::env::var("TOKEN").unwrap_or_else(|_| "guest".into());
    ///     Ok(Credentials::new("guest", token).expires_in(Duration::from_secs(3600)))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # let broker = mooq::memory::InMemoryBroker::new("localhost", 5672);
    /// # broker.run();
    /// let options = ConnectOptions::try_from("memory://localhost")?.credentials_from(token);
    /// let conn = mooq::connect(options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn credentials_from(mut self, provider: impl CredentialsProvider) -> Self {
        self.provider = Some(Provider::new(provider));
        self
    }

    /// Uses TLS, with the options `tls`, for every host: the transport becomes [`Scheme::Amqps`],
    /// and port 5672 becomes 5671.
    ///
    /// ```
    /// use mooq::{ConnectOptions, TlsOptions};
    ///
    /// let tls = TlsOptions::new().ca_file("/etc/app/ca.pem");
    /// let options = ConnectOptions::new().host("rabbit.example").tls(tls);
    /// assert_eq!(options.endpoint()?.to_string(), "amqps://rabbit.example:5671");
    /// # Ok::<(), mooq::Error>(())
    /// ```
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.endpoint.scheme = Scheme::Amqps;
        self.endpoint.tls = tls;
        if self.endpoint.port == Scheme::Amqp.default_port() {
            self.endpoint.port = Scheme::Amqps.default_port();
        }
        self
    }

    /// Heartbeat interval of both sides, in whole seconds, 2 to 65535; 6 s by default. A peer is
    /// given up after twice this time of silence: 12 s by default.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        if !(2..=u64::from(u16::MAX)).contains(&every.as_secs()) {
            self.deferred.fail(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "the heartbeat is {every:?}, expected 2 to {} seconds",
                    u16::MAX
                ),
            ));
        }
        self.endpoint.heartbeat = every;
        self
    }

    /// The connection's name in the broker's management UI and logs.
    pub fn name(mut self, name: impl IntoChecked<ShortString>) -> Self {
        self.endpoint.connection_name = self.deferred.check(name);
        self
    }

    /// Time limit for connecting and logging in; 10 s by default. After that, connecting fails with
    /// `ConnectFailed`, no matter at which step the broker was silent.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.endpoint.connect_timeout = limit;
        self
    }

    /// Waits up to `limit` for a broker that is not running yet, as when a service and its broker
    /// start together. All hosts are retried while they cannot be reached, with the delays of
    /// [`recovery`](Self::recovery), and so is a provider of credentials that fails. An error that waiting does not fix, a refused login for
    /// example, fails at once. Without this option each host is tried once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use mooq::ConnectOptions;
    ///
    /// let options = ConnectOptions::try_from("amqp://rabbit")?
    ///     .wait_for_broker(Duration::from_secs(60));
    /// # let _ = options;
    /// # Ok::<(), mooq::Error>(())
    /// ```
    pub fn wait_for_broker(mut self, limit: Duration) -> Self {
        self.wait_for_broker = Some(limit);
        self
    }

    /// Time that any other call may wait for the broker before it fails with `TimedOut`; 30 s by
    /// default.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Another host to connect to, if the first does not answer and when the connection is lost. It
    /// has to be in the same cluster, since everything else stays the same. Can be called several
    /// times; the hosts are tried in order.
    ///
    /// ```
    /// use mooq::ConnectOptions;
    ///
    /// let cluster = ConnectOptions::try_from("amqp://rabbit-1/orders")?
    ///     .or_host("rabbit-2", 5672)
    ///     .or_host("rabbit-3", 5672);
    /// # let _ = cluster;
    /// # Ok::<(), mooq::Error>(())
    /// ```
    pub fn or_host(mut self, host: impl Into<String>, port: u16) -> Self {
        self.other_hosts.push((host.into(), port));
        self
    }

    /// Policy for reopening a lost connection. By default mooq retries without end, with delays of
    /// at most 500 ms between attempts.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Policy for calls while the connection is lost; by default they wait, up to their timeout.
    pub fn while_disconnected(mut self, policy: WhileDisconnected) -> Self {
        self.while_disconnected = policy;
        self
    }

    /// Number of bytes of publishes that may wait for a lost connection, each publish counted as
    /// its body and 256 more; 64 MiB by default. Beyond that, publishes fail with `BufferFull`.
    pub fn publish_buffer(mut self, bytes: usize) -> Self {
        self.publish_buffer = bytes;
        self
    }

    /// Wraps `layer` around the callbacks of the connection's consumers: see
    /// [`layers`](crate::layers).
    pub fn callback_layer(mut self, layer: impl CallbackLayer) -> Self {
        Arc::make_mut(&mut self.layers).callbacks.push(layer);
        self
    }

    /// Wraps `layer` around the connection's publishes: see [`layers`](crate::layers).
    pub fn publish_layer(mut self, layer: impl PublishLayer) -> Self {
        Arc::make_mut(&mut self.layers).push_publish(layer);
        self
    }

    /// Returns the endpoint that is tried first.
    ///
    /// # Errors
    /// The first error that a setter found.
    pub fn endpoint(&self) -> Result<Endpoint> {
        self.deferred.clone().finish()?;
        Ok(self.endpoint.clone())
    }

    /// Returns all endpoints, in the order in which they are tried.
    ///
    /// # Errors
    /// The first error that a setter found.
    pub(crate) fn endpoints(&self) -> Result<Endpoints> {
        Ok(Endpoints::new(self.endpoint()?, &self.other_hosts))
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Endpoint> for ConnectOptions {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            other_hosts: Vec::new(),
            provider: None,
            wait_for_broker: None,
            timeout: Self::DEFAULT_TIMEOUT,
            recovery: Recovery::new(),
            while_disconnected: WhileDisconnected::default(),
            publish_buffer: Self::DEFAULT_PUBLISH_BUFFER,
            layers: Arc::default(),
            deferred: FirstError::default(),
        }
    }
}

impl TryFrom<&str> for ConnectOptions {
    type Error = Error;

    /// # Errors
    /// `InvalidUrl` or `UnsupportedScheme`.
    fn try_from(url: &str) -> Result<Self> {
        url.parse::<Endpoint>().map(Self::from)
    }
}

impl TryFrom<&String> for ConnectOptions {
    type Error = Error;

    fn try_from(url: &String) -> Result<Self> {
        Self::try_from(url.as_str())
    }
}

impl TryFrom<String> for ConnectOptions {
    type Error = Error;

    fn try_from(url: String) -> Result<Self> {
        Self::try_from(url.as_str())
    }
}
