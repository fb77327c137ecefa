//! Administration from outside of AMQP, in rabbitmqctl's words: virtual hosts, users and their
//! permissions, policies.

use std::sync::Arc;

use mooq_core::{Error, ErrorKind, ExchangeName, VirtualHost};

use super::Engine;
use super::connection::Connection;
use super::ids::{ConnectionId, ExchangeId, MethodId, QueueId};
use super::permissions::Permissions;
use super::policy::{self, Policy};
use super::reply_code::ReplyCode;
use super::reply_error::ReplyError;
use super::time::Time;
use super::users::Password;
use super::vhost::{self, VirtualHostMetadata};

impl Engine {
    /// Adds a virtual host, unless one of this name exists.
    pub fn add_vhost(&mut self, name: VirtualHost) {
        if self.vhosts_by_name.contains_key(&name) {
            return;
        }
        let vhost = self.vhosts.insert(vhost::VirtualHost::new(name.clone()));
        self.vhosts_by_name.insert(name, vhost);
        self.predeclare_exchanges(vhost);
    }

    /// Removes a virtual host with everything in it, and closes its connections. Does nothing if no
    /// virtual host has this name.
    pub fn delete_vhost(&mut self, now: Time, name: &VirtualHost) {
        self.advance(now);
        let Some(key) = self.vhosts_by_name.remove(name) else {
            return;
        };
        let vhost = self.vhosts.get(key);
        let queues: Vec<_> = vhost.map_or_else(Vec::new, |v| v.queues.values().copied().collect());
        for queue in queues {
            self.delete_queue(queue);
        }
        self.close_connections(
            |connection| connection.vhost == key,
            |_| format!("vhost '{name}' is deleted"),
        );
        let vhost = self.vhosts.remove(key);
        for exchange in vhost.into_iter().flat_map(|v| v.exchanges.into_values()) {
            self.exchanges.remove(exchange);
        }
        self.users.forget_vhost(name);
        self.finish();
    }

    /// Sets the description and the tags of a virtual host.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn describe_vhost(
        &mut self,
        name: &VirtualHost,
        metadata: VirtualHostMetadata,
    ) -> Result<(), Error> {
        let found = self.vhosts_by_name.get(name).copied();
        let vhost = found.and_then(|key| self.vhosts.get_mut(key));
        vhost.ok_or_else(|| no_vhost(name))?.metadata = metadata;
        Ok(())
    }

    /// Adds a user, or changes the password of an existing user. A new user may do everything in
    /// every virtual host, unless permissions are set for the user there.
    pub fn add_user(&mut self, username: impl Into<String>, password: impl Into<String>) {
        let password = Password::Plain(password.into());
        self.users.add(username.into(), password, true);
    }

    /// Adds a user as rabbitmqctl does, or changes the password of an existing user. A new user has
    /// no permissions.
    pub fn import_user(&mut self, username: impl Into<String>, password: Password) {
        self.users.add(username.into(), password, false);
    }

    /// Sets a user's tags, which permit its access to a management API: `administrator`,
    /// `monitoring`, `policymaker`, `management`, or any others.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such user.
    pub fn set_user_tags(&mut self, username: &str, tags: Vec<String>) -> Result<(), Error> {
        self.users.tag(username, tags)
    }

    /// Closes a connection, as an administrator does: 320, with `why` as the reason. Returns false
    /// if no connection has this number.
    pub fn close_connection(&mut self, now: Time, number: u64, why: &str) -> bool {
        self.advance(now);
        let is_it = |connection: &Connection| connection.number == number;
        let found = !self.connections_where(is_it).is_empty();
        self.close_connections(is_it, |_| why.to_owned());
        self.finish();
        found
    }

    /// Removes a user and closes its connections. Does nothing if no user has this name.
    pub fn delete_user(&mut self, now: Time, username: &str) {
        self.advance(now);
        if !self.users.remove(username) {
            return;
        }
        self.close_connections(
            |connection| connection.username == username,
            |connection| format!("user '{}' is deleted", connection.username),
        );
        self.finish();
    }

    /// Sets a user's permissions in a virtual host. With none, the user may not even log in there.
    /// The permissions take effect at once, for open connections too. But a channel keeps the
    /// permissions that it has used, until the channel has been idle for a second.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host, `InvalidArgument` if there is no
    /// such user.
    pub fn set_permissions(
        &mut self,
        username: &str,
        vhost: &VirtualHost,
        permissions: Option<Permissions>,
    ) -> Result<(), Error> {
        let before = self.users.permissions(username, vhost);
        let mut permissions = permissions.unwrap_or_else(Permissions::cleared);
        if let Some(before) = before {
            permissions.keep_topics(&before);
        }
        self.permit_user(username, vhost, permissions)
    }

    /// Limits the routing keys with which a user may publish to a topic exchange or bind from it.
    /// None ends the limit.
    ///
    /// # Errors
    /// Those of [`Self::set_permissions`], and `InvalidArgument` if a pattern is not a regular
    /// expression.
    pub fn set_topic_permissions(
        &mut self,
        username: &str,
        vhost: &VirtualHost,
        exchange: ExchangeName,
        write_and_read: Option<(&str, &str)>,
    ) -> Result<(), Error> {
        let before = self.users.permissions(username, vhost);
        let mut permissions = Arc::unwrap_or_clone(before.unwrap_or_default());
        permissions.limit_topic(exchange, write_and_read)?;
        self.permit_user(username, vhost, permissions)
    }

    /// Sets a policy of a virtual host, replacing one of the same name. The policy takes effect at
    /// once, for existing queues and exchanges too.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host, `InvalidArgument` if the policy
    /// has a setting that this version of RabbitMQ does not know.
    pub fn set_policy(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
        policy.check(self.options.profile)?;
        self.change_policies(now, vhost, |vhost| vhost.policies.set(name.into(), policy))
    }

    /// Removes a policy, if there is one of this name.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn clear_policy(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        name: &str,
    ) -> Result<(), Error> {
        self.change_policies(now, vhost, |vhost| vhost.policies.clear(name))
    }

    /// Sets an operator policy, which applies in addition to the ordinary policies. Of two limits,
    /// the smaller one holds.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host, `InvalidArgument` if the policy
    /// has a setting that this version of RabbitMQ does not know.
    pub fn set_operator_policy(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
        policy.check_for_operators(self.options.profile)?;
        self.change_policies(now, vhost, |vhost| {
            vhost.operator_policies.set(name.into(), policy);
        })
    }

    /// Removes an operator policy, if there is one of this name.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn clear_operator_policy(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        name: &str,
    ) -> Result<(), Error> {
        self.change_policies(now, vhost, |vhost| vhost.operator_policies.clear(name))
    }

    fn change_policies(
        &mut self,
        now: Time,
        name: &VirtualHost,
        change: impl FnOnce(&mut vhost::VirtualHost),
    ) -> Result<(), Error> {
        self.advance(now);
        let found = self.vhosts_by_name.get(name).copied();
        let Some(vhost) = found.and_then(|key| self.vhosts.get_mut(key)) else {
            return Err(no_vhost(name));
        };
        change(vhost);
        let mut queues: Vec<_> = vhost.queues.values().copied().collect();
        queues.sort_unstable();
        let exchanges: Vec<_> = vhost.exchanges.values().copied().collect();
        for exchange in exchanges {
            self.apply_exchange_policy(exchange);
        }
        for queue in queues {
            self.apply_queue_policies(queue);
        }
        self.finish();
        Ok(())
    }

    /// Applies the current policies to a queue.
    pub(super) fn apply_queue_policies(&mut self, key: QueueId) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let Some(vhost) = self.vhosts.get(queue.vhost) else {
            return;
        };
        let (own, kind) = (&queue.own_options, queue.own_options.kind);
        let policy = vhost.policies.of_queue(kind, &queue.name);
        let operators = vhost.operator_policies.of_queue(kind, &queue.name);
        let profile = self.options.profile;
        let options = policy::effective(own, &queue.arguments, policy, operators, profile);
        if options == queue.options {
            return;
        }
        self.keeps_time |= options.depend_on_time(self.options.profile);
        let kept = queue.options.keeps_dead_letters();
        let keeps = options.keeps_dead_letters();
        let overflow = options.overflow;
        let was_low = queue.is_low_within_limits();
        let before = std::mem::replace(&mut queue.options, options);
        queue.unused_until = None;
        if !queue.is_quorum() {
            // A classic queue adopts its new limits first, and its new overflow behaviour after
            // that.
            queue.options.overflow = before.overflow;
            self.drop_over_limit(key);
        }
        if let Some(queue) = self.queues.get_mut(key) {
            queue.options.overflow = overflow;
        }
        if keeps {
            self.retry_dead_letters(key);
        } else if kept {
            self.drop_kept_dead_letters(key);
        }
        self.renew_lease(key);
        self.drop_over_limit(key);
        if let Some(queue) = self.queues.get_mut(key) {
            queue.update_reject_publish(before.has_limits(), was_low, profile);
        }
        self.drop_expired(key);
    }

    /// Applies the current policies to an exchange.
    pub(super) fn apply_exchange_policy(&mut self, key: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let vhost = self.vhosts.get(exchange.vhost);
        let policy = vhost.and_then(|vhost| vhost.policies.of_exchange(&exchange.name));
        exchange.policy_alternate = policy.and_then(|p| p.alternate_exchange().cloned());
    }

    fn permit_user(
        &mut self,
        username: &str,
        vhost: &VirtualHost,
        permissions: Permissions,
    ) -> Result<(), Error> {
        let Some(&key) = self.vhosts_by_name.get(vhost) else {
            return Err(no_vhost(vhost));
        };
        self.users.permit(username, vhost.clone(), permissions)?;
        let permissions = self.users.permissions(username, vhost).unwrap_or_default();
        for connection in self.connections_where(|c| c.vhost == key && c.username == username) {
            if let Some(connection) = self.connections.get_mut(connection) {
                connection.permissions = Arc::clone(&permissions);
            }
        }
        Ok(())
    }

    /// Closes connections, as an administrator does.
    pub(super) fn close_connections(
        &mut self,
        which: impl Fn(&Connection) -> bool,
        why: impl Fn(&Connection) -> String,
    ) {
        for key in self.connections_where(which) {
            let Some(connection) = self.connections.get(key) else {
                continue;
            };
            let reason = ReplyError::new(ReplyCode::ConnectionForced, why(connection));
            self.fail(key, None, reason, MethodId::NONE);
        }
    }

    pub(super) fn connections_where(
        &self,
        which: impl Fn(&Connection) -> bool,
    ) -> Vec<ConnectionId> {
        let all = self.connections.iter();
        all.filter(|(_, connection)| which(connection))
            .map(|(key, _)| key)
            .collect()
    }
}

pub(super) fn no_vhost(name: &VirtualHost) -> Error {
    let message = format!("there is no virtual host '{name}'");
    Error::new(ErrorKind::VirtualHostNotFound, message)
}
