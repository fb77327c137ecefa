//! Direct reply-to ([RPC without a queue for replies](https://www.rabbitmq.com/docs/direct-reply-to)):
//! a channel that consumes the pseudo-queue has an address, and what is published to that goes
//! straight to the channel.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use mooq_core::in_flight::InFlight;
use mooq_core::{
    ChannelEvent, Consume, ConsumerTag, Deliver, Message, QueueDeclared, QueueName, ShortString,
};

use super::acceptance::Accepted;
use super::arena::Key;
use super::channel::Channel;
use super::command::{Effect, Reply};
use super::reply_error::ReplyError;
use super::{Caller, Engine};

/// The pseudo-queue, and what a requester writes into `reply_to`.
pub(crate) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Where addresses begin.
const ADDRESS_PREFIX: &str = "amq.rabbitmq.reply-to.";

/// A channel's consumer of the pseudo-queue.
#[derive(Debug)]
pub(crate) struct ReplyConsumer {
    pub(crate) tag: ConsumerTag,
    /// What stands in `reply_to` for the channel's requests.
    pub(crate) address: ShortString,
}

/// The channels that get replies, by address, whatever their virtual hosts.
pub(crate) type ReplyConsumers = HashMap<ShortString, Key<Channel>, RandomState>;

/// Whether a queue of this name is none, but the pseudo-queue or something like an address.
pub(crate) fn is_pseudo_queue(name: &str) -> bool {
    name.starts_with(REPLY_TO)
}

impl Engine {
    /// `basic.consume` of the pseudo-queue, on a channel where its tag is free.
    pub(super) fn consume_replies(
        &mut self,
        caller: Caller,
        consume: Consume,
    ) -> Result<(), ReplyError> {
        if !consume.no_ack {
            return Err(ReplyError::precondition_failed(
                "reply consumer cannot acknowledge",
            ));
        }
        if self.channel_mut(caller)?.reply_consumer.is_some() {
            return Err(ReplyError::precondition_failed(
                "reply consumer already set",
            ));
        }
        let tag = self.consumer_tag(consume.tag)?;
        let address = self.names.reply_address(ADDRESS_PREFIX);
        let address: ShortString = address
            .try_into()
            .map_err(|_| ReplyError::internal("address"))?;
        self.reply_consumers.insert(address.clone(), caller.channel);
        self.channel_mut(caller)?.reply_consumer = Some(ReplyConsumer {
            tag: tag.clone(),
            address,
        });
        self.reply(caller.connection, caller.number, Reply::Consuming(tag));
        Ok(())
    }

    /// Lets a channel get no more replies, if it consumes them under this tag.
    pub(super) fn cancel_replies(&mut self, key: Key<Channel>, tag: Option<&ConsumerTag>) -> bool {
        let Some(channel) = self.channels.get_mut(key) else {
            return false;
        };
        let going = channel
            .reply_consumer
            .take_if(|consumer| tag.is_none_or(|tag| consumer.tag == *tag));
        going.is_some_and(|consumer| self.reply_consumers.remove(&consumer.address).is_some())
    }

    /// `queue.declare` of the pseudo-queue or of an address: what else it says does not count.
    /// Whoever answers requests asks so whether the reply is still wanted.
    pub(super) fn declare_pseudo_queue(
        &self,
        caller: Caller,
        name: QueueName,
    ) -> Result<QueueDeclared, ReplyError> {
        if name != REPLY_TO && !self.reply_consumers.contains_key(&*name) {
            return Err(ReplyError::missing(self.vhost(caller.vhost)?.queue(&name)));
        }
        Ok(QueueDeclared {
            name,
            message_count: 0,
            consumer_count: 1,
        })
    }

    /// The address that stands for the caller in its requests.
    pub(super) fn reply_address(&mut self, caller: Caller) -> Result<ShortString, ReplyError> {
        let consumer = self.channel_mut(caller)?.reply_consumer.as_ref();
        consumer
            .map(|consumer| consumer.address.clone())
            .ok_or_else(|| ReplyError::precondition_failed("fast reply consumer does not exist"))
    }

    /// The channels that a message to the default exchange is a reply for. Most often it is none.
    pub(super) fn requesters(&self, accepted: &Accepted) -> Vec<Key<Channel>> {
        let message = &accepted.message;
        let has_more_keys = accepted.annotations.is_some();
        if !message.exchange.is_empty()
            || !(has_more_keys || message.routing_key.starts_with(ADDRESS_PREFIX))
        {
            return Vec::new();
        }
        let mut found: Vec<_> = accepted
            .keys()
            .filter_map(|key| self.reply_consumers.get(key).copied())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Sends a reply to those who wait for it. RabbitMQ takes the channel's next delivery tag and
    /// does not advance it, so that it comes once more; so does this.
    pub(super) fn send_replies(&mut self, requesters: Vec<Key<Channel>>, reply: &Arc<Message>) {
        for key in requesters {
            if !self.recordings.is_empty() {
                self.record_reply(key, reply);
            }
            let Some(channel) = self.channels.get(key) else {
                continue;
            };
            let Some(consumer) = &channel.reply_consumer else {
                continue;
            };
            self.effects.push_back(Effect::Channel {
                connection: channel.connection,
                channel: channel.number,
                event: ChannelEvent::Deliver(Deliver {
                    consumer_tag: consumer.tag.clone(),
                    delivery_tag: channel.peek_delivery_tag(),
                    redelivered: false,
                    message: Arc::clone(reply),
                    in_flight: InFlight::default(),
                }),
            });
        }
    }
}
