//! `basic.qos`, `basic.consume`, `basic.cancel` and `basic.get`.

use mooq_core::in_flight::InFlight;
use mooq_core::{Consume, ConsumerTag, Fetched, QueueName};

use super::queue::count;
use crate::command::Reply;
use crate::consumer::{Consumer, Status};
use crate::deprecated::Deprecated;
use crate::direct_reply::REPLY_TO;
use crate::ids::ConsumerId;
use crate::message::Unacked;
use crate::permissions::Access;
use crate::queue::Queue;
use crate::queue::arguments::consumer_arguments;
use crate::queue::kind::QueueType;
use crate::reply_error::{ReplyError, Resource};
use crate::{Caller, Engine};

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
        let global = global && self.options.permit(Deprecated::GlobalQos);
        let channel = self.channel_mut(caller)?;
        let resumed = if global && prefetch_count != 0 {
            channel.limiter.limit(prefetch_count, channel.unacked.len())
        } else {
            // A prefetch per consumer removes the channel's limit.
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

    /// Subscribes a consumer. Sends its own reply, since deliveries come after the reply.
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
        self.refuse_to_consume_replies(caller, &name)?;
        let (key, queue) = self.accessible_queue(caller, &name)?;
        let resource = self.vhost(caller.vhost)?.queue(&name);
        let profile = self.options.profile;
        let kind = queue.options.kind;
        let asked = consumer_arguments(kind, &consume.arguments, resource, profile)?;
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
            exclusive: consume.exclusive,
            arguments: consume.arguments,
            prefetch,
            priority: asked.priority,
            credit: (prefetch > 0 && !(consume.no_ack && kind == QueueType::Classic))
                .then_some(prefetch.into()),
            blocked: None,
            number: self.subscriptions,
            unacked: 0,
            timeout: self.timeout_of_consumer(key, asked.timeout),
            overdue: 0,
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
        self.deliver_ready(key);
        Ok(())
    }

    /// Cancels a consumer. Sends its own reply, since the effects of the consumer's end come after
    /// the reply.
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

    /// Removes a consumer from its queue. An auto-delete queue is deleted with its last consumer.
    pub(crate) fn end_consumer(&mut self, consumer: ConsumerId) {
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
            self.deliver_ready(queue);
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
        if self.is_volatile_queue(&name) {
            let resource = self.vhost(caller.vhost)?.queue(&name);
            return Err(ReplyError::not_implemented(format!(
                "basic.get not supported by volatile {resource}"
            )));
        }
        let (key, queue) = self.accessible_queue(caller, &name)?;
        if queue.is_quorum() && queue.options.single_active_consumer {
            let resource = self.vhost(caller.vhost)?.queue(&name);
            let kind = self.options.profile.quorum_in_a_text();
            return Err(ReplyError::no_get_beside_single_active_consumer(
                resource, kind,
            ));
        }
        self.renew_lease(key);
        let Some(queued) = self.queues.get_mut(key).and_then(Queue::pop) else {
            return Ok(Reply::Fetched(None));
        };
        let behind = self.queues.get(key).map_or(0, |queue| queue.ready.len());
        self.drop_expired(key);
        let delivery_tag = self.channel_mut(caller)?.next_delivery_tag();
        if !self.recordings.is_empty() {
            self.record_fetch(key, (caller.channel, delivery_tag), &queued, no_ack);
        }
        let mut message_count = 0;
        if let Some(queue) = self.queues.get_mut(key) {
            // A quorum queue settles a fetch without acknowledgement before it counts, which drops
            // expired messages; otherwise it counts first.
            let counts_first = queue.is_quorum() && !no_ack;
            let left = if counts_first {
                behind
            } else {
                queue.ready.len()
            };
            message_count = count(left);
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
            let timed = self.time_delivery(caller.channel, key, None);
            self.channel_mut(caller)?.unacked.insert(Unacked {
                delivery_tag,
                queue: key,
                consumer: None,
                queued,
                timed,
            });
        }
        Ok(Reply::Fetched(Some(fetched)))
    }

    /// Adds a consumer to a classic queue.
    fn attach_consumer(&mut self, consumer: Consumer, exclusive: bool) -> ConsumerId {
        let (queue, priority) = (consumer.queue, consumer.priority);
        let key = self.consumers.insert(consumer);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.consumers.add(key, priority);
            self.in_transit.place_newest(queue, priority);
            let wants_it = exclusive || queue.options.single_active_consumer;
            if wants_it && queue.consumers.active.is_none() {
                queue.consumers.active = Some(key);
            }
        }
        key
    }

    /// Returns the tag that the client chose, or a generated one.
    pub(crate) fn consumer_tag(&mut self, chosen: ConsumerTag) -> Result<ConsumerTag, ReplyError> {
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let name = self.names.generate("amq.ctag");
        name.try_into().map_err(|_| ReplyError::internal("name"))
    }
}

/// Checks that no consumer has exclusive use of the queue. For an exclusive consumer, also checks
/// that the queue has no other consumer.
fn check_exclusive_consume(
    queue: &Queue,
    exclusive: bool,
    resource: Resource<'_>,
) -> Result<(), ReplyError> {
    let refused = if queue.options.single_active_consumer {
        exclusive
    } else {
        queue.consumers.active.is_some() || (exclusive && queue.consumers.count() > 0)
    };
    if refused {
        return Err(ReplyError::access_refused(format!(
            "{resource} in exclusive use"
        )));
    }
    Ok(())
}
