//! Who may log in.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use mooq_core::Credentials;

use super::reply_error::ReplyError;

/// Passwords by user.
pub(crate) struct Users(HashMap<String, String, RandomState>);

impl Default for Users {
    /// The user that every new RabbitMQ has.
    fn default() -> Self {
        let guest = Credentials::default();
        Self(HashMap::from_iter([(guest.username, guest.password)]))
    }
}

impl std::fmt::Debug for Users {
    /// Without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Users {
    pub(crate) fn add(&mut self, username: String, password: String) {
        self.0.insert(username, password);
    }

    pub(crate) fn check(&self, credentials: &Credentials) -> Result<(), ReplyError> {
        if self.0.get(&credentials.username) == Some(&credentials.password) {
            return Ok(());
        }
        Err(ReplyError::access_refused(
            "Login was refused using authentication mechanism PLAIN. For details see the broker \
             logfile.",
        ))
    }
}
