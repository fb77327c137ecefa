//! Knowledge of a virtual host on both brokers, from their observations: enough to settle the same
//! deliveries on both, and to leave out operations that RabbitMQ may handle in more than one way.

mod footprint;
mod prospects;

use std::collections::{BTreeMap, BTreeSet};

use mooq_core::{
    ConsumerTag, ExchangeDeclare, FieldTable, FieldValue, Publish, QueueDeclare, QueueName,
    Settlement,
};

use super::access::{Access, accesses};
use super::observation::{Event, Observation, QueueState, Reply, Source};
use super::operation::{
    Action, BEYOND, BEYOND_CHANNEL, CHANNELS, CONNECTIONS, Operation, Permissions, Permitted,
    REPLY_TO, SetPolicy, USERS_CONNECTION, connection_of,
};

pub(super) use self::footprint::Footprint;

/// Knowledge of a virtual host.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// True for the second virtual host.
    is_beyond: bool,
    /// True if the second virtual host exists.
    has_vhost: bool,
    /// The declared queues, each with a connection that may observe it.
    queues: BTreeMap<String, usize>,
    /// The declare of each queue.
    declares: BTreeMap<String, QueueDeclare>,
    /// Exclusive queues, each with its connection.
    owners: BTreeMap<String, usize>,
    /// The declare of each exchange. Auto-delete may have deleted it.
    exchanges: BTreeMap<String, ExchangeDeclare>,
    /// The policies that are set.
    policies: BTreeMap<&'static str, SetPolicy>,
    /// The permissions of the second connection's user, or none if it may do everything.
    permissions: Option<Permissions>,
    /// True if that user may not even log in.
    is_locked_out: bool,
    /// True if permissions were set or cleared.
    is_limited: bool,
    /// True if a request for a direct reply has come.
    has_request: bool,
    channels: [Channel; CHANNELS],
}

#[derive(Debug, Default)]
struct Channel {
    consumers: BTreeMap<ConsumerTag, Consumer>,
    /// Queues of the unsettled deliveries, by their tags in memory.
    outstanding: BTreeMap<u64, String>,
    /// The tags of all deliveries, in memory and on RabbitMQ.
    tags: BTreeMap<u64, u64>,
    last_queue: String,
    global_limit: bool,
    in_transaction: bool,
    confirms: bool,
    /// Deliveries that were settled since the transaction began.
    settled: BTreeMap<u64, String>,
    /// Names in the channel's permission cache. A revoked permission stays cached until the channel
    /// has been idle for a second, which depends on the speed of the machine.
    used: BTreeSet<String>,
}

#[derive(Debug)]
struct Consumer {
    queue: String,
    no_ack: bool,
}

/// An operation to perform.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) operation: Operation,
    /// Tags of the delivery to settle, in memory and on RabbitMQ.
    pub(super) settles: [u64; 2],
}

impl Known {
    /// Knowledge of the second virtual host, empty at first.
    pub(super) fn beyond() -> Self {
        Self {
            is_beyond: true,
            ..Self::default()
        }
    }

    /// The name of a queue among those of both virtual hosts.
    fn among_both(&self, queue: &str) -> String {
        let world = if self.is_beyond { BEYOND } else { "" };
        format!("{world}{queue}")
    }

    /// The declared queues by their names among those of both virtual hosts, each with a connection
    /// that may observe it.
    pub(super) fn queues(&self) -> impl Iterator<Item = (String, usize)> {
        let queues = self.queues.iter();
        queues.map(|(queue, connection)| (self.among_both(queue), *connection))
    }

    /// Returns true if the queue exists.
    pub(super) fn has_queue(&self, queue: &str) -> bool {
        self.queues.contains_key(queue)
    }

    /// Returns true if a queue is exclusive.
    pub(super) fn is_exclusive(&self, queue: &str) -> bool {
        self.owners.contains_key(queue)
    }

    /// True if the second virtual host exists.
    pub(super) fn has_vhost(&self) -> bool {
        self.has_vhost
    }

    /// True if permissions were set or cleared.
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// The operation to perform, or none if it is left out.
    pub(super) fn resolve(&self, mut operation: Operation) -> Option<Call> {
        let connection = operation.connection();
        let channel = &self.channels[operation.channel];
        let prospects = self.prospects(&mut operation)?;
        let may_log_in = connection != USERS_CONNECTION || !self.is_locked_out;
        if prospects.ends_connection && !(self.ends_in_one_way(connection) && may_log_in) {
            return None;
        }
        if connection == USERS_CONNECTION && !operation.action.is_by_administrator() {
            let wanted = accesses(&operation.action, |queue| channel.queue(queue));
            let refused: Vec<_> = wanted.iter().filter(|a| !self.permits(a)).collect();
            let may_be_remembered = refused.iter().any(|(_, name)| channel.used.contains(name));
            if !refused.is_empty() && !operation.defiant || may_be_remembered {
                return None;
            }
        }
        let fails = prospects.fails
            || (prospects.ends_connection && operation.action != Action::CloseConnection);
        if fails && !operation.daring {
            return None;
        }
        let settles = prospects.settles;
        Some(Call { operation, settles })
    }

    /// Returns true if another policy of the same priority is set for the same queue. RabbitMQ
    /// leaves open which of them holds (`docs/divergences.md` has figures).
    fn has_rival(&self, policy: &SetPolicy) -> bool {
        let is_rival = |other: &&SetPolicy| {
            other.name != policy.name
                && other.queue == policy.queue
                && other.priority == policy.priority
        };
        self.policies.values().any(|other| is_rival(&other))
    }

    fn is_quorum(&self, queue: &str) -> bool {
        self.declares.get(queue).is_some_and(is_quorum)
    }

    fn permits(&self, (access, name): &(Access, String)) -> bool {
        let permitted = self.permissions.as_ref().map(|of| match access {
            Access::Configure => &of.0[0],
            Access::Write => &of.0[1],
            Access::Read => &of.0[2],
        });
        permitted.is_none_or(|permitted| permitted.includes(name))
    }

    /// The policies that are set.
    pub(super) fn policies(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().copied()
    }

    /// Returns true if a connection may use a queue.
    fn usable(&self, connection: usize, queue: &str) -> bool {
        self.queues.contains_key(queue)
            && self
                .owners
                .get(queue)
                .is_none_or(|owner| *owner == connection)
    }

    /// Returns true if a message may reach a quorum queue both directly and at once as a dead
    /// letter of a classic queue: either may be first (`docs/divergences.md` has figures).
    fn may_meet_its_dead_letter(&self, publish: &Publish) -> bool {
        let message = &publish.message;
        let headers = &message.properties.headers;
        let has_copies = ["CC", "BCC"].iter().any(|key| headers.get(key).is_some());
        if message.exchange.is_empty() && !has_copies || !self.declares.values().any(is_quorum) {
            return false;
        }
        let is_short = message.properties.expiration.as_deref() == Some("0");
        let declared = self.declares.values().map(|declare| &declare.arguments);
        let set = self.policies.values().map(|policy| &policy.definition);
        let mut of_queues = declared.chain(set);
        of_queues.any(|of| {
            let ttl = setting(of, "message-ttl").and_then(FieldValue::as_i64);
            let leaves_at_once = is_limited(of) || ttl == Some(0) || is_short;
            setting(of, "dead-letter-exchange").is_some() && leaves_at_once
        })
    }

    /// Returns true if a settlement may return a delivery to its queue, at once or as a dead
    /// letter. Under a global prefetch it is open whether that happens before the next message
    /// takes the room: RabbitMQ tells the queue and the limiter, a process of its own, which also
    /// tells the queue (`docs/divergences.md` has figures).
    fn may_come_back(&self, channel: &Channel, settlement: Settlement) -> bool {
        let dies = |queue: &String| {
            let declare = self.declares.get(queue);
            declare.is_some_and(|d| d.arguments.get("x-dead-letter-exchange").is_some())
                || self
                    .policies
                    .values()
                    .any(|policy| policy.queue.as_str() == queue.as_str())
        };
        match settlement {
            Settlement::Ack => false,
            Settlement::Nack { requeue } | Settlement::Reject { requeue } => {
                requeue || channel.outstanding.values().any(dies)
            }
        }
    }

    /// Returns true if the order in which a connection's channels end does not matter. RabbitMQ
    /// ends them concurrently: if several have deliveries to requeue, or consumers, it is open
    /// which one is first.
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

    /// Notes a queue that an operation may have declared, to be observed from now on.
    pub(super) fn note_declare(&mut self, operation: &Operation, made: bool) {
        if let Action::DeclareQueue(declare) = &operation.action
            && made
        {
            let name = declare.name.to_string();
            // Only its own connection may observe an exclusive queue.
            let connection = if declare.exclusive {
                operation.connection()
            } else {
                let home = if self.is_beyond { CONNECTIONS } else { 0 };
                self.queues.get(&name).copied().unwrap_or(home)
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

    /// Learns from the observations of both brokers.
    pub(super) fn learn(
        &mut self,
        call: &Call,
        observed: &Observation,
        tags: [&BTreeMap<Source, Vec<u64>>; 2],
        fetched: [Option<u64>; 2],
    ) {
        let world = if self.is_beyond { BEYOND } else { "" };
        let is_gone = |queue: &String| {
            observed.queues.get(&format!("{world}{queue}")) == Some(&QueueState::Missing)
        };
        self.queues.retain(|queue, _| !is_gone(queue));
        self.declares.retain(|queue, _| !is_gone(queue));
        self.owners.retain(|queue, _| !is_gone(queue));
        let operation = &call.operation;
        if operation.is_beyond() == self.is_beyond {
            self.learn_call(call, observed, fetched);
        }
        self.learn_events(observed, tags);
    }

    /// Learns from the answer to a call.
    fn learn_call(&mut self, call: &Call, observed: &Observation, fetched: [Option<u64>; 2]) {
        let operation = &call.operation;
        let channel = &mut self.channels[operation.channel];
        let used = accesses(&operation.action, |queue| channel.queue(queue));
        channel.used.extend(used.into_iter().map(|(_, name)| name));
        if observed.answer.is_ok() {
            match &operation.action {
                Action::DeclareExchange(declare) if !declare.passive => {
                    let name = declare.name.to_string();
                    self.exchanges.insert(name, declare.clone());
                }
                Action::DeleteExchange { exchange, .. } => {
                    self.exchanges.remove(exchange.as_str());
                }
                Action::SetPolicy(policy) => {
                    self.policies.insert(policy.name, policy.clone());
                }
                Action::ClearPolicy(policy) => {
                    self.policies.remove(policy);
                }
                Action::SetPermissions(permissions) => {
                    self.permissions = Some(permissions.clone());
                    self.is_locked_out = false;
                    self.is_limited = true;
                }
                Action::ClearPermissions => {
                    let nothing = || Permitted::Only(Vec::new());
                    self.permissions = Some(Permissions([nothing(), nothing(), nothing()]));
                    self.is_locked_out = true;
                    self.is_limited = true;
                }
                Action::AddVhost => self.has_vhost = true,
                Action::DeleteVhost => self.has_vhost = false,
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
    }

    fn learn_events(&mut self, observed: &Observation, tags: [&BTreeMap<Source, Vec<u64>>; 2]) {
        for (source, events) in &observed.events {
            let (Source::Consumer(channel, _) | Source::Channel(channel)) = source else {
                continue;
            };
            if (*channel == BEYOND_CHANNEL) != self.is_beyond {
                continue;
            }
            match source {
                Source::Consumer(channel, tag) => {
                    let deliveries = tags.map(|tags| tags.get(source).cloned().unwrap_or_default());
                    let channel = &mut self.channels[*channel];
                    channel.received(tag, &deliveries);
                    self.has_request |= events.iter().any(Event::is_request);
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

/// Returns true if a queue may delay returned messages. A queue of RabbitMQ 4.3.6 that also has a
/// length limit crashes when more messages wait than the limit allows (`docs/divergences.md`).
fn delays(declare: &QueueDeclare) -> bool {
    declare.arguments.get("x-delayed-retry-type").is_some()
}

/// Returns true if arguments or a policy limit a queue's length.
fn is_limited(of: &FieldTable) -> bool {
    setting(of, "max-length").is_some() || setting(of, "max-length-bytes").is_some()
}

/// Returns a setting of a queue, by its name in policies, from arguments or from a policy.
fn setting<'a>(of: &'a FieldTable, key: &str) -> Option<&'a FieldValue> {
    of.get(key).or_else(|| of.get(&format!("x-{key}")))
}

fn is_quorum(declare: &QueueDeclare) -> bool {
    declare.arguments.get("x-queue-type") == Some(&FieldValue::from("quorum"))
}

impl Channel {
    /// Returns true if the channel has a consumer of direct replies.
    fn takes_replies(&self) -> bool {
        self.consumers.values().any(|other| other.queue == REPLY_TO)
    }

    fn queue(&self, name: &QueueName) -> String {
        if name.is_empty() {
            self.last_queue.clone()
        } else {
            name.to_string()
        }
    }

    /// Returns true if settling up to this delivery is the same on both brokers, and has one
    /// outcome on RabbitMQ.
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
