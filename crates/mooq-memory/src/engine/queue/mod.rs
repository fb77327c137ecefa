//! A queue: messages in, messages out in order.

pub(crate) mod arguments;
pub(crate) mod consumers;
mod gate;
pub(crate) mod kind;
pub(crate) mod quorum;
pub(crate) mod ready;
pub(crate) mod tally;

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use mooq_core::{FieldTable, Message, QueueDeclare, QueueName, RoutingKey};

use super::arena::{Arena, Key};
use super::channel::Channel;
use super::command::ConnectionId;
use super::dead_letter::Annotations;
use super::exchange::Exchange;
use super::profile::Profile;
use super::reply_error::{ReplyError, Resource};
use super::time::Time;
use super::vhost::VirtualHost;
use arguments::{Overflow, QueueArguments};
use consumers::QueueConsumers;
use gate::{Gate, low_mark};
use kind::QueueType;
use quorum::{DeliveryLimit, Quorum};
use ready::{QueuedMessage, ReadyMessages, Returns};
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
    /// What its arguments ask for.
    pub(crate) own_options: QueueArguments,
    /// That, and what policies add.
    pub(crate) options: QueueArguments,
    pub(crate) ready: ReadyMessages,
    /// How many messages are delivered and not settled.
    pub(crate) unacked: u64,
    pub(crate) tally: QueueTally,
    pub(crate) consumers: QueueConsumers,
    /// What else a quorum queue has. None for a classic one.
    pub(crate) quorum: Option<Box<Quorum>>,
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
        profile: Profile,
    ) -> Self {
        Self {
            name: declare.name,
            vhost,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            owner,
            arguments: declare.arguments,
            ready: ReadyMessages::new(options.kind, options.max_priority, profile),
            own_options: options.clone(),
            unacked: 0,
            tally: QueueTally::default(),
            consumers: QueueConsumers::default(),
            quorum: (options.kind == QueueType::Quorum).then(Box::default),
            options,
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
        self.tally.arrived += 1;
        let ttl = match (self.options.message_ttl, message_ttl) {
            (Some(queue), Some(message)) => Some(queue.min(message)),
            (queue, message) => queue.or(message),
        };
        let mut returns = Returns::default();
        let mut least_ttl = 0;
        if self.quorum.is_some() {
            returns.failed = annotations.as_ref().map_or(0, |a| a.failed_deliveries);
            // Nothing expires in the very moment of its arrival.
            least_ttl = 1;
        }
        QueuedMessage {
            position: self.next_position(),
            message,
            annotations,
            expires: ttl.map(|millis| now.plus_millis(millis.max(least_ttl))),
            returns,
        }
    }

    fn next_position(&mut self) -> u64 {
        let position = self.next_position;
        self.next_position += 1;
        position
    }

    /// Takes out the message that leaves next.
    pub(crate) fn pop(&mut self) -> Option<QueuedMessage> {
        let queued = self.ready.pop()?;
        if self.quorum.is_some() {
            self.open_gate_if_low();
        }
        Some(queued)
    }

    /// Removes what is ready, and says how many messages that were.
    pub(crate) fn purge(&mut self) -> usize {
        let purged = self.ready.clear();
        self.tally.purged += purged as u64;
        self.open_gate_if_low();
        purged
    }

    /// Takes back a message that was delivered.
    ///
    /// # Errors
    /// The message, if it has come back so often that it is not to be delivered any more.
    pub(crate) fn put_back(
        &mut self,
        mut queued: QueuedMessage,
        failed: bool,
        profile: Profile,
    ) -> Result<(), QueuedMessage> {
        let returns = &mut queued.returns;
        returns.all = returns.all.saturating_add(1);
        if self.quorum.is_some() {
            returns.failed = returns.failed.saturating_add(failed.into());
            if self.options.delivery_limit.is_exceeded(*returns, profile) {
                self.tally.over_delivery_limit += 1;
                return Err(queued);
            }
        }
        self.ready.put_back(queued);
        Ok(())
    }

    /// Takes back a message that its consumer did not want, where that puts it behind all others.
    pub(crate) fn put_last(&mut self, mut queued: QueuedMessage) {
        queued.returns.all = queued.returns.all.saturating_add(1);
        queued.position = self.next_position();
        self.ready.push_again(queued);
    }

    /// Whether what its consumers do not want goes behind all others.
    pub(crate) fn requeues_behind(&self) -> bool {
        self.quorum.is_some() && self.options.delivery_limit == DeliveryLimit::None
    }

    /// Whether there is more in it than its limits allow, with `more` messages of `bytes` in all.
    pub(crate) fn is_over_limit(&self, more: u64, bytes: u64) -> bool {
        let over = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count > limit);
        over(self.options.max_length, self.ready.len() as u64 + more)
            || over(self.options.max_length_bytes, self.ready.bytes() + bytes)
    }

    /// Notes that it has more in it than its limits allow, if it refuses messages for that.
    pub(crate) fn close_gate(&mut self) {
        if let Some(gate) = self.gate() {
            gate.close();
        }
    }

    fn open_gate_if_low(&mut self) {
        let low =
            |limit: Option<u64>, count: u64| limit.is_none_or(|limit| count <= low_mark(limit));
        if low(self.options.max_length, self.ready.len() as u64)
            && low(self.options.max_length_bytes, self.ready.bytes())
            && let Some(gate) = self.gate()
        {
            gate.open();
        }
    }

    fn gate(&mut self) -> Option<&mut Gate> {
        Some(&mut self.quorum.as_mut()?.gate)
    }

    /// Whether it takes no message of this size from a channel, by its policy for too many. None
    /// stands for the broker itself, with a dead letter.
    pub(crate) fn refuses(
        &mut self,
        bytes: u64,
        publisher: Option<Key<Channel>>,
        channels: &Arena<Channel>,
    ) -> bool {
        if self.options.overflow == Overflow::DropHead {
            return false;
        }
        if self.quorum.is_none() {
            return self.is_over_limit(1, bytes);
        }
        let over_limit = self.is_over_limit(0, 0);
        match (self.gate(), publisher) {
            (Some(gate), Some(publisher)) => !gate.admits(publisher, over_limit, channels),
            _ => false,
        }
    }

    /// How many consumers it has. A quorum queue counts whoever has something to settle among
    /// them, and with a single active consumer only that of those who wait.
    pub(crate) fn consumer_count(&self) -> u32 {
        let Some(quorum) = &self.quorum else {
            return self.consumers.count();
        };
        let attached = if self.options.single_active_consumer {
            self.consumers.sole.is_some().into()
        } else {
            self.consumers.count()
        };
        let lingering = u32::try_from(quorum.lingering.len()).unwrap_or(u32::MAX);
        attached
            .saturating_add(lingering)
            .saturating_add(quorum.fetched)
    }

    pub(crate) fn is_quorum(&self) -> bool {
        self.quorum.is_some()
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
        let (current, received) = (&self.arguments, &declare.arguments);
        arguments::assert_equivalence(self.options.kind, current, received, resource, profile)
    }

    /// Any queue, for tests of what only needs the keys of some.
    #[cfg(test)]
    pub(crate) fn placeholder() -> Self {
        let vhost = Arena::new().insert(VirtualHost::new(mooq_core::VirtualHost::root()));
        let declare = QueueDeclare::new(QueueName::default());
        let profile = Profile::default();
        Self::new(declare, QueueArguments::default(), vhost, None, profile)
    }
}
