//! `basic.qos`, `basic.consume`, `basic.cancel` and `basic.get`.

use mooq_core::in_flight::InFlight;
use mooq_core::{Consume, ConsumerTag, Fetched, QueueName};

use super::queue::count;
use crate::engine::arena::Key;
use crate::engine::command::Reply;
use crate::engine::consumer::{Consumer, Status};
use crate::engine::direct_reply::REPLY_TO;
use crate::engine::ledger::Unacked;
use crate::engine::permissions::Access;
use crate::engine::queue::Queue;
use crate::engine::queue::arguments::consumer_priority;
use crate::engine::queue::kind::QueueType;
use crate::engine::reply_error::{ReplyError, Resource};
use crate::engine::{Caller, Engine};

impl Engine {
    pub(super) fn basic_qos(
        &mut self,
        caller: Caller,
        prefetch_size: u32,
        prefetch_count: u16,
        global: bool,
    ) -> Result<(), ReplyError> {
        if prefetch_size != 0 {
            return Err(ReplyError::not_implemented(format!(
                "prefetch_size!=0 ({prefetch_size})"
            )));
        }
        let global = global && self.options.profile.permits_global_qos();
        let channel = self.channel_mut(caller)?;
        let resumed = if global && prefetch_count != 0 {
            channel.limiter.limit(prefetch_count, channel.ledger.len())
        } else {
            // A limit per consumer takes that of the channel away.
            if !global {
                channel.prefetch = prefetch_count;
            }
            channel.limiter.unlimit()
        };
        for queue in resumed {
            self.resume(queue, caller.channel);
        }
        Ok(())
    }

    /// Sends its reply itself: deliveries come after that.
    pub(super) fn basic_consume(
        &mut self,
        caller: Caller,
        consume: Consume,
    ) -> Result<(), ReplyError> {
        let name = self.expand_queue_name(caller, consume.queue.clone())?;
        let channel = self.channel_mut(caller)?;
        let (prefetch, limited) = (channel.prefetch, channel.limiter.is_active());
        if channel.consumers.contains_key(&consume.tag) {
            return Err(ReplyError::not_allowed(format!(
                "attempt to reuse consumer tag '{}'",
                consume.tag
            )));
        }
        if name == REPLY_TO {
            return self.consume_replies(caller, consume);
        }
        self.permit_queue(caller, Access::Read, &name)?;
        let (key, queue) = self.accessible_queue(caller, &name)?;
        let resource = self.vhost(caller.vhost)?.queue(&name);
        let profile = self.options.profile;
        let kind = queue.options.kind;
        let priority = consumer_priority(kind, &consume.arguments, resource, profile)?;
        match kind {
            QueueType::Classic => check_exclusive_consume(queue, consume.exclusive, resource)?,
            QueueType::Quorum if limited => {
                return Err(ReplyError::not_implemented(format!(
                    "{resource} does not support global qos"
                )));
            }
            QueueType::Quorum => {}
        }

        let tag = self.consumer_tag(consume.tag)?;
        self.subscriptions += 1;
        let consumer = Consumer {
            tag: tag.clone(),
            channel: caller.channel,
            queue: key,
            no_ack: consume.no_ack,
            priority,
            credit: (prefetch > 0 && !consume.no_ack).then_some(prefetch.into()),
            parked: None,
            number: self.subscriptions,
            unacked: 0,
            status: Status::Up,
        };
        let consumer = match kind {
            QueueType::Classic => self.attach_consumer(consumer, consume.exclusive),
            QueueType::Quorum => self.attach_quorum_consumer(consumer),
        };
        self.channel_mut(caller)?
            .consumers
            .insert(tag.clone(), consumer);
        self.reply(caller.connection, caller.number, Reply::Consuming(tag));
        self.pump(key);
        Ok(())
    }

    /// Sends its reply itself: what follows from the consumer's end comes after that.
    pub(super) fn basic_cancel(
        &mut self,
        caller: Caller,
        tag: &ConsumerTag,
    ) -> Result<(), ReplyError> {
        if self.cancel_replies(caller.channel, Some(tag)) {
            self.reply(caller.connection, caller.number, Reply::Done);
            return Ok(());
        }
        let consumer = self.channel_mut(caller)?.consumers.remove(tag);
        self.reply(caller.connection, caller.number, Reply::Done);
        if let Some(consumer) = consumer {
            self.end_consumer(consumer);
        }
        Ok(())
    }

    /// Takes a consumer off its queue, which goes too if that was to be so.
    pub(in crate::engine) fn end_consumer(&mut self, consumer: Key<Consumer>) {
        if self.cancel_quorum_consumer(consumer) {
            return;
        }
        let Some(queue) = self.detach_consumer(consumer) else {
            return;
        };
        if self.queues.get(queue).is_some_and(Queue::is_abandoned) {
            self.delete_queue(queue);
        } else {
            self.renew_lease(queue);
            self.pump(queue);
        }
    }

    pub(super) fn basic_get(
        &mut self,
        caller: Caller,
        name: QueueName,
        no_ack: bool,
    ) -> Result<Reply, ReplyError> {
        let name = self.expand_queue_name(caller, name)?;
        self.permit_queue(caller, Access::Read, &name)?;
        let (key, queue) = self.accessible_queue(caller, &name)?;
        if queue.is_quorum() && queue.options.single_active_consumer {
            let resource = self.vhost(caller.vhost)?.queue(&name);
            return Err(ReplyError::no_get_beside_single_active_consumer(resource));
        }
        self.renew_lease(key);
        let Some(queued) = self.queues.get_mut(key).and_then(Queue::pop) else {
            return Ok(Reply::Fetched(None));
        };
        self.drop_expired(key);
        let delivery_tag = self.channel_mut(caller)?.next_delivery_tag();
        if !self.recordings.is_empty() {
            self.record_fetch(key, (caller.channel, delivery_tag), &queued, no_ack);
        }
        let mut message_count = 0;
        if let Some(queue) = self.queues.get_mut(key) {
            message_count = count(queue.ready.len());
            queue.unacked += u64::from(!no_ack);
            queue.tally.acked += u64::from(no_ack);
            if let Some(quorum) = &mut queue.quorum {
                quorum.fetched += u32::from(!no_ack);
            }
        }
        let message = self.as_fetched(key, &queued);
        let fetched = Fetched {
            delivery_tag,
            redelivered: queued.is_redelivered(),
            message_count,
            message: self.perhaps_corrupted(message, key, caller.channel),
            in_flight: InFlight::default(),
        };
        if !no_ack {
            self.channel_mut(caller)?.ledger.enter(Unacked {
                delivery_tag,
                queue: key,
                consumer: None,
                queued,
            });
        }
        Ok(Reply::Fetched(Some(fetched)))
    }

    /// Adds a consumer to a classic queue.
    fn attach_consumer(&mut self, consumer: Consumer, exclusive: bool) -> Key<Consumer> {
        let (queue, priority) = (consumer.queue, consumer.priority);
        let key = self.consumers.insert(consumer);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.consumers.add(key, priority);
            self.transit.place_newest(queue, priority);
            let wants_it = exclusive || queue.options.single_active_consumer;
            if wants_it && queue.consumers.sole.is_none() {
                queue.consumers.sole = Some(key);
            }
        }
        key
    }

    /// The tag that the client chose, or one of the broker's choice.
    pub(in crate::engine) fn consumer_tag(
        &mut self,
        chosen: ConsumerTag,
    ) -> Result<ConsumerTag, ReplyError> {
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let name = self.names.generate("amq.ctag");
        name.try_into().map_err(|_| ReplyError::internal("name"))
    }
}

/// Checks that nobody has the queue for itself, and for who wants that, that nobody else is there.
fn check_exclusive_consume(
    queue: &Queue,
    exclusive: bool,
    resource: Resource<'_>,
) -> Result<(), ReplyError> {
    let refused = if queue.options.single_active_consumer {
        exclusive
    } else {
        queue.consumers.sole.is_some() || (exclusive && queue.consumers.count() > 0)
    };
    if refused {
        return Err(ReplyError::access_refused(format!(
            "{resource} in exclusive use"
        )));
    }
    Ok(())
}
