//! Lookup of the objects that a command names.
//!
//! The sender of a command is connected, its channel is open and its virtual host exists. A
//! violation of this is a fault of the engine, and is reported as RabbitMQ reports its own faults.

use super::channel::Channel;
use super::connection::Connection;
use super::exchange::Exchange;
use super::ids::{ConnectionId, ExchangeId, QueueId, VhostId};
use super::queue::Queue;
use super::reply_error::ReplyError;
use super::vhost::VirtualHost;
use super::{Caller, Engine};
use mooq_core::QueueName;

impl Engine {
    pub(super) fn vhost(&self, key: VhostId) -> Result<&VirtualHost, ReplyError> {
        self.vhosts
            .get(key)
            .ok_or_else(|| ReplyError::internal("virtual host"))
    }

    /// Returns the virtual host of this name.
    pub(super) fn vhost_named(&self, name: &mooq_core::VirtualHost) -> Option<&VirtualHost> {
        self.vhosts.get(*self.vhosts_by_name.get(name)?)
    }

    pub(super) fn vhost_mut(&mut self, key: VhostId) -> Result<&mut VirtualHost, ReplyError> {
        self.vhosts
            .get_mut(key)
            .ok_or_else(|| ReplyError::internal("virtual host"))
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Result<&Connection, ReplyError> {
        self.connections
            .get(id)
            .ok_or_else(|| ReplyError::internal("connection"))
    }

    pub(super) fn connection_mut(
        &mut self,
        id: ConnectionId,
    ) -> Result<&mut Connection, ReplyError> {
        self.connections
            .get_mut(id)
            .ok_or_else(|| ReplyError::internal("connection"))
    }

    pub(super) fn channel_mut(&mut self, caller: Caller) -> Result<&mut Channel, ReplyError> {
        self.channels
            .get_mut(caller.channel)
            .ok_or_else(|| ReplyError::internal("channel"))
    }

    /// Returns true if there is such a queue, and it is a quorum queue.
    pub(super) fn is_quorum(&self, queue: QueueId) -> bool {
        self.queues.get(queue).is_some_and(Queue::is_quorum)
    }

    /// Returns the queue of this name.
    pub(super) fn find_queue(
        &self,
        caller: Caller,
        name: &QueueName,
    ) -> Result<(QueueId, &Queue), ReplyError> {
        let vhost = self.vhost(caller.vhost)?;
        let found = vhost
            .queues
            .get(name)
            .and_then(|key| Some((*key, self.queues.get(*key)?)));
        found.ok_or_else(|| ReplyError::missing(vhost.queue(name)))
    }

    /// Returns the queue of this name, if the caller may use the queue.
    pub(super) fn accessible_queue(
        &self,
        caller: Caller,
        name: &QueueName,
    ) -> Result<(QueueId, &Queue), ReplyError> {
        let (key, queue) = self.find_queue(caller, name)?;
        queue.check_access(caller.connection, self.vhost(caller.vhost)?.queue(name))?;
        Ok((key, queue))
    }

    pub(super) fn find_exchange(
        &self,
        caller: Caller,
        name: &str,
    ) -> Result<(ExchangeId, &Exchange), ReplyError> {
        let vhost = self.vhost(caller.vhost)?;
        let found = vhost
            .exchanges
            .get(name)
            .and_then(|key| Some((*key, self.exchanges.get(*key)?)));
        found.ok_or_else(|| ReplyError::missing(vhost.exchange(name)))
    }
}
