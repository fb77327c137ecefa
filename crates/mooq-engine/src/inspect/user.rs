//! Inspection of users and their permissions.

use mooq_core::{Credentials, ExchangeName, VirtualHost};

use crate::Engine;
use crate::command::Mechanism;
use crate::permissions::Permissions;
use crate::users::Password;

/// Snapshot of a user.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UserInfo {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: Password,
    /// The user's tags.
    pub tags: Vec<String>,
}

/// Permissions of a user in a virtual host: three regular expressions for names of queues and
/// exchanges.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PermissionsInfo {
    /// The user's name.
    pub user: String,
    /// The virtual host.
    pub vhost: VirtualHost,
    /// Names that the user may create and delete.
    pub configure: String,
    /// Names that the user may publish to, bind or fill.
    pub write: String,
    /// Names that the user may consume or bind from.
    pub read: String,
}

/// Limits of a user's routing keys on a topic exchange: two regular expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicPermissionsInfo {
    /// The user's name.
    pub user: String,
    /// The virtual host.
    pub vhost: VirtualHost,
    /// The topic exchange.
    pub exchange: ExchangeName,
    /// Routing keys that the user may publish with.
    pub write: String,
    /// Routing keys that the user may bind with.
    pub read: String,
}

impl Engine {
    /// Returns all users, sorted by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserInfo> {
        let users = self.users.iter().map(|(name, password, tags)| UserInfo {
            name: name.to_owned(),
            password: password.clone(),
            tags: tags.to_vec(),
        });
        let mut users: Vec<_> = users.collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Returns the user with this name and password, if there is one.
    #[must_use]
    pub fn user_with(&self, credentials: &Credentials) -> Option<UserInfo> {
        if !self.users.check(Mechanism::Plain, credentials) {
            return None;
        }
        let mut users = self.users().into_iter();
        users.find(|user| user.name == credentials.username)
    }

    /// Returns the permissions of all users in all virtual hosts, sorted by virtual host and user.
    /// A user without permissions in a virtual host is not included.
    #[must_use]
    pub fn permissions(&self) -> Vec<PermissionsInfo> {
        let mut found = Vec::new();
        self.for_each_permissions(|user, vhost, permissions| {
            if permissions.are_cleared() {
                return;
            }
            let [configure, write, read] = permissions.sources().map(str::to_owned);
            found.push(PermissionsInfo {
                user: user.to_owned(),
                vhost: vhost.clone(),
                configure,
                write,
                read,
            });
        });
        found
    }

    /// Returns the topic permissions of all users in all virtual hosts, sorted by virtual host,
    /// user and exchange.
    #[must_use]
    pub fn topic_permissions(&self) -> Vec<TopicPermissionsInfo> {
        let mut found = Vec::new();
        self.for_each_permissions(|user, vhost, permissions| {
            let from = found.len();
            found.extend(permissions.topics().map(|(exchange, [write, read])| {
                TopicPermissionsInfo {
                    user: user.to_owned(),
                    vhost: vhost.clone(),
                    exchange: exchange.clone(),
                    write: write.to_owned(),
                    read: read.to_owned(),
                }
            }));
            if let Some(of_this) = found.get_mut(from..) {
                of_this.sort_by(|a, b| a.exchange.cmp(&b.exchange));
            }
        });
        found
    }

    fn for_each_permissions(&self, mut f: impl FnMut(&str, &VirtualHost, &Permissions)) {
        let mut users: Vec<_> = self.users.iter().map(|(name, ..)| name).collect();
        users.sort_unstable();
        for vhost in self.sorted_vhosts() {
            for user in &users {
                if let Some(permissions) = self.users.permissions(user, &vhost.name) {
                    f(user, &vhost.name, &permissions);
                }
            }
        }
    }
}
