//! Who may log in, and what each may do where.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use mooq_core::{Credentials, Error, ErrorKind, VirtualHost};

use super::permissions::Permissions;
use super::reply_error::ReplyError;

/// Users by name.
pub(crate) struct Users(HashMap<String, User, RandomState>);

struct User {
    password: String,
    /// By virtual host: none if the user has nothing to do there. Where nobody has said anything,
    /// everything is permitted.
    permissions: HashMap<VirtualHost, Option<Arc<Permissions>>, RandomState>,
}

impl Default for Users {
    /// The user that every new RabbitMQ has.
    fn default() -> Self {
        let mut users = Self(HashMap::default());
        let guest = Credentials::default();
        users.add(guest.username, guest.password);
        users
    }
}

impl std::fmt::Debug for Users {
    /// Without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Users {
    /// Adds a user, or changes its password.
    pub(crate) fn add(&mut self, username: String, password: String) {
        match self.0.get_mut(&username) {
            Some(user) => user.password = password,
            None => {
                let permissions = HashMap::default();
                self.0.insert(
                    username,
                    User {
                        password,
                        permissions,
                    },
                );
            }
        }
    }

    /// Removes a user, and says whether there was one.
    pub(crate) fn remove(&mut self, username: &str) -> bool {
        self.0.remove(username).is_some()
    }

    /// What a user may do in a virtual host; none if it may not even log in there.
    pub(crate) fn permissions(
        &self,
        username: &str,
        vhost: &VirtualHost,
    ) -> Option<Arc<Permissions>> {
        let user = self.0.get(username)?;
        let said = user.permissions.get(vhost).cloned();
        said.unwrap_or_else(|| Some(Arc::default()))
    }

    /// Sets what a user may do in a virtual host.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such user.
    pub(crate) fn permit(
        &mut self,
        username: &str,
        vhost: VirtualHost,
        permissions: Option<Permissions>,
    ) -> Result<(), Error> {
        let user = self.0.get_mut(username).ok_or_else(|| {
            let message = format!("there is no user '{username}'");
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        user.permissions.insert(vhost, permissions.map(Arc::new));
        Ok(())
    }

    /// Forgets what all users may do in a virtual host that has gone.
    pub(crate) fn forget_vhost(&mut self, vhost: &VirtualHost) {
        for user in self.0.values_mut() {
            user.permissions.remove(vhost);
        }
    }

    pub(crate) fn check(&self, credentials: &Credentials) -> Result<(), ReplyError> {
        let user = self.0.get(&credentials.username);
        if user.is_some_and(|user| user.password == credentials.password) {
            return Ok(());
        }
        Err(ReplyError::login_refused())
    }
}
