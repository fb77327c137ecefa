//! Publishes: `basic.publish`, routing, the arrival in queues, the publisher confirm.

use std::sync::Arc;

use mooq_core::{ChannelEvent, Publish, Returned};

use super::channel::PublishingMode;
use super::command::Effect;
use super::dead_letters::dead_letter::Reason;
use super::faults::publishes::PublishFault;
use super::ids::{ChannelId, ExchangeId, QueueId, VhostId};
use super::message::{Accepted, Publisher};
use super::queue::Queue;
use super::queue::arguments::Overflow;
use super::recording::{MessageExcerpt, TimelineEvent};
use super::reply_error::ReplyError;
use super::routed::{Routed, RoutedQueue, RoutedQueues};
use super::router::Topology;
use super::{Caller, Engine};

impl Engine {
    /// Handles `basic.publish`.
    pub(super) fn publish(&mut self, caller: Caller, publish: Publish) -> Result<(), ReplyError> {
        let (exchange, accepted) =
            self.validate_publish(caller, publish.message, publish.immediate)?;
        self.check_addresses(&accepted)?;
        let mandatory = publish.mandatory && !self.is_routed_to_address(&accepted);
        if self.options.profile.addresses_are_queues() {
            return self.publish_accepted(caller, exchange, accepted, mandatory);
        }
        let requesters = self.requesters(caller.vhost, &accepted);
        if requesters.is_empty() {
            return self.publish_accepted(caller, exchange, accepted, mandatory);
        }
        // Not even a transaction holds a reply back.
        let reply = Arc::clone(&accepted.message);
        self.publish_accepted(caller, exchange, accepted, mandatory)?;
        self.send_replies(requesters, &reply);
        Ok(())
    }

    fn publish_accepted(
        &mut self,
        caller: Caller,
        exchange: ExchangeId,
        accepted: Accepted,
        mandatory: bool,
    ) -> Result<(), ReplyError> {
        let queues = self.route(caller.vhost, exchange, &accepted)?;
        if self.is_transactional(Some(caller.channel)) {
            return self.hold_back(caller, accepted, mandatory, queues);
        }
        let channel = self.channel_mut(caller)?;
        let sequence = match &mut channel.publishing {
            PublishingMode::Confirm { next } => {
                let sequence = *next;
                *next += 1;
                Some(sequence)
            }
            PublishingMode::Plain | PublishingMode::Transaction(_) => None,
        };
        self.note_publish(caller, &accepted, mandatory, sequence, &queues);
        let fault = self.publish_fault(caller, &accepted, &queues, sequence.is_some());
        let taken = match fault {
            None | Some(PublishFault::Unconfirmed) => {
                self.deliver_routed(caller, accepted, mandatory, &queues)
            }
            Some(PublishFault::Nacked) => self.refuse_routed(caller, &accepted, mandatory, &queues),
            Some(PublishFault::Lost) => false,
        };
        self.router.put_back(queues);
        if matches!(fault, Some(PublishFault::Lost | PublishFault::Unconfirmed)) {
            self.lose_connection(caller.connection);
            return Ok(());
        }
        if let Some(sequence) = sequence {
            self.settle_publish(caller.channel, sequence, taken);
        }
        Ok(())
    }

    /// Holds a publish back until its transaction is committed.
    fn hold_back(
        &mut self,
        caller: Caller,
        accepted: Accepted,
        mandatory: bool,
        queues: Vec<QueueId>,
    ) -> Result<(), ReplyError> {
        let found = queues
            .iter()
            .filter_map(|key| Some((*key, self.queues.get(*key)?)));
        let held = if self.options.profile.commits_by_queue_name() {
            RoutedQueues::Names(found.map(|(_, queue)| queue.name.clone()).collect())
        } else {
            let found = found.map(|(key, queue)| RoutedQueue {
                key,
                name: queue.name.clone(),
                is_quorum: queue.is_quorum(),
            });
            RoutedQueues::Queues(found.collect())
        };
        self.router.put_back(queues);
        let channel = self.channel_mut(caller)?;
        if let PublishingMode::Transaction(transaction) = &mut channel.publishing {
            transaction.publishes.push(Routed {
                accepted,
                mandatory,
                queues: held,
            });
        }
        Ok(())
    }

    /// Publishes a message that a transaction held back. Returns true if every queue accepted it.
    pub(super) fn publish_routed(
        &mut self,
        caller: Caller,
        routed: Routed,
    ) -> Result<bool, ReplyError> {
        let vhost = self.vhost(caller.vhost)?;
        let find = |name| vhost.queues.get(name).copied();
        let queues: Vec<_> = match routed.queues {
            RoutedQueues::Queues(queues) => {
                let gone = queues.iter().find(|queue| find(&queue.name).is_none());
                if let Some(gone) = gone
                    && self.options.profile.commits_only_to_queues_that_are_there()
                {
                    let profile = self.options.profile;
                    return Err(ReplyError::undeliverable(&vhost.name, &gone.name, profile));
                }
                // A quorum queue that has gone counts as having accepted the message.
                let counts =
                    |queue: &RoutedQueue| !queue.is_quorum || self.queues.get(queue.key).is_some();
                let counting = queues.iter().filter(|queue| counts(queue));
                counting.map(|queue| queue.key).collect()
            }
            RoutedQueues::Names(names) => names.iter().filter_map(find).collect(),
        };
        self.note_publish(caller, &routed.accepted, routed.mandatory, None, &queues);
        Ok(self.deliver_routed(caller, routed.accepted, routed.mandatory, &queues))
    }

    pub(super) fn route(
        &mut self,
        vhost: VhostId,
        exchange: ExchangeId,
        accepted: &Accepted,
    ) -> Result<Vec<QueueId>, ReplyError> {
        let vhost = self
            .vhosts
            .get(vhost)
            .ok_or_else(|| ReplyError::internal("virtual host"))?;
        let mut topology = Topology {
            vhost,
            exchanges: &mut self.exchanges,
            queues: &mut self.queues,
        };
        let queues = self.router.route(&mut topology, exchange, accepted);
        while let Some((exchange, millis)) = self.router.delays.pop() {
            self.hold_until_due(exchange, millis, accepted.clone());
        }
        Ok(queues)
    }

    /// Delivers a message by [`Self::deliver_to`], and records the publish for any running
    /// recordings.
    fn deliver_routed(
        &mut self,
        caller: Caller,
        accepted: Accepted,
        mandatory: bool,
        queues: &[QueueId],
    ) -> bool {
        let replies = if self.options.profile.addresses_are_queues() {
            self.requesters(caller.vhost, &accepted)
        } else {
            Vec::new()
        };
        let reply = (!replies.is_empty()).then(|| Arc::clone(&accepted.message));
        let taken = if !self.recordings.keep_log() {
            self.deliver_to(caller, accepted, mandatory, queues)
        } else {
            let before = self.before_publish(caller, &accepted, queues);
            let taken = self.deliver_to(caller, accepted, mandatory, queues);
            self.record_publish(before, mandatory, taken);
            taken
        };
        if let Some(reply) = reply {
            self.send_replies(replies, &reply);
        }
        taken
    }

    /// Withholds a message from all its queues, and records the publish for any running recordings.
    fn refuse_routed(
        &mut self,
        caller: Caller,
        accepted: &Accepted,
        mandatory: bool,
        queues: &[QueueId],
    ) -> bool {
        if self.recordings.keep_log() {
            let before = self.before_publish(caller, accepted, queues);
            self.record_publish(before, mandatory, false);
        }
        false
    }

    /// Delivers a message to its queues. If there are none and the message is mandatory, returns it
    /// to the publisher. Returns true if every queue accepted the message.
    fn deliver_to(
        &mut self,
        caller: Caller,
        accepted: Accepted,
        mandatory: bool,
        queues: &[QueueId],
    ) -> bool {
        let Some((&last, others)) = queues.split_last() else {
            if mandatory {
                let message = &accepted.message;
                self.note(caller.connection, caller.number, || {
                    TimelineEvent::Returned {
                        message: MessageExcerpt::of(message),
                    }
                });
                let returned = Returned {
                    reply_code: 312,
                    reply_text: "NO_ROUTE".into(),
                    message: accepted.message,
                };
                self.send(caller, ChannelEvent::Return(returned));
            }
            return true;
        };
        let mut taken = true;
        let publisher = Publisher::Channel(caller.channel);
        for &queue in others {
            taken &= self.arrive(queue, accepted.clone(), Some(publisher));
        }
        taken & self.arrive(last, accepted, Some(publisher))
    }

    /// Handles the arrival of a message at a queue, from a channel or as a dead letter. Returns
    /// true if the queue accepted the message. A queue that has gone since the message was routed
    /// does not accept it.
    pub(super) fn arrive(
        &mut self,
        key: QueueId,
        accepted: Accepted,
        publisher: Option<Publisher>,
    ) -> bool {
        let is_filled = self.strike_arrival(key, &accepted);
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        let Accepted {
            message,
            annotations,
            ttl,
        } = accepted;
        let is_quorum = queue.is_quorum();
        if is_filled || queue.refuses(queue.measure().of(&message), publisher, &self.channels) {
            if queue.options.overflow == Overflow::RejectPublishDlx {
                self.dead_letter(key, &message, annotations.as_deref(), Reason::MaxLen);
            }
            // By the time RabbitMQ answers the commit, it has forgotten that a quorum queue
            // refused.
            return is_quorum && self.is_in_transaction(publisher);
        }
        let queued = queue.receive(self.now, message, annotations, ttl);
        // A ready consumer never leaves a message in the queue.
        if queue.ready.is_empty()
            && let Some(consumer) = self.next_consumer(key)
        {
            if let Some(queue) = self.queues.get_mut(key) {
                queue.ready.pass_by();
            }
            self.deliver(key, consumer, queued);
            return true;
        }
        if self.queues.get(key).is_some_and(Queue::keeps_nothing) {
            self.drop_on_arrival(key, &queued);
            return true;
        }
        if let Some(queue) = self.queues.get_mut(key) {
            queue.wait(queued);
        }
        let dropped = self.drop_over_limit(key);
        // A classic queue checks its head for expiry only if the head is new, and ignores
        // priorities there: an expired message above messages of lower priorities stays.
        let is_alone = |queue: &Queue| queue.ready.len() == 1;
        if is_quorum || dropped || self.queues.get(key).is_some_and(is_alone) {
            self.drop_expired(key);
        }
        true
    }

    fn is_in_transaction(&self, publisher: Option<Publisher>) -> bool {
        match publisher {
            Some(Publisher::Channel(channel)) => self.is_transactional(Some(channel)),
            Some(Publisher::DeadLetters(_)) | None => false,
        }
    }

    fn is_transactional(&self, channel: Option<ChannelId>) -> bool {
        let channel = channel.and_then(|key| self.channels.get(key));
        channel.is_some_and(|c| matches!(c.publishing, PublishingMode::Transaction(_)))
    }

    pub(super) fn send(&mut self, caller: Caller, event: ChannelEvent) {
        self.effects.push_back(Effect::Channel {
            connection: caller.connection,
            channel: caller.number,
            event,
        });
    }
}
