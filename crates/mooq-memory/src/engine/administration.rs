//! What is done with a broker from outside of AMQP, in rabbitmqctl's words: virtual hosts, users
//! and their permissions, policies.

use std::sync::Arc;

use mooq_core::{Error, ErrorKind, ExchangeName, VirtualHost};

use super::Engine;
use super::arena::Key;
use super::command::{ConnectionId, MethodId};
use super::connection::Connection;
use super::exchange::Exchange;
use super::permissions::Permissions;
use super::policy::{self, Policy};
use super::queue::Queue;
use super::reply_error::{ReplyCode, ReplyError};
use super::time::Time;
use super::vhost;

impl Engine {
    /// Adds a virtual host, if there is none of this name.
    pub fn add_vhost(&mut self, name: VirtualHost) {
        if self.vhosts_by_name.contains_key(&name) {
            return;
        }
        let vhost = self.vhosts.insert(vhost::VirtualHost::new(name.clone()));
        self.vhosts_by_name.insert(name, vhost);
        self.predeclare_exchanges(vhost);
    }

    /// Removes a virtual host with all that is in it, and closes the connections to it. Nothing
    /// happens if there is none of this name.
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
        self.finish_dead_letters();
    }

    /// Adds a user, who may do everything in every virtual host where nothing else is said, or
    /// changes its password.
    pub fn add_user(&mut self, username: impl Into<String>, password: impl Into<String>) {
        self.users.add(username.into(), password.into());
    }

    /// Removes a user and closes its connections. Nothing happens if there is none of this name.
    pub fn delete_user(&mut self, now: Time, username: &str) {
        self.advance(now);
        if !self.users.remove(username) {
            return;
        }
        self.close_connections(
            |connection| connection.username == username,
            |connection| format!("user '{}' is deleted", connection.username),
        );
        self.finish_dead_letters();
    }

    /// Sets what a user may do in a virtual host, or with none, that it may not even log in. It
    /// holds at once, for connections that are open too.
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
        let permissions = permissions.map(|mut permissions| {
            if let Some(before) = before {
                permissions.keep_topics(&before);
            }
            permissions
        });
        self.permit_user(username, vhost, permissions)
    }

    /// Limits the routing keys that a user may publish to a topic exchange, and bind from it, or
    /// with none ends that.
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
        let mut permissions = before.map(|before| Permissions::clone(&before));
        if let Some(permissions) = &mut permissions {
            permissions.limit_topic(exchange, write_and_read)?;
        }
        self.permit_user(username, vhost, permissions)
    }

    /// Sets a policy of a virtual host, in place of one of the same name. It holds at once, for
    /// queues and exchanges that are there too.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn set_policy(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
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

    /// Sets an operator policy, which applies beside the ordinary ones: of limits, the smaller
    /// holds.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if there is no such virtual host.
    pub fn set_operator_policy(
        &mut self,
        now: Time,
        vhost: &VirtualHost,
        name: &str,
        policy: Policy,
    ) -> Result<(), Error> {
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
        self.finish_dead_letters();
        Ok(())
    }

    /// Brings a queue in line with the policies as they are now.
    pub(super) fn apply_queue_policies(&mut self, key: Key<Queue>) {
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
        self.keeps_time |= options.depend_on_time();
        queue.options = options;
        queue.unused_until = None;
        self.renew_lease(key);
        self.drop_over_limit(key);
        self.drop_expired(key);
    }

    /// Brings an exchange in line with the policies as they are now.
    pub(super) fn apply_exchange_policy(&mut self, key: Key<Exchange>) {
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
        permissions: Option<Permissions>,
    ) -> Result<(), Error> {
        let Some(&key) = self.vhosts_by_name.get(vhost) else {
            return Err(no_vhost(vhost));
        };
        self.users.permit(username, vhost.clone(), permissions)?;
        let permissions = self.users.permissions(username, vhost);
        for connection in self.connections_where(|c| c.vhost == key && c.username == username) {
            if let Some(connection) = self.connections.get_mut(connection) {
                connection.permissions = permissions.as_ref().map(Arc::clone);
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
            self.fail(ConnectionId(key), None, reason, MethodId::NONE);
        }
    }

    pub(super) fn connections_where(
        &self,
        which: impl Fn(&Connection) -> bool,
    ) -> Vec<Key<Connection>> {
        let all = self.connections.iter();
        all.filter(|(_, connection)| which(connection))
            .map(|(key, _)| key)
            .collect()
    }
}

fn no_vhost(name: &VirtualHost) -> Error {
    let message = format!("there is no virtual host '{name}'");
    Error::new(ErrorKind::VirtualHostNotFound, message)
}
