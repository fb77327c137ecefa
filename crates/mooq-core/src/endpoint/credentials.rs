//! The login to a broker.

use std::fmt;
use std::time::Duration;

/// Name and password of a user. Both default to `guest`.
///
/// ```
/// use std::time::Duration;
/// use mooq_core::Credentials;
///
/// let token = Credentials::new("billing", "eyJhbGciOi…").expires_in(Duration::from_secs(3600));
/// assert_eq!(token.username, "billing");
/// assert!(!format!("{token:?}").contains("eyJ"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password, or a token in its place. `Debug` does not show it.
    pub password: String,
    /// Time for which the password is valid, from the moment at which a provider returned it. `None`
    /// for a password that does not expire. It makes a difference only in credentials from a
    /// provider, which are renewed before.
    pub lifetime: Option<Duration>,
}

impl Credentials {
    /// A user's name and a password that does not expire.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
            lifetime: None,
        }
    }

    /// Sets the time for which the password is valid, from now on.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new("guest", "guest")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Credentials");
        debug
            .field("username", &self.username)
            .field("password", &"…");
        if let Some(lifetime) = self.lifetime {
            debug.field("lifetime", &lifetime);
        }
        debug.finish()
    }
}

/// The way of logging in: the mechanism of SASL that the client chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMechanism {
    /// `PLAIN`: by name and password.
    #[default]
    Plain,
    /// `EXTERNAL`: by the client's certificate, which names the user. It takes TLS, and a broker
    /// with the plugin
    /// [`rabbitmq_auth_mechanism_ssl`](https://www.rabbitmq.com/docs/access-control#mechanisms).
    External,
}

impl AuthMechanism {
    /// The mechanism's name in AMQP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::External => "EXTERNAL",
        }
    }
}
