//! Direct reply-to
//! ([RPC without a queue for replies](https://www.rabbitmq.com/docs/direct-reply-to)): a channel
//! that consumes from the pseudo-queue has an address, and messages published to that address go
//! straight to the channel.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use mooq_core::in_flight::InFlight;
use mooq_core::{
    ChannelEvent, Consume, ConsumerTag, Deliver, Message, QueueDeclared, QueueName, ShortString,
};

use super::command::{Effect, Reply};
use super::ids::{ChannelId, VhostId};
use super::message::Accepted;
use super::names::is_reply_word;
use super::reply_error::ReplyError;
use super::{Caller, Engine};

/// Name of the pseudo-queue, which a requester also writes into `reply_to`.
pub(crate) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Prefix of addresses.
const ADDRESS_PREFIX: &str = "amq.rabbitmq.reply-to.";

/// A channel's consumer of the pseudo-queue.
#[derive(Debug)]
pub(crate) struct ReplyConsumer {
    pub(crate) tag: ConsumerTag,
    /// The address in `reply_to` of the channel's requests.
    pub(crate) address: ShortString,
}

/// Reference of a name with the reply-address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The name names a channel, which may be gone or may never have existed.
    Channel,
    /// The name has the two words of an address, and the first word cannot name a channel.
    Garbled,
    /// The name names no channel.
    Other,
}

impl Form {
    fn of(name: &str) -> Self {
        let words = name.strip_prefix(ADDRESS_PREFIX);
        match words.and_then(|words| words.split_once('.')) {
            Some((channel, _)) if is_reply_word(channel) => Self::Channel,
            Some((_, key)) if !key.contains('.') => Self::Garbled,
            _ => Self::Other,
        }
    }
}

/// Channels that get replies, by address, regardless of their virtual hosts.
pub(crate) type ReplyConsumers = HashMap<ShortString, ChannelId, RandomState>;

/// Returns true for the pseudo-queue, and for any name with the prefix of reply addresses.
pub(crate) fn is_pseudo_queue(name: &str) -> bool {
    name.starts_with(REPLY_TO)
}

impl Engine {
    /// Handles `basic.consume` of the pseudo-queue, on a channel where the consumer tag is free.
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

    /// Cancels a channel's consumer of replies, if the consumer has this tag.
    pub(super) fn cancel_replies(&mut self, key: ChannelId, tag: Option<&ConsumerTag>) -> bool {
        let Some(channel) = self.channels.get_mut(key) else {
            return false;
        };
        let going = channel
            .reply_consumer
            .take_if(|consumer| tag.is_none_or(|tag| consumer.tag == *tag));
        going.is_some_and(|consumer| self.reply_consumers.remove(&consumer.address).is_some())
    }

    /// Handles `queue.declare` of the pseudo-queue or of an address; the declare's other fields do
    /// not count. A server that answers requests declares an address to see if the reply is still
    /// wanted.
    pub(super) fn declare_pseudo_queue(
        &self,
        caller: Caller,
        name: QueueName,
    ) -> Result<QueueDeclared, ReplyError> {
        if name != REPLY_TO {
            let are_queues = self.options.profile.addresses_are_queues();
            let form = Form::of(&name);
            let missing = ReplyError::missing(self.vhost(caller.vhost)?.queue(&name));
            match self.requester(caller.vhost, &name) {
                // The channel asks about itself: RabbitMQ fails, or gets no answer.
                Some(channel) if channel == caller.channel && are_queues => return Err(missing),
                Some(channel) if channel == caller.channel => return Err(ReplyError::crash()),
                Some(_) => {}
                None if are_queues && form != Form::Channel => return Err(ReplyError::crash()),
                None if form == Form::Garbled => return Err(ReplyError::crash()),
                None => return Err(missing),
            }
        }
        Ok(QueueDeclared {
            name,
            message_count: 0,
            consumer_count: 1,
        })
    }

    /// Returns true if a name that no queue has still counts as a queue: as that of a channel's
    /// replies.
    pub(super) fn is_volatile_queue(&self, name: &str) -> bool {
        name.starts_with(ADDRESS_PREFIX)
            && self.options.profile.addresses_are_queues()
            && Form::of(name) == Form::Channel
    }

    /// Refuses `basic.consume` of an address, if the address counts as a queue.
    pub(super) fn refuse_to_consume_replies(
        &mut self,
        caller: Caller,
        name: &QueueName,
    ) -> Result<(), ReplyError> {
        if !self.is_volatile_queue(name) {
            return Ok(());
        }
        let own = self.channel_mut(caller)?.reply_consumer.as_ref();
        let is_own = own.is_some_and(|own| *own.address == **name);
        let resource = self.vhost(caller.vhost)?.queue(name);
        Err(ReplyError::precondition_failed(if is_own {
            format!("multiple consumers are unsupported for {resource}")
        } else {
            format!("only creator channel may consume from {resource}")
        }))
    }

    /// Refuses to bind or unbind a reply address, in versions with a dedicated error.
    pub(super) fn check_bindable(&self, name: &QueueName) -> Result<(), ReplyError> {
        if name.starts_with(ADDRESS_PREFIX) && self.options.profile.addresses_are_queues() {
            return Err(ReplyError::access_refused(
                "cannot bind or unbind to a volatile (direct reply-to) queue",
            ));
        }
        Ok(())
    }

    /// Returns the address that stands for the caller in its requests.
    pub(super) fn reply_address(&mut self, caller: Caller) -> Result<ShortString, ReplyError> {
        let consumer = self.channel_mut(caller)?.reply_consumer.as_ref();
        consumer
            .map(|consumer| consumer.address.clone())
            .ok_or_else(|| ReplyError::precondition_failed("fast reply consumer does not exist"))
    }

    /// Returns the channel that has this address, if it can be reached from `vhost`.
    fn requester(&self, vhost: VhostId, address: &str) -> Option<ChannelId> {
        let channel = *self.reply_consumers.get(address)?;
        if self.options.profile.addresses_are_queues() {
            let connection = self.channels.get(channel)?.connection;
            let connection = self.connections.get(connection)?;
            (connection.vhost == vhost).then_some(channel)
        } else {
            Some(channel)
        }
    }

    /// Returns the addresses that a message is for. Most messages have none.
    fn addresses<'a>(&self, accepted: &'a Accepted) -> impl Iterator<Item = &'a str> {
        let message = &accepted.message;
        let has_more_keys = accepted.annotations.is_some();
        let has_any = message.exchange.is_empty()
            && (has_more_keys || message.routing_key.starts_with(ADDRESS_PREFIX));
        let keys = has_any.then(|| accepted.keys()).into_iter().flatten();
        keys.filter(|key| key.starts_with(ADDRESS_PREFIX))
    }

    /// Returns the channels that a message is a reply for.
    pub(super) fn requesters(&self, vhost: VhostId, accepted: &Accepted) -> Vec<ChannelId> {
        let addresses = self.addresses(accepted);
        let mut found: Vec<_> = addresses
            .filter_map(|address| self.requester(vhost, address))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns true if a message reaches a queue of replies, even if no channel is left to get the
    /// message.
    pub(super) fn is_routed_to_address(&self, accepted: &Accepted) -> bool {
        self.addresses(accepted)
            .any(|address| self.is_volatile_queue(address))
    }

    /// Checks that a message's addresses do not make RabbitMQ fail.
    pub(super) fn check_addresses(&self, accepted: &Accepted) -> Result<(), ReplyError> {
        if self.options.profile.addresses_are_queues() {
            return Ok(());
        }
        let is_known = |address: &str| self.reply_consumers.contains_key(address);
        let mut addresses = self.addresses(accepted);
        if addresses.any(|address| Form::of(address) == Form::Garbled && !is_known(address)) {
            return Err(ReplyError::crash());
        }
        Ok(())
    }

    /// Sends a reply to the channels that wait for it. In versions in which addresses are not yet
    /// queues, RabbitMQ uses the channel's next delivery tag without advancing it, so that the same
    /// tag is used once more.
    pub(super) fn send_replies(&mut self, requesters: Vec<ChannelId>, reply: &Arc<Message>) {
        let uses_up_tags = self.options.profile.addresses_are_queues();
        for key in requesters {
            if !self.recordings.is_empty() {
                self.record_reply(key, reply);
            }
            self.touch_channel(key);
            let Some(channel) = self.channels.get_mut(key) else {
                continue;
            };
            let Some(consumer) = &channel.reply_consumer else {
                continue;
            };
            let consumer_tag = consumer.tag.clone();
            let delivery_tag = if uses_up_tags {
                channel.next_delivery_tag()
            } else {
                channel.peek_delivery_tag()
            };
            self.effects.push_back(Effect::Channel {
                connection: channel.connection,
                channel: channel.number,
                event: ChannelEvent::Deliver(Deliver {
                    consumer_tag,
                    delivery_tag,
                    redelivered: false,
                    message: Arc::clone(reply),
                    in_flight: InFlight::default(),
                }),
            });
        }
    }
}
