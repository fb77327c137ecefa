//! What is known of an operation before it is performed, and the operations that are left out
//! because RabbitMQ may handle them in more than one way.

use std::collections::BTreeSet;

use mooq_core::{
    BindingDestination, Consume, ExchangeName, Publish, QueueDeclare, QueueName, Settlement,
};

use super::super::operation::{
    Action, Operation, Pick, REPLY_ADDRESS, REPLY_TO, SERVER_NAMED, USER, USERS_CONNECTION,
};
use super::{Channel, Consumer, Known, delays, is_limited, is_quorum};

/// Certain consequences of an operation, before it is performed.
#[derive(Debug, Default)]
pub(super) struct Prospects {
    /// The brokers refuse the operation.
    pub(super) fails: bool,
    /// The operation ends its connection.
    pub(super) ends_connection: bool,
    /// Tags of the delivery to settle, in memory and on RabbitMQ.
    pub(super) settles: [u64; 2],
}

impl Prospects {
    fn fails(fails: bool) -> Self {
        Self {
            fails,
            ..Self::default()
        }
    }

    fn ends_connection(ends_connection: bool) -> Self {
        Self {
            ends_connection,
            ..Self::default()
        }
    }
}

impl Known {
    /// Completes an operation from the known state, and returns its prospects. None if RabbitMQ may
    /// handle the operation in more than one way.
    pub(super) fn prospects(&self, operation: &mut Operation) -> Option<Prospects> {
        let connection = operation.connection();
        let daring = operation.daring;
        let channel = &self.channels[operation.channel];
        let usable = |queue: &QueueName| self.usable(connection, &channel.queue(queue));
        let is_exchange = |exchange: &ExchangeName| self.exchanges.contains_key(exchange.as_str());
        let fails = match &mut operation.action {
            Action::DeclareQueue(declare) => {
                return self.declare_queue(channel, declare, connection, daring);
            }
            Action::Settle {
                delivery,
                multiple,
                settlement,
            } => return self.settle(channel, delivery, *multiple, *settlement),
            Action::Consume(consume) => return self.consume(channel, consume, connection),
            Action::Publish(publish) => return self.publish(channel, publish, connection),
            Action::DeleteQueue {
                queue,
                if_unused,
                if_empty,
            } => {
                let conditional = *if_unused || *if_empty;
                return Some(Prospects {
                    fails: !usable(queue),
                    ends_connection: conditional && self.is_quorum(&channel.queue(queue)),
                    ..Prospects::default()
                });
            }
            Action::Recover { requeue: true } if channel.global_limit => return None,
            Action::Recover { requeue } => return Some(Prospects::ends_connection(!*requeue)),
            Action::CloseConnection => return Some(Prospects::ends_connection(true)),
            Action::DeclareExchange(declare) => {
                let name = declare.name.as_str();
                let fails = name.is_empty() || declare.passive && !is_exchange(&declare.name);
                if let Some(first) = self.exchanges.get(name)
                    && !declare.passive
                    && !daring
                {
                    *declare = first.clone();
                }
                fails
            }
            Action::Purge(queue) | Action::Get { queue, .. } => !usable(queue),
            Action::DeleteExchange { exchange, .. } => exchange.is_empty(),
            Action::Bind(binding) | Action::Unbind(binding) => {
                !is_exchange(&binding.source)
                    || match &binding.destination {
                        BindingDestination::Queue(queue) => !usable(queue),
                        BindingDestination::Exchange(exchange) => !is_exchange(exchange),
                    }
            }
            Action::Qos { global: true, .. } => {
                let queues: BTreeSet<_> = channel.consumers.values().map(|c| &c.queue).collect();
                if queues.len() > 1 {
                    return None;
                }
                false
            }
            Action::TxCommit | Action::TxRollback => !channel.in_transaction,
            Action::ConfirmSelect => channel.in_transaction,
            Action::TxSelect => channel.confirms,
            Action::ClearPermissions if self.is_locked_out => return None,
            Action::AddVhost if self.has_vhost => return None,
            Action::DeleteVhost if !self.has_vhost => return None,
            Action::SetPolicy(policy) if self.has_rival(policy) => return None,
            Action::SetPolicy(policy) if is_limited(&policy.definition) => {
                let declare = self.declares.get(policy.queue.as_str());
                if declare.is_some_and(delays) {
                    return None;
                }
                false
            }
            Action::ClearPolicy(policy) if !self.policies.contains_key(policy) => return None,
            _ => false,
        };
        Some(Prospects::fails(fails))
    }

    fn declare_queue(
        &self,
        channel: &Channel,
        declare: &mut QueueDeclare,
        connection: usize,
        daring: bool,
    ) -> Option<Prospects> {
        let name = declare.name.as_str();
        if self.is_beyond && SERVER_NAMED.contains(&name) {
            return None;
        }
        let exists = self.queues.contains_key(name);
        let is_usable = self.usable(connection, &channel.queue(&declare.name));
        let fails = !is_usable && exists || declare.passive && !exists;
        if let Some(first) = self.declares.get(name)
            && !declare.passive
            && !daring
        {
            *declare = first.clone();
        }
        if is_quorum(declare) && !daring {
            declare.durable = true;
            declare.exclusive = false;
            declare.auto_delete = false;
        }
        let mut policies = self.policies.values();
        let is_limited = is_limited(&declare.arguments)
            || policies.any(|set| set.queue == declare.name && is_limited(&set.definition));
        if delays(declare) && is_limited {
            return None;
        }
        Some(Prospects::fails(fails))
    }

    fn settle(
        &self,
        channel: &Channel,
        delivery: &mut Pick,
        multiple: bool,
        settlement: Settlement,
    ) -> Option<Prospects> {
        let tag = match *delivery {
            Pick::Tag(tag) => tag,
            Pick::Outstanding(_) if channel.outstanding.is_empty() => return None,
            Pick::Outstanding(at) => {
                let at = at % channel.outstanding.len();
                *channel.outstanding.keys().nth(at)?
            }
        };
        *delivery = Pick::Tag(tag);
        let settles = [tag, channel.tags.get(&tag).copied().unwrap_or(tag)];
        let multiple = multiple && !matches!(settlement, Settlement::Reject { .. });
        if multiple && !channel.settles_alike(settles, settlement) {
            return None;
        }
        if channel.global_limit && self.may_come_back(channel, settlement) {
            return None;
        }
        let known = channel.outstanding.contains_key(&tag);
        Some(Prospects {
            settles,
            ..Prospects::fails(!(known || multiple && tag == 0))
        })
    }

    fn consume(
        &self,
        channel: &Channel,
        consume: &Consume,
        connection: usize,
    ) -> Option<Prospects> {
        let queue = channel.queue(&consume.queue);
        let of_replies = queue == REPLY_TO;
        // A channel has one consumer of direct replies, without acknowledgement.
        let may_have_replies = consume.no_ack && !channel.takes_replies();
        let is_usable = self.usable(connection, &queue);
        // If queues share a limit, it is open which of them is faster.
        let shares = |other: &Consumer| other.queue != queue;
        if channel.global_limit && channel.consumers.values().any(shares) {
            return None;
        }
        Some(Prospects {
            fails: !(is_usable || of_replies && may_have_replies),
            ends_connection: channel.consumers.contains_key(&consume.tag)
                || self.is_quorum(&queue) && (channel.global_limit || consume.exclusive),
            ..Prospects::default()
        })
    }

    fn publish(
        &self,
        channel: &Channel,
        publish: &Publish,
        connection: usize,
    ) -> Option<Prospects> {
        let exchange = &publish.message.exchange;
        let properties = &publish.message.properties;
        if publish.message.routing_key.as_str() == REPLY_ADDRESS && !self.has_request {
            return None;
        }
        if self.may_meet_its_dead_letter(publish) {
            return None;
        }
        let is_mine = |user: &str| (user == USER) == (connection == USERS_CONNECTION);
        let has_exchange = exchange.is_empty() || self.exchanges.contains_key(exchange.as_str());
        let asks = properties.reply_to.as_deref() == Some(REPLY_TO);
        Some(Prospects {
            fails: !has_exchange
                || asks && !channel.takes_replies()
                || !properties.user_id.as_deref().is_none_or(is_mine),
            ends_connection: publish.immediate,
            ..Prospects::default()
        })
    }
}
