//! Users, their passwords and their permissions.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use mooq_core::{Credentials, Error, ErrorKind, VirtualHost};

use super::command::Mechanism;
use super::permissions::Permissions;

/// Users by name.
pub(crate) struct Users(HashMap<String, User, RandomState>);

struct User {
    password: Password,
    tags: Vec<String>,
    /// Permissions by virtual host.
    permissions: HashMap<VirtualHost, Arc<Permissions>, RandomState>,
    /// Everything is permitted in a virtual host where no permissions are set, or nothing.
    permits_by_default: bool,
}

/// A user's password, as a broker keeps it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Password {
    /// The password itself.
    Plain(String),
    /// A hash of the password.
    Hashed {
        /// The hash, as RabbitMQ exports it: base64, empty for a user who cannot log in by
        /// password.
        hash: String,
        /// RabbitMQ's name of the algorithm.
        algorithm: String,
        /// Returns true for the right password.
        is_right: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    },
}

impl Password {
    fn is(&self, password: &str) -> bool {
        match self {
            Self::Plain(own) => own == password,
            Self::Hashed { is_right, .. } => is_right(password),
        }
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Hashed { .. } => "Hashed(..)",
        })
    }
}

impl Default for Users {
    /// Returns the user that every new RabbitMQ has.
    fn default() -> Self {
        let mut users = Self(HashMap::default());
        let guest = Credentials::default();
        let name = guest.username.clone();
        users.add(guest.username, Password::Plain(guest.password), true);
        if let Some(guest) = users.0.get_mut(&name) {
            guest.tags.push("administrator".into());
        }
        users
    }
}

impl std::fmt::Debug for Users {
    /// Formats the usernames, without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Users {
    /// Adds a user, or changes its password.
    pub(crate) fn add(&mut self, username: String, password: Password, permits_by_default: bool) {
        match self.0.get_mut(&username) {
            Some(user) => user.password = password,
            None => {
                let user = User {
                    password,
                    tags: Vec::new(),
                    permissions: HashMap::default(),
                    permits_by_default,
                };
                self.0.insert(username, user);
            }
        }
    }

    /// Removes a user. Returns true if the user existed.
    pub(crate) fn remove(&mut self, username: &str) -> bool {
        self.0.remove(username).is_some()
    }

    /// Sets the user's tags.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such user.
    pub(crate) fn tag(&mut self, username: &str, tags: Vec<String>) -> Result<(), Error> {
        self.user_mut(username)?.tags = tags;
        Ok(())
    }

    /// Returns the name, password and tags of each user.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Password, &[String])> {
        let users = self.0.iter();
        users.map(|(name, user)| (name.as_str(), &user.password, user.tags.as_slice()))
    }

    /// Returns the user's permissions in a virtual host; none if there is no such user.
    pub(crate) fn permissions(
        &self,
        username: &str,
        vhost: &VirtualHost,
    ) -> Option<Arc<Permissions>> {
        let user = self.0.get(username)?;
        let said = user.permissions.get(vhost).cloned();
        Some(said.unwrap_or_else(|| match user.permits_by_default {
            true => Arc::default(),
            false => Permissions::cleared().into(),
        }))
    }

    /// Sets the user's permissions in a virtual host.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such user.
    pub(crate) fn permit(
        &mut self,
        username: &str,
        vhost: VirtualHost,
        permissions: Permissions,
    ) -> Result<(), Error> {
        let user = self.user_mut(username)?;
        user.permissions.insert(vhost, permissions.into());
        Ok(())
    }

    fn user_mut(&mut self, username: &str) -> Result<&mut User, Error> {
        self.0.get_mut(username).ok_or_else(|| {
            let message = format!("there is no user '{username}'");
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }

    /// Removes all users' permissions in a virtual host that has gone.
    pub(crate) fn forget_vhost(&mut self, vhost: &VirtualHost) {
        for user in self.0.values_mut() {
            user.permissions.remove(vhost);
        }
    }

    /// Returns true if there is such a user, with this password unless the mechanism knows the user
    /// without one.
    pub(crate) fn check(&self, mechanism: Mechanism, credentials: &Credentials) -> bool {
        let user = self.0.get(&credentials.username);
        user.is_some_and(|user| {
            mechanism == Mechanism::External || user.password.is(&credentials.password)
        })
    }
}
