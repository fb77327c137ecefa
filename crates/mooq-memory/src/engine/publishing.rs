//! How a message comes in: `basic.publish`, its routing, its arrival in queues, its confirm.

use std::sync::Arc;

use mooq_core::{ChannelEvent, Publish, QueueName, Returned};

use super::acceptance::Accepted;
use super::arena::Key;
use super::channel::{Channel, PublishingMode};
use super::command::Effect;
use super::dead_letter::Reason;
use super::exchange::Exchange;
use super::faults::publishes::Mishap;
use super::queue::Queue;
use super::queue::arguments::Overflow;
use super::reply_error::ReplyError;
use super::router::{Address, Topology};
use super::vhost::VirtualHost;
use super::{Caller, Engine};

/// A publish that has been routed and waits for its commit.
#[derive(Debug)]
pub(crate) struct Routed {
    accepted: Accepted,
    mandatory: bool,
    destinations: Destinations,
}

/// Where a publish that waits for its commit goes.
#[derive(Debug)]
enum Destinations {
    /// To these queues and no others.
    Queues(Vec<Key<Queue>>),
    /// To the queues that have these names then.
    Names(Vec<QueueName>),
}

impl Engine {
    /// `basic.publish`.
    pub(super) fn publish(&mut self, caller: Caller, publish: Publish) -> Result<(), ReplyError> {
        let (exchange, accepted) = self.accept(caller, publish.message, publish.immediate)?;
        let requesters = self.requesters(&accepted);
        if requesters.is_empty() {
            return self.publish_accepted(caller, exchange, accepted, publish.mandatory);
        }
        // Not even a transaction holds a reply back.
        let reply = Arc::clone(&accepted.message);
        self.publish_accepted(caller, exchange, accepted, publish.mandatory)?;
        self.send_replies(requesters, &reply);
        Ok(())
    }

    fn publish_accepted(
        &mut self,
        caller: Caller,
        exchange: Key<Exchange>,
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
        let mishap = self.mishap(caller, &accepted, &queues, sequence.is_some());
        let taken = match mishap {
            None | Some(Mishap::Unconfirmed) => {
                self.deliver_routed(caller, accepted, mandatory, &queues)
            }
            Some(Mishap::Nacked) => self.refuse_routed(&accepted, mandatory, &queues),
            Some(Mishap::Lost) => false,
        };
        self.router.put_back(queues);
        if matches!(mishap, Some(Mishap::Lost | Mishap::Unconfirmed)) {
            self.lose_connection(caller.connection);
            return Ok(());
        }
        if let Some(sequence) = sequence {
            self.settle_publish(caller.channel, sequence, taken);
        }
        Ok(())
    }

    /// Keeps a publish until its transaction is committed.
    fn hold_back(
        &mut self,
        caller: Caller,
        accepted: Accepted,
        mandatory: bool,
        queues: Vec<Key<Queue>>,
    ) -> Result<(), ReplyError> {
        let destinations = if self.options.profile.commits_by_queue_name() {
            let found = queues.iter().filter_map(|key| self.queues.get(*key));
            let names = found.map(|queue| queue.name.clone()).collect();
            self.router.put_back(queues);
            Destinations::Names(names)
        } else {
            Destinations::Queues(queues)
        };
        let channel = self.channel_mut(caller)?;
        if let PublishingMode::Transaction(transaction) = &mut channel.publishing {
            transaction.publishes.push(Routed {
                accepted,
                mandatory,
                destinations,
            });
        }
        Ok(())
    }

    /// Publishes what a transaction held back. Says whether every queue took it.
    pub(super) fn publish_routed(&mut self, caller: Caller, routed: Routed) -> bool {
        let queues = match routed.destinations {
            Destinations::Queues(queues) => queues,
            Destinations::Names(names) => {
                let vhost = self.vhosts.get(caller.vhost);
                let find = |name| vhost.and_then(|vhost| vhost.queues.get(name)).copied();
                names.iter().filter_map(find).collect()
            }
        };
        self.deliver_routed(caller, routed.accepted, routed.mandatory, &queues)
    }

    pub(super) fn route(
        &mut self,
        vhost: Key<VirtualHost>,
        exchange: Key<Exchange>,
        accepted: &Accepted,
    ) -> Result<Vec<Key<Queue>>, ReplyError> {
        let vhost = self
            .vhosts
            .get(vhost)
            .ok_or_else(|| ReplyError::internal("virtual host"))?;
        let mut topology = Topology {
            vhost,
            exchanges: &mut self.exchanges,
            queues: &mut self.queues,
        };
        let address = Address {
            key: &accepted.message.routing_key,
            more_keys: accepted.annotations.as_ref().map_or(&[], |a| &a.more_keys),
            headers: &accepted.message.properties.headers,
        };
        Ok(self.router.route(&mut topology, exchange, address))
    }

    /// [`Self::deliver_to`], and records it if that is asked for.
    fn deliver_routed(
        &mut self,
        caller: Caller,
        accepted: Accepted,
        mandatory: bool,
        queues: &[Key<Queue>],
    ) -> bool {
        if self.recordings.is_empty() {
            return self.deliver_to(caller, accepted, mandatory, queues);
        }
        let before = self.before_publish(&accepted, queues);
        let taken = self.deliver_to(caller, accepted, mandatory, queues);
        self.record_publish(before, mandatory, taken);
        taken
    }

    /// Gives a message to none of its queues, and records that if it is asked for.
    fn refuse_routed(
        &mut self,
        accepted: &Accepted,
        mandatory: bool,
        queues: &[Key<Queue>],
    ) -> bool {
        if !self.recordings.is_empty() {
            let before = self.before_publish(accepted, queues);
            self.record_publish(before, mandatory, false);
        }
        false
    }

    /// Gives a message to its queues, or back if there are none and it is mandatory. Says whether
    /// every queue took it.
    fn deliver_to(
        &mut self,
        caller: Caller,
        accepted: Accepted,
        mandatory: bool,
        queues: &[Key<Queue>],
    ) -> bool {
        let Some((&last, others)) = queues.split_last() else {
            if mandatory {
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
        for &queue in others {
            taken &= self.arrive(queue, accepted.clone(), Some(caller.channel));
        }
        taken & self.arrive(last, accepted, Some(caller.channel))
    }

    /// A message arrives at a queue, from a channel or as a dead letter. Says whether the queue
    /// took it, which one that has gone since the message was routed did not.
    pub(super) fn arrive(
        &mut self,
        key: Key<Queue>,
        accepted: Accepted,
        publisher: Option<Key<Channel>>,
    ) -> bool {
        let is_filled = self.is_filled(key, &accepted);
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        let Accepted {
            message,
            annotations,
            ttl,
        } = accepted;
        let is_quorum = queue.is_quorum();
        if is_filled || queue.refuses(message.body.len() as u64, publisher, &self.channels) {
            if queue.options.overflow == Overflow::RejectPublishDlx {
                self.bury(key, &message, annotations.as_deref(), Reason::MaxLen);
            }
            // RabbitMQ forgets that a quorum queue refused by the time it answers the commit.
            return is_quorum && self.is_transactional(publisher);
        }
        let queued = queue.receive(self.now, message, annotations, ttl);
        // A consumer that is ready never leaves anything in the queue.
        if queue.ready.is_empty()
            && let Some(consumer) = self.next_consumer(key)
        {
            self.deliver(key, consumer, queued);
            return true;
        }
        if let Some(queue) = self.queues.get_mut(key) {
            queue.ready.push(queued);
        }
        let dropped = self.drop_over_limit(key);
        // A classic queue looks at its head only if it has a new one, and takes no account of
        // priorities there: what expires above messages of lower priorities stays.
        let is_alone = |queue: &Queue| queue.ready.len() == 1;
        if is_quorum || dropped || self.queues.get(key).is_some_and(is_alone) {
            self.drop_expired(key);
        }
        true
    }

    fn is_transactional(&self, channel: Option<Key<Channel>>) -> bool {
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
