//! A queue: messages in, messages out in order.

pub(crate) mod argument_table;
pub(crate) mod arguments;
pub(crate) mod consumers;
pub(crate) mod delayed_retry;
pub(crate) mod delivery_limit;
pub(crate) mod kept_dead_letters;
pub(crate) mod kind;
pub(crate) mod measure;
pub(crate) mod quorum;
pub(crate) mod ready;
mod reject_publish;
pub(crate) mod tally;

use std::collections::HashSet;
use std::sync::Arc;

use super::channel::Channel;
use super::dead_letters::dead_letter::Annotations;
use super::profile::Profile;
use super::reply_error::{ReplyError, Resource};
use super::time::Time;
use crate::ids::{ChannelId, ConnectionId, ExchangeId, VhostId};
use crate::message::{Publisher, QueuedMessage, Returns};
use crate::queue::delivery_limit::DeliveryLimit;
use crate::queue::measure::Measure;
use arguments::{Overflow, QueueArguments};
use consumers::QueueConsumers;
use foldhash::fast::RandomState;
use kind::QueueType;
use mooq_core::{FieldTable, Message, QueueDeclare, QueueName, RoutingKey};
use quorum::Quorum;
use ready::ReadyMessages;
use reject_publish::{RejectPublish, low_mark};
use slotmap::SlotMap;
use tally::QueueTally;

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: QueueName,
    /// Number of queues declared up to this one, which orders queues by age.
    pub(crate) number: u64,
    pub(crate) vhost: VhostId,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    /// The only connection that may use the queue. The queue is deleted with this connection.
    pub(crate) owner: Option<ConnectionId>,
    pub(crate) arguments: FieldTable,
    /// Options that the queue's arguments set.
    pub(crate) own_options: QueueArguments,
    /// The options of the arguments, merged with those of policies.
    pub(crate) options: QueueArguments,
    pub(crate) ready: ReadyMessages,
    /// Number of unacked messages.
    pub(crate) unacked: u64,
    pub(crate) tally: QueueTally,
    pub(crate) consumers: QueueConsumers,
    /// State that only a quorum queue has. None for a classic queue.
    pub(crate) quorum: Option<Box<Quorum>>,
    /// Source exchange and routing key of the queue's bindings.
    pub(crate) bound_to: HashSet<(ExchangeId, RoutingKey), RandomState>,
    /// Number of the last message that was routed to the queue, so that the queue gets one copy.
    pub(crate) routed: u64,
    /// Time at which the queue is deleted if it stays unused until then.
    pub(crate) unused_until: Option<Time>,
    /// True if the queue counts the failed deliveries of a message.
    counts_failures: bool,
    /// Position of the next message that arrives.
    next_position: u64,
}

impl Queue {
    pub(crate) fn new(
        declare: QueueDeclare,
        options: QueueArguments,
        vhost: VhostId,
        owner: Option<ConnectionId>,
        profile: Profile,
    ) -> Self {
        let counts_failures =
            options.kind == QueueType::Quorum || profile.classic_queues_count_failed_deliveries();
        Self {
            name: declare.name,
            number: 0,
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
            counts_failures,
            next_position: 0,
        }
    }

    /// Gives an arriving message its position in the queue.
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
        // In a quorum queue no message expires at the very moment of its arrival.
        let least_ttl = self.quorum.is_some().into();
        let mut queued = QueuedMessage {
            position: self.next_position(),
            message,
            annotations,
            expires: ttl.map(|millis| now.plus_millis(millis.max(least_ttl))),
            returns: Returns::default(),
        };
        if self.quorum.is_some() {
            self.inherit_failures(&mut queued);
        }
        queued
    }

    /// Enqueues a message that no consumer took on arrival. Only here does a classic queue mark a
    /// message as redelivered for earlier failures elsewhere.
    pub(crate) fn wait(&mut self, mut queued: QueuedMessage) {
        self.inherit_failures(&mut queued);
        self.ready.push(queued);
        self.note_rise();
    }

    /// Adds the deliveries that failed before the message arrived here as a dead letter.
    fn inherit_failures(&self, queued: &mut QueuedMessage) {
        if self.counts_failures {
            let before = queued.annotations.as_ref();
            let before = before.map_or(0, |annotations| annotations.failed_deliveries);
            queued.returns.failed = queued.returns.failed.max(before);
        }
    }

    fn next_position(&mut self) -> u64 {
        let position = self.next_position;
        self.next_position += 1;
        position
    }

    /// Removes and returns the message that leaves next.
    pub(crate) fn pop(&mut self) -> Option<QueuedMessage> {
        let queued = self.ready.pop()?;
        if self.quorum.is_some() {
            self.resume_publishers_if_low();
        }
        Some(queued)
    }

    /// Removes and returns the next message that has expired.
    pub(crate) fn pop_expired(&mut self, now: Time) -> Option<QueuedMessage> {
        let queued = self.ready.pop_expired(now)?;
        if self.quorum.is_some() {
            self.resume_publishers_if_low();
        }
        Some(queued)
    }

    /// Removes the ready messages, and returns the number of messages removed.
    pub(crate) fn purge(&mut self, profile: Profile) -> usize {
        let delayed = self.quorum.as_mut().map_or(0, |q| q.delayed.clear());
        let mut purged = self.ready.clear() + delayed;
        self.tally.purged += purged as u64;
        if profile.purges_kept_dead_letters()
            && let Some(quorum) = &mut self.quorum
        {
            purged += quorum.dead_letters.purge();
        }
        self.resume_publishers_if_low();
        purged
    }

    /// Requeues a message that was delivered. Returns the time until which the message waits, if it
    /// has to wait.
    ///
    /// # Errors
    /// The message, if it has returned too often to be delivered again.
    pub(crate) fn put_back(
        &mut self,
        mut queued: QueuedMessage,
        failed: bool,
        now: Time,
        profile: Profile,
    ) -> Result<Option<Time>, QueuedMessage> {
        queued.returns.all = queued.returns.all.saturating_add(1);
        self.count_failure(&mut queued, failed);
        if let Some(quorum) = &mut self.quorum {
            let returns = queued.returns;
            if self.options.delivery_limit.is_exceeded(returns, profile) {
                self.tally.over_delivery_limit += 1;
                return Err(queued);
            }
            let retry = self.options.delayed_retry;
            if let Some(millis) = retry.and_then(|retry| retry.delay(failed, returns)) {
                let until = now.plus_millis(millis);
                quorum.delayed.insert(until, queued);
                self.note_rise();
                return Ok(Some(until));
            }
        }
        self.ready.put_back(queued);
        self.note_rise();
        Ok(None)
    }

    /// Makes delayed messages ready that have waited long enough. Returns true if there were any.
    pub(crate) fn end_delays(&mut self, now: Time) -> bool {
        let Some(quorum) = &mut self.quorum else {
            return false;
        };
        let mut any = false;
        while let Some(queued) = quorum.delayed.pop_due(now) {
            self.ready.put_back(queued);
            any = true;
        }
        any
    }

    /// Number of messages that wait before they are ready again.
    pub(crate) fn delayed(&self) -> usize {
        self.quorum.as_ref().map_or(0, |q| q.delayed.len())
    }

    /// The part of a message that counts for the queue's limits in bytes.
    pub(crate) fn measure(&self) -> Measure {
        self.ready.measure()
    }

    /// Number of dead letters that stay in the queue until they have arrived elsewhere.
    pub(crate) fn kept_dead_letters(&self) -> usize {
        self.quorum.as_ref().map_or(0, |q| q.dead_letters.len())
    }

    /// Number of messages that count for the queue's limits, and their bytes: ready messages,
    /// delayed ones, and dead letters that have not left the queue.
    fn waiting(&self) -> (u64, u64) {
        let (mut len, mut bytes) = (self.ready.len(), self.ready.bytes());
        if let Some(quorum) = &self.quorum {
            len += quorum.delayed.len() + quorum.dead_letters.len();
            bytes += quorum.delayed.bytes() + quorum.dead_letters.bytes();
        }
        (len as u64, bytes)
    }

    /// Counts a failed delivery, in a queue that counts them.
    pub(crate) fn count_failure(&self, queued: &mut QueuedMessage, failed: bool) {
        if self.counts_failures {
            self.inherit_failures(queued);
            queued.returns.failed = queued.returns.failed.saturating_add(failed.into());
        }
    }

    /// Forgets the returns of ready messages, as far as a restart does.
    pub(crate) fn forget_returns(&mut self) {
        if self.counts_failures && self.quorum.is_none() {
            self.ready.forget_returns();
        }
    }

    /// Requeues a message behind all others, where the queue does so with messages that its
    /// consumer returned.
    pub(crate) fn put_last(&mut self, mut queued: QueuedMessage) {
        queued.returns.all = queued.returns.all.saturating_add(1);
        queued.position = self.next_position();
        self.ready.push_again(queued);
        self.note_rise();
    }

    /// True if requeued messages go behind all others.
    pub(crate) fn requeues_behind(&self, profile: Profile) -> bool {
        self.quorum.is_some()
            && self.options.delivery_limit == DeliveryLimit::None
            && profile.unlimited_returns_go_last()
    }

    /// True if the queue exceeds its limits, with `more` messages of `bytes` in all.
    pub(crate) fn is_over_limit(&self, more: u64, bytes: u64) -> bool {
        let over = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count > limit);
        let (waiting, waiting_bytes) = self.waiting();
        over(self.options.max_length, waiting + more)
            || over(self.options.max_length_bytes, waiting_bytes + bytes)
    }

    /// Makes a quorum queue that exceeds its limits reject publishes.
    pub(crate) fn stop_publishers(&mut self) {
        if let Some(overflow) = self.reject_publish() {
            overflow.stop_publishers();
        }
    }

    /// Lets the publishers resume of a queue that rejected publishes and has room again.
    pub(crate) fn resume_publishers_if_low(&mut self) {
        if self.options.overflow == Overflow::DropHead {
            return;
        }
        let is_low = self.is_low();
        if let Some(overflow) = self.reject_publish() {
            overflow.update(is_low);
        }
    }

    /// True if the queue holds at most four fifths of its limits.
    fn is_low(&self) -> bool {
        let low =
            |limit: Option<u64>, count: u64| limit.is_none_or(|limit| count <= low_mark(limit));
        let (waiting, waiting_bytes) = self.waiting();
        low(self.options.max_length, waiting) && low(self.options.max_length_bytes, waiting_bytes)
    }

    /// Records the arrival of a message, if it takes a queue that rejects publishes above four
    /// fifths of its limits.
    fn note_rise(&mut self) {
        let awaits_rise = |quorum: &Quorum| quorum.reject_publish.awaits_rise();
        if self.quorum.as_deref().is_some_and(awaits_rise)
            && !self.is_low()
            && let Some(overflow) = self.reject_publish()
        {
            overflow.update(false);
        }
    }

    /// True if the queue has a limit and holds at most four fifths of it.
    pub(crate) fn is_low_within_limits(&self) -> bool {
        self.options.has_limits() && self.is_low()
    }

    /// Lets publishers resume if newly set options give the queue room. `was_low` is true if the
    /// queue was low within its limits before.
    pub(crate) fn update_reject_publish(
        &mut self,
        had_limits: bool,
        was_low: bool,
        profile: Profile,
    ) {
        let is_low = self.is_low();
        let resumes = if !self.options.has_limits() {
            had_limits && profile.resumes_publishers_without_limits()
        } else if self.options.overflow == Overflow::DropHead || self.is_over_limit(0, 0) {
            return;
        } else {
            !was_low && is_low
        };
        if let Some(overflow) = self.reject_publish() {
            if resumes {
                overflow.resume_publishers();
            }
            overflow.start_at(is_low);
        }
    }

    fn reject_publish(&mut self) -> Option<&mut RejectPublish> {
        Some(&mut self.quorum.as_mut()?.reject_publish)
    }

    /// True if no message ever waits in the queue: a classic queue whose messages have a TTL of
    /// zero and whose dead letters go nowhere. Messages that have waited in the queue since before
    /// that was set stay.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.quorum.is_none()
            && self.options.message_ttl == Some(0)
            && self.options.dead_letter_exchange.is_none()
    }

    /// True if the queue's overflow behaviour refuses a message of this size from a publisher. None
    /// stands for the broker itself, which no queue notifies.
    pub(crate) fn refuses(
        &mut self,
        bytes: u64,
        publisher: Option<Publisher>,
        channels: &SlotMap<ChannelId, Channel>,
    ) -> bool {
        let drops = self.options.overflow == Overflow::DropHead;
        if self.quorum.is_none() {
            return !drops && self.is_over_limit(1, bytes);
        }
        let over_limit = !drops && self.is_over_limit(0, 0);
        match (self.reject_publish(), publisher) {
            (Some(overflow), Some(publisher)) => {
                !overflow.accepts_from(publisher, over_limit, channels)
            }
            _ => false,
        }
    }

    /// Number of consumers of the queue. A quorum queue also counts cancelled consumers that have
    /// unacked deliveries, and unacked fetched messages. With a single active consumer the queue
    /// counts that consumer, but not those that wait.
    pub(crate) fn consumer_count(&self) -> u32 {
        let Some(quorum) = &self.quorum else {
            return self.consumers.count();
        };
        let attached = if self.options.single_active_consumer {
            self.consumers.active.is_some().into()
        } else {
            self.consumers.count()
        };
        let cancelled = u32::try_from(quorum.cancelled.len()).unwrap_or(u32::MAX);
        attached
            .saturating_add(cancelled)
            .saturating_add(quorum.fetched)
    }

    pub(crate) fn is_quorum(&self) -> bool {
        self.quorum.is_some()
    }

    /// True if the queue's last consumer has gone and the queue is deleted with it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.auto_delete && self.consumers.had_one && self.consumers.count() == 0
    }

    /// Checks that `connection` may use the queue.
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

    /// Checks that a declare asks for nothing other than the existing queue.
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

    /// Creates a queue for tests that need only the keys of some queues.
    #[cfg(test)]
    pub(crate) fn placeholder() -> Self {
        let vhost = SlotMap::with_key().insert(());
        let declare = QueueDeclare::new(QueueName::default());
        let profile = Profile::default();
        Self::new(declare, QueueArguments::default(), vhost, None, profile)
    }
}
