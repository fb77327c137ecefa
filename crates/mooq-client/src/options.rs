//! How to connect.

use std::time::Duration;

use mooq_core::{
    Credentials, Endpoint, Error, ErrorKind, IntoChecked, Result, Scheme, ShortString, TlsOptions,
    VirtualHost,
};

use crate::deferred::Deferred;
use crate::recovery::{Recovery, WhileDisconnected};

/// How to connect: where, as whom, and how long calls may take. The defaults are Python mooq's:
/// RabbitMQ on `localhost:5672`.
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
    /// Where else to connect to, with the same credentials.
    other_hosts: Vec<(String, u16)>,
    deadline: Duration,
    recovery: Recovery,
    while_disconnected: WhileDisconnected,
    publish_buffer: usize,
    deferred: Deferred,
}

/// The brokers that one connection may lead to.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    first: Endpoint,
    others: Vec<Endpoint>,
}

impl Endpoints {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// Endpoint number `index`, or the first if there is none.
    pub(crate) fn get(&self, index: usize) -> &Endpoint {
        let other = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }
}

impl ConnectOptions {
    /// How long a call may wait for the broker, unless said otherwise.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

    /// How many bytes of publishes may wait for a lost connection, unless said otherwise.
    pub const DEFAULT_PUBLISH_BUFFER: usize = 64 * 1024 * 1024;

    /// RabbitMQ on this machine.
    pub fn new() -> Self {
        Self::from(Endpoint::default())
    }

    /// The transport: RabbitMQ ([`Scheme::Amqp`]) or memory ([`Scheme::Memory`]). Does not
    /// change the port.
    pub fn broker(mut self, scheme: Scheme) -> Self {
        self.endpoint.scheme = scheme;
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

    /// The virtual host; `/` unless said otherwise.
    pub fn vhost(mut self, vhost: impl IntoChecked<VirtualHost>) -> Self {
        if let Some(vhost) = self.deferred.check(vhost) {
            self.endpoint.vhost = vhost;
        }
        self
    }

    /// User and password; `guest` and `guest` unless said otherwise.
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.endpoint.credentials = Credentials {
            username: username.into(),
            password: password.into(),
        };
        self
    }

    /// Speaks TLS, as `tls` says, to every host: the transport becomes [`Scheme::Amqps`], and port
    /// 5672 becomes 5671.
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

    /// How often each side lets the other know that it is there, in whole seconds, 2 to 65535;
    /// 6 s unless said otherwise. A peer is given up after twice this time of silence: 12 s.
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

    /// What the broker calls the connection in its management UI and logs.
    pub fn name(mut self, name: impl IntoChecked<ShortString>) -> Self {
        self.endpoint.connection_name = self.deferred.check(name);
        self
    }

    /// How long connecting and logging in may take; 10 s unless said otherwise.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.endpoint.connect_timeout = limit;
        self
    }

    /// How long any other call may wait for the broker before it fails with `DeadlineExceeded`;
    /// 30 s unless said otherwise.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Another host to connect to if the first does not answer, and when the connection is lost:
    /// one of the same cluster, since everything else stays the same. Can be said several times;
    /// they are tried in order.
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

    /// How a lost connection is opened again; without an end, within 500 ms of the broker's
    /// return, unless said otherwise.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// What calls do while the connection is lost: they wait, up to their deadline, unless said
    /// otherwise.
    pub fn while_disconnected(mut self, policy: WhileDisconnected) -> Self {
        self.while_disconnected = policy;
        self
    }

    /// How many bytes of publishes may wait for a lost connection, each counted with its body and
    /// 256 more; 64 MiB unless said otherwise. Beyond it publishes fail with `BufferFull`.
    pub fn publish_buffer(mut self, bytes: usize) -> Self {
        self.publish_buffer = bytes;
        self
    }

    /// Where this connects to first.
    ///
    /// # Errors
    /// The first that a setter found.
    pub fn endpoint(&self) -> Result<Endpoint> {
        self.deferred.clone().finish()?;
        Ok(self.endpoint.clone())
    }

    /// Everything that this connects to.
    ///
    /// # Errors
    /// The first that a setter found.
    pub(crate) fn endpoints(&self) -> Result<Endpoints> {
        let first = self.endpoint()?;
        let others = self.other_hosts.iter().map(|(host, port)| {
            let mut other = first.clone();
            other.host.clone_from(host);
            other.port = *port;
            other
        });
        Ok(Endpoints {
            others: others.collect(),
            first,
        })
    }

    pub(crate) fn recovery_policy(&self) -> &Recovery {
        &self.recovery
    }

    pub(crate) fn while_lost(&self) -> WhileDisconnected {
        self.while_disconnected
    }

    pub(crate) fn buffer_limit(&self) -> usize {
        self.publish_buffer
    }

    pub(crate) fn call_deadline(&self) -> Duration {
        self.deadline
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
            deadline: Self::DEFAULT_DEADLINE,
            recovery: Recovery::new(),
            while_disconnected: WhileDisconnected::default(),
            publish_buffer: Self::DEFAULT_PUBLISH_BUFFER,
            deferred: Deferred::default(),
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
