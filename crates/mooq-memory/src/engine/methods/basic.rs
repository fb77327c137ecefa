//! `basic.qos`, `basic.consume`, `basic.cancel` and `basic.get`.

use std::sync::Arc;

use mooq_core::{Consume, ConsumerTag, Fetched, QueueName};

use super::queue::count;
use crate::engine::command::Reply;
use crate::engine::consumer::Consumer;
use crate::engine::direct_reply::REPLY_TO;
use crate::engine::ledger::Unacked;
use crate::engine::permissions::Access;
use crate::engine::queue::Queue;
use crate::engine::queue::arguments::consumer_priority;
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
        let prefetch = channel.prefetch;
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
        let priority = consumer_priority(&consume.arguments, resource, self.options.profile)?;
        check_exclusive_consume(queue, consume.exclusive, resource)?;

        let tag = self.consumer_tag(consume.tag)?;
        let consumer = self.consumers.insert(Consumer {
            tag: tag.clone(),
            channel: caller.channel,
            queue: key,
            no_ack: consume.no_ack,
            priority,
            credit: (prefetch > 0 && !consume.no_ack).then_some(prefetch.into()),
            parked: None,
        });
        self.channel_mut(caller)?
            .consumers
            .insert(tag.clone(), consumer);
        if let Some(queue) = self.queues.get_mut(key) {
            queue.consumers.add(consumer, priority);
            let wants_it = consume.exclusive || queue.options.single_active_consumer;
            if wants_it && queue.consumers.sole.is_none() {
                queue.consumers.sole = Some(consumer);
            }
        }
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
        let Some(queue) = consumer.and_then(|consumer| self.detach_consumer(consumer)) else {
            return Ok(());
        };
        if self.queues.get(queue).is_some_and(Queue::is_abandoned) {
            self.delete_queue(queue);
        } else {
            self.renew_lease(queue);
            self.pump(queue);
        }
        Ok(())
    }

    pub(super) fn basic_get(
        &mut self,
        caller: Caller,
        name: QueueName,
        no_ack: bool,
    ) -> Result<Reply, ReplyError> {
        let name = self.expand_queue_name(caller, name)?;
        self.permit_queue(caller, Access::Read, &name)?;
        let (key, _) = self.accessible_queue(caller, &name)?;
        self.renew_lease(key);
        let Some(queued) = self.queues.get_mut(key).and_then(|queue| queue.ready.pop()) else {
            return Ok(Reply::Fetched(None));
        };
        self.drop_expired(key);
        let delivery_tag = self.channel_mut(caller)?.next_delivery_tag();
        let mut message_count = 0;
        if let Some(queue) = self.queues.get_mut(key) {
            message_count = count(queue.ready.len());
            queue.unacked += u64::from(!no_ack);
            queue.tally.acked += u64::from(no_ack);
        }
        let fetched = Fetched {
            delivery_tag,
            redelivered: queued.redelivered,
            message_count,
            message: Arc::clone(&queued.message),
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
