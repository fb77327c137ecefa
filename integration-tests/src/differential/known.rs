//! What is known of a sequence's brokers so far, from what was observed of both: enough to settle
//! the same deliveries on both, and to leave out what RabbitMQ may do in more than one way.

use std::collections::{BTreeMap, BTreeSet};

use mooq_core::{
    BindingDestination, ConsumerTag, ExchangeDeclare, ExchangeName, QueueDeclare, QueueName,
    Settlement,
};

use super::observation::{Event, Observation, QueueState, Reply, Source};
use super::operation::{Action, CHANNELS, Operation, Pick, connection_of};

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The queues that were declared, and the connection that they can be asked for on.
    pub(super) queues: BTreeMap<String, usize>,
    /// How each of them was declared.
    declares: BTreeMap<String, QueueDeclare>,
    /// Those that answer one connection only.
    owners: BTreeMap<String, usize>,
    /// The exchanges, and how they were declared. Auto-delete may have taken them away.
    exchanges: BTreeMap<String, ExchangeDeclare>,
    channels: [Channel; CHANNELS],
}

#[derive(Debug, Default)]
struct Channel {
    consumers: BTreeMap<ConsumerTag, Consumer>,
    /// The deliveries that are not settled, by their tags in memory.
    outstanding: BTreeMap<u64, String>,
    /// The tags of all deliveries, in memory and on RabbitMQ.
    tags: BTreeMap<u64, u64>,
    last_queue: String,
    global_limit: bool,
    in_transaction: bool,
    confirms: bool,
    /// What was settled since the transaction began.
    settled: BTreeMap<u64, String>,
}

#[derive(Debug)]
struct Consumer {
    queue: String,
    no_ack: bool,
}

/// An operation that is performed.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) operation: Operation,
    /// The delivery to settle: its tags in memory and on RabbitMQ.
    pub(super) settles: [u64; 2],
}

impl Known {
    /// The operation as it is to be performed, unless it is left out.
    pub(super) fn resolve(&self, mut operation: Operation) -> Option<Call> {
        let connection = operation.connection();
        let daring = operation.daring;
        let channel = &self.channels[operation.channel];
        let mut settles = [0, 0];
        let mut sure_to_fail = false;
        let mut ends_connection = false;
        let usable = |queue: &QueueName| self.usable(connection, &channel.queue(queue));
        let is_exchange = |exchange: &ExchangeName| self.exchanges.contains_key(exchange.as_str());
        match &mut operation.action {
            Action::DeclareQueue(declare) => {
                let name = declare.name.as_str();
                sure_to_fail = !usable(&declare.name) && self.queues.contains_key(name)
                    || declare.passive && !self.queues.contains_key(name);
                if let Some(first) = self.declares.get(name)
                    && !declare.passive
                    && !daring
                {
                    *declare = first.clone();
                }
            }
            Action::DeclareExchange(declare) => {
                let name = declare.name.as_str();
                sure_to_fail = name.is_empty() || declare.passive && !is_exchange(&declare.name);
                if let Some(first) = self.exchanges.get(name)
                    && !declare.passive
                    && !daring
                {
                    *declare = first.clone();
                }
            }
            Action::DeleteQueue { queue, .. }
            | Action::Purge(queue)
            | Action::Get { queue, .. } => {
                sure_to_fail = !usable(queue);
            }
            Action::DeleteExchange { exchange, .. } => sure_to_fail = exchange.is_empty(),
            Action::Bind(binding) | Action::Unbind(binding) => {
                sure_to_fail = !is_exchange(&binding.source)
                    || match &binding.destination {
                        BindingDestination::Queue(queue) => !usable(queue),
                        BindingDestination::Exchange(exchange) => !is_exchange(exchange),
                    };
            }
            Action::Settle {
                delivery,
                multiple,
                settlement,
            } => {
                let tag = match *delivery {
                    Pick::Tag(tag) => tag,
                    Pick::Outstanding(_) if channel.outstanding.is_empty() => return None,
                    Pick::Outstanding(at) => {
                        let at = at % channel.outstanding.len();
                        *channel.outstanding.keys().nth(at)?
                    }
                };
                *delivery = Pick::Tag(tag);
                settles = [tag, channel.tags.get(&tag).copied().unwrap_or(tag)];
                let multiple = *multiple && !matches!(settlement, Settlement::Reject { .. });
                if multiple && !channel.settles_alike(settles, *settlement) {
                    return None;
                }
                if channel.global_limit && gives_back(*settlement) {
                    return None;
                }
                let known = channel.outstanding.contains_key(&tag);
                sure_to_fail = !(known || multiple && tag == 0);
            }
            Action::Consume(consume) => {
                ends_connection = channel.consumers.contains_key(&consume.tag);
                sure_to_fail = !usable(&consume.queue);
                let queue = channel.queue(&consume.queue);
                // Under a limit that queues share it is open which of them is faster.
                let shares = |other: &Consumer| other.queue != queue;
                if channel.global_limit && channel.consumers.values().any(shares) {
                    return None;
                }
            }
            Action::Qos { global: true, .. } => {
                let queues: BTreeSet<_> = channel.consumers.values().map(|c| &c.queue).collect();
                if queues.len() > 1 {
                    return None;
                }
            }
            Action::TxCommit | Action::TxRollback => sure_to_fail = !channel.in_transaction,
            Action::Recover { requeue: true } if channel.global_limit => return None,
            Action::Recover { requeue } => ends_connection = !*requeue,
            Action::ConfirmSelect => sure_to_fail = channel.in_transaction,
            Action::TxSelect => sure_to_fail = channel.confirms,
            Action::Publish(publish) => {
                ends_connection = publish.immediate;
                let exchange = &publish.message.exchange;
                sure_to_fail = !exchange.is_empty() && !is_exchange(exchange);
            }
            Action::CloseConnection => ends_connection = true,
            _ => {}
        }
        if ends_connection && !self.ends_in_one_way(connection) {
            return None;
        }
        let fails =
            sure_to_fail || (ends_connection && operation.action != Action::CloseConnection);
        if fails && !daring {
            return None;
        }
        Some(Call { operation, settles })
    }

    /// Whether there is such a queue for a connection.
    fn usable(&self, connection: usize, queue: &str) -> bool {
        self.queues.contains_key(queue)
            && self
                .owners
                .get(queue)
                .is_none_or(|owner| *owner == connection)
    }

    /// RabbitMQ's channels end side by side with their connection: if several have deliveries to
    /// give back, or consumers, it is open which one does first.
    fn ends_in_one_way(&self, connection: usize) -> bool {
        let busy = (0..CHANNELS).filter(|&channel| {
            let known = &self.channels[channel];
            connection_of(channel) == connection
                && !(known.outstanding.is_empty()
                    && known.consumers.is_empty()
                    && known.settled.is_empty())
        });
        busy.count() <= 1
    }

    /// The queue that an operation may have made, to be asked for from now on.
    pub(super) fn note_declare(&mut self, operation: &Operation, made: bool) {
        if let Action::DeclareQueue(declare) = &operation.action
            && made
        {
            let name = declare.name.to_string();
            // An exclusive queue answers its own connection only.
            let connection = if declare.exclusive {
                operation.connection()
            } else {
                self.queues.get(&name).copied().unwrap_or(0)
            };
            self.channels[operation.channel]
                .last_queue
                .clone_from(&name);
            if !declare.passive {
                self.declares.insert(name.clone(), declare.clone());
                if declare.exclusive {
                    self.owners.insert(name.clone(), connection);
                }
            }
            self.queues.insert(name, connection);
        }
    }

    /// Learns from what both brokers have done.
    pub(super) fn learn(
        &mut self,
        call: &Call,
        observed: &Observation,
        tags: [&BTreeMap<Source, Vec<u64>>; 2],
        fetched: [Option<u64>; 2],
    ) {
        let is_gone = |queue: &String| observed.queues.get(queue) == Some(&QueueState::Missing);
        self.queues.retain(|queue, _| !is_gone(queue));
        self.declares.retain(|queue, _| !is_gone(queue));
        self.owners.retain(|queue, _| !is_gone(queue));
        let operation = &call.operation;
        let channel = &mut self.channels[operation.channel];
        if observed.answer.is_ok() {
            match &operation.action {
                Action::DeclareExchange(declare) if !declare.passive => {
                    let name = declare.name.to_string();
                    self.exchanges.insert(name, declare.clone());
                }
                Action::DeleteExchange { exchange, .. } => {
                    self.exchanges.remove(exchange.as_str());
                }
                _ => {}
            }
            channel.did(call);
        }
        if let (Ok(Reply::Fetched { .. }), [Some(memory), Some(rabbit)]) =
            (&observed.answer, fetched)
        {
            channel.tags.insert(memory, rabbit);
            if let Action::Get {
                queue,
                no_ack: false,
            } = &operation.action
            {
                let queue = channel.queue(queue);
                channel.outstanding.insert(memory, queue);
            }
        }
        for (source, events) in &observed.events {
            match source {
                Source::Consumer(channel, tag) => {
                    let deliveries = tags.map(|tags| tags.get(source).cloned().unwrap_or_default());
                    let channel = &mut self.channels[*channel];
                    channel.received(tag, &deliveries);
                    if events.contains(&Event::Cancelled) {
                        channel.consumers.remove(tag);
                    }
                }
                Source::Channel(closed) => {
                    if events.iter().any(|event| matches!(event, Event::Closed(_))) {
                        self.channels[*closed] = Channel::default();
                    }
                }
                Source::Connection(_) => {}
            }
        }
    }
}

/// Whether a delivery goes back to its queue. Under a limit of the channel as a whole it is open
/// whether that happens before the room that it leaves goes to the next message: RabbitMQ tells
/// the queue and the keeper of the limit, which is a process too, which tells the queue
/// (`docs/divergences.md` has figures).
fn gives_back(settlement: Settlement) -> bool {
    matches!(
        settlement,
        Settlement::Nack { requeue: true } | Settlement::Reject { requeue: true }
    )
}

impl Channel {
    fn queue(&self, name: &QueueName) -> String {
        if name.is_empty() {
            self.last_queue.clone()
        } else {
            name.to_string()
        }
    }

    /// Whether settling up to this delivery is the same on both brokers, and only one thing on
    /// RabbitMQ.
    fn settles_alike(&self, [memory, rabbit]: [u64; 2], settlement: Settlement) -> bool {
        let up_to = |tag: &u64| memory == 0 || *tag <= memory;
        let last = self.tags.iter().filter(|(tag, _)| up_to(tag));
        let same = memory == 0 || last.map(|(_, rabbit)| *rabbit).max().unwrap_or(rabbit) == rabbit;
        // Dead letters of several queues reach a third in any order.
        let touched = self.outstanding.iter().filter(|(tag, _)| up_to(tag));
        let queues: BTreeSet<_> = touched.map(|(_, queue)| queue).collect();
        same && (queues.len() < 2 || settlement != Settlement::Nack { requeue: false })
    }

    fn did(&mut self, call: &Call) {
        match &call.operation.action {
            Action::Consume(consume) => {
                let consumer = Consumer {
                    queue: self.queue(&consume.queue),
                    no_ack: consume.no_ack,
                };
                self.consumers.insert(consume.tag.clone(), consumer);
            }
            Action::Cancel(tag) => {
                self.consumers.remove(tag);
            }
            Action::Settle {
                multiple,
                settlement,
                ..
            } => {
                let tag = call.settles[0];
                let multiple = *multiple && !matches!(settlement, Settlement::Reject { .. });
                let (settled, left) =
                    std::mem::take(&mut self.outstanding)
                        .into_iter()
                        .partition(|(other, _)| {
                            *other == tag || (multiple && (tag == 0 || *other < tag))
                        });
                self.outstanding = left;
                if self.in_transaction {
                    let settled: BTreeMap<_, _> = settled;
                    self.settled.extend(settled);
                }
            }
            Action::Recover { .. } => self.outstanding.clear(),
            Action::Qos { count, global } => self.global_limit = *global && *count > 0,
            Action::ConfirmSelect => self.confirms = true,
            Action::TxSelect => self.in_transaction = true,
            Action::TxCommit => self.settled.clear(),
            Action::TxRollback => {
                let settled = std::mem::take(&mut self.settled);
                self.outstanding.extend(settled);
            }
            _ => {}
        }
    }

    fn received(&mut self, consumer: &ConsumerTag, [memory, rabbit]: &[Vec<u64>; 2]) {
        for (memory, rabbit) in memory.iter().zip(rabbit) {
            self.tags.insert(*memory, *rabbit);
            if let Some(consumer) = self.consumers.get(consumer)
                && !consumer.no_ack
            {
                self.outstanding.insert(*memory, consumer.queue.clone());
            }
        }
    }
}
