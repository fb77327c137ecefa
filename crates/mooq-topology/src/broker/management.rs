//! The address of a broker's management API.

use std::fmt;

/// A broker's management API: an address, and the login if it is not the connection's. A URL as text
/// is taken wherever this is.
///
/// ```
/// use mooq::topology::Management;
///
/// let management = Management::at("http://rabbit.example:15672").login("deployer", "s/cret");
/// assert_eq!(
///     format!("{management:?}"),
///     "Management { url: \"http://rabbit.example:15672\", username: Some(\"deployer\"), .. }"
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Management {
    url: String,
    login: Option<(String, String)>,
}

impl Management {
    /// The API below the path `/api` of this `http://` URL. Without a [`login`](Self::login), the
    /// user of the AMQP connection logs in.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            login: None,
        }
    }

    /// Sets the user who logs in. He needs the tag `management` at least, `policymaker` to change
    /// policies, and permissions for the virtual host.
    #[must_use]
    pub fn login(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some((username.into(), password.into()));
        self
    }

    #[cfg(feature = "management-client")]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    #[cfg(feature = "management-client")]
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        let login = self.login.as_ref();
        login.map(|(username, password)| (username.as_str(), password.as_str()))
    }
}

/// Leaves the password out.
impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Management")
            .field("url", &self.url)
            .field("username", &self.login.as_ref().map(|login| &login.0))
            .finish_non_exhaustive()
    }
}

impl From<&str> for Management {
    fn from(url: &str) -> Self {
        Self::at(url)
    }
}

impl From<String> for Management {
    fn from(url: String) -> Self {
        Self::at(url)
    }
}

impl From<&String> for Management {
    fn from(url: &String) -> Self {
        Self::at(url)
    }
}
