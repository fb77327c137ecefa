//! A queue: messages in, messages out in order.

pub(crate) mod arguments;
pub(crate) mod consumers;
pub(crate) mod ready;
pub(crate) mod tally;

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use mooq_core::{FieldTable, Message, QueueDeclare, QueueName, RoutingKey};

use super::arena::Key;
use super::command::ConnectionId;
use super::dead_letter::Annotations;
use super::exchange::Exchange;
use super::profile::Profile;
use super::reply_error::{ReplyError, Resource};
use super::time::Time;
use super::vhost::VirtualHost;
use arguments::{Overflow, QueueArguments};
use consumers::QueueConsumers;
use ready::{QueuedMessage, ReadyMessages};
use tally::QueueTally;

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: QueueName,
    pub(crate) vhost: Key<VirtualHost>,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    /// The connection that alone may use it, and with which it goes.
    pub(crate) owner: Option<ConnectionId>,
    pub(crate) arguments: FieldTable,
    pub(crate) options: QueueArguments,
    pub(crate) ready: ReadyMessages,
    /// How many messages are delivered and not settled.
    pub(crate) unacked: u64,
    pub(crate) tally: QueueTally,
    pub(crate) consumers: QueueConsumers,
    /// The source and key of its bindings.
    pub(crate) bound_to: HashSet<(Key<Exchange>, RoutingKey), RandomState>,
    /// The last message that was routed to it, so that it gets one copy.
    pub(crate) routed: u64,
    /// When it goes if it is not used until then.
    pub(crate) unused_until: Option<Time>,
    /// The position of the next message that arrives.
    next_position: u64,
}

impl Queue {
    pub(crate) fn new(
        declare: QueueDeclare,
        options: QueueArguments,
        vhost: Key<VirtualHost>,
        owner: Option<ConnectionId>,
    ) -> Self {
        Self {
            name: declare.name,
            vhost,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            owner,
            arguments: declare.arguments,
            ready: ReadyMessages::new(options.max_priority),
            options,
            unacked: 0,
            tally: QueueTally::default(),
            consumers: QueueConsumers::default(),
            bound_to: HashSet::default(),
            routed: 0,
            unused_until: None,
            next_position: 0,
        }
    }

    /// Gives a message its place among all that arrived here.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        message: Arc<Message>,
        annotations: Option<Arc<Annotations>>,
        message_ttl: Option<u64>,
    ) -> QueuedMessage {
        let position = self.next_position;
        self.next_position += 1;
        self.tally.arrived += 1;
        let ttl = match (self.options.message_ttl, message_ttl) {
            (Some(queue), Some(message)) => Some(queue.min(message)),
            (queue, message) => queue.or(message),
        };
        QueuedMessage {
            position,
            message,
            annotations,
            expires: ttl.map(|millis| now.plus_millis(millis)),
            redelivered: false,
        }
    }

    /// Whether there is more in it than its limits allow, with `more` messages of `bytes` in all.
    pub(crate) fn is_over_limit(&self, more: u64, bytes: u64) -> bool {
        let over = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count > limit);
        over(self.options.max_length, self.ready.len() as u64 + more)
            || over(self.options.max_length_bytes, self.ready.bytes() + bytes)
    }

    /// Whether it takes no message of this size, by its policy for too many.
    pub(crate) fn refuses(&self, bytes: u64) -> bool {
        self.options.overflow != Overflow::DropHead && self.is_over_limit(1, bytes)
    }

    /// Whether its last consumer has gone and it goes too.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.auto_delete && self.consumers.had_one && self.consumers.count() == 0
    }

    /// Checks that `connection` may use it.
    pub(crate) fn check_access(
        &self,
        connection: ConnectionId,
        resource: Resource<'_>,
    ) -> Result<(), ReplyError> {
        match self.owner {
            Some(owner) if owner != connection => Err(ReplyError::locked(resource)),
            _ => Ok(()),
        }
    }

    /// Checks that a declare asks for nothing else than what is here already.
    pub(crate) fn assert_equivalence(
        &self,
        declare: &QueueDeclare,
        owner: Option<ConnectionId>,
        resource: Resource<'_>,
        profile: Profile,
    ) -> Result<(), ReplyError> {
        if self.owner != owner {
            return Err(ReplyError::locked(resource));
        }
        for (what, received, current) in [
            ("durable", declare.durable, self.durable),
            ("auto_delete", declare.auto_delete, self.auto_delete),
        ] {
            if received != current {
                let text = |value: bool| format!("'{value}'");
                return Err(ReplyError::inequivalent(
                    resource,
                    what,
                    &text(received),
                    &text(current),
                ));
            }
        }
        arguments::assert_equivalence(&self.arguments, &declare.arguments, resource, profile)
    }

    /// Any queue, for tests of what only needs the keys of some.
    #[cfg(test)]
    pub(crate) fn placeholder() -> Self {
        let vhost =
            super::arena::Arena::new().insert(VirtualHost::new(mooq_core::VirtualHost::root()));
        let declare = QueueDeclare::new(QueueName::default());
        Self::new(declare, QueueArguments::default(), vhost, None)
    }
}
