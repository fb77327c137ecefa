//! A client of one broker: performs operations and gathers the results and events.

mod alarms;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, ConsumerTag, Credentials, Endpoint, ErrorScope, Handoff,
    OpenedChannel, OpenedConnection, Publish, QueueDeclare, QueueDeclared, Settle,
    TransportChannel, TransportConnection,
};
use mooq_memory::ApplyTo;

use self::alarms::Alarms;
use super::names::Names;
use super::observation::{Answer, Event, Failure, QueueState, Reply, Source};
use super::operation::{
    Action, BEYOND, BEYOND_CHANNEL, CONNECTIONS, EXCHANGES, Operation, Permissions, QUEUES,
    REPLY_ADDRESS, SERVER_NAMED, SetPolicy, USERS_CONNECTION, connection_of,
};
use mooq_conformance::Broker;
use mooq_conformance::expect::{HEARTBEAT, LIMIT};
use mooq_conformance::within;

/// Number of sequences that share connections. Each channel that the broker closes costs amqprs a
/// channel number, of which a connection has 1,500.
const MOST_SEQUENCES: u32 = 50;

/// The password of the second connection's user.
const PASSWORD: &str = "secret";
/// Patterns that match every name.
const EVERYTHING: [&str; 3] = [".*", ".*", ".*"];
/// Number of probe channels of each connection: one for each queue.
const PROBES: usize = QUEUES.len() + SERVER_NAMED.len();

/// The connections and channels of a sequence, always open: the client opens closed ones again.
#[derive(Debug)]
pub(super) struct Client {
    broker: Arc<dyn Broker>,
    names: Names,
    /// The connections. The last one is in the second virtual host, if that exists.
    connections: Vec<OpenConnection>,
    channels: Vec<OpenChannel>,
    /// True if the second virtual host exists. Its connection ends a little later.
    has_vhost: bool,
    /// The addresses for direct replies by the bodies of their requests: the brokers make up
    /// different addresses.
    addresses: BTreeMap<Bytes, String>,
    alarms: Alarms,
    /// Number of sequences that this client has served.
    sequences: u32,
}

#[derive(Debug)]
struct OpenConnection {
    /// Number of connections opened in this place before.
    generation: u32,
    connection: Arc<dyn TransportConnection>,
    events: Receiver<ConnectionEvent>,
    /// Channels to observe queues on, outside of the sequence: one for each queue, so that all can
    /// be observed at once.
    probes: Vec<Arc<dyn TransportChannel>>,
}

#[derive(Debug)]
struct OpenChannel {
    /// The generation of the channel's connection.
    generation: u32,
    channel: Arc<dyn TransportChannel>,
    events: Receiver<ChannelEvent>,
    /// Sequence numbers of publishes that were confirmed or nacked.
    confirmed: BTreeSet<u64>,
}

/// Events gathered so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) events: BTreeMap<Source, Vec<Event>>,
    /// The tags of each consumer's deliveries, in the order of its events.
    pub(super) tags: BTreeMap<Source, Vec<u64>>,
}

/// The answer of an operation, and the delivery tag in it.
#[derive(Debug)]
pub(super) struct Performed {
    pub(super) answer: Answer,
    pub(super) delivery_tag: Option<u64>,
}

impl Client {
    pub(super) async fn open(broker: Arc<dyn Broker>, prefix: String, user: String) -> Self {
        broker.control().add_user(&user, PASSWORD).await;
        broker.control().set_permissions(&user, EVERYTHING).await;
        let names = Names::new(prefix, user);
        let opening =
            (0..CONNECTIONS).map(|index| OpenConnection::open(&*broker, &names, index, 0));
        let connections = join_all(opening).await;
        let channels = open_channels(&connections).await;
        Self {
            broker,
            names,
            connections,
            channels,
            has_vhost: false,
            addresses: BTreeMap::new(),
            alarms: Alarms::default(),
            sequences: 1,
        }
    }

    /// The user of the second connection.
    pub(super) fn user(&self) -> &str {
        &self.names.user
    }

    /// Begins another sequence, whose names begin with `prefix`.
    pub(super) async fn begin_again(&mut self, prefix: String) {
        let user = self.names.user.clone();
        if self.sequences == MOST_SEQUENCES {
            *self = Self::open(self.broker.clone(), prefix, user).await;
            return;
        }
        self.channels = open_channels(&self.connections).await;
        self.names = Names::new(prefix, user);
        self.addresses.clear();
        self.sequences += 1;
    }

    /// Ends a sequence: closes its channels and deletes its queues and exchanges.
    pub(super) async fn clean_up<'a>(
        &mut self,
        queues: &BTreeMap<String, usize>,
        policies: impl Iterator<Item = &'a str>,
        is_limited: bool,
    ) {
        let control = self.broker.control();
        if is_limited {
            let user = &self.names.user;
            control.set_permissions(user, EVERYTHING).await;
        }
        if self.connections.len() > CONNECTIONS {
            self.channels.truncate(BEYOND_CHANNEL);
            self.connections.truncate(CONNECTIONS);
            self.has_vhost = false;
            control.delete_vhost(self.names.vhost()).await;
        }
        let channels = std::mem::take(&mut self.channels);
        for closed in join_all(channels.iter().map(|open| open.channel.close())).await {
            closed.expect("a channel is closed");
        }
        let queues = queues
            .iter()
            .filter(|(queue, _)| !queue.starts_with(BEYOND));
        let queues = join_all(queues.map(|(queue, &connection)| {
            let name = self.names.of(queue).try_into().expect("a short name");
            let probe = &self.connections[connection].probes[probe_of(queue)];
            probe.delete_queue(name, false, false)
        }));
        for deleted in queues.await {
            deleted.expect("a queue is deleted");
        }
        for policy in policies {
            self.clear_policy(policy).await;
        }
        // One after another: RabbitMQ 4.0 closes the connection with 541 if two exchanges that
        // are bound to each other are deleted at once.
        for exchange in EXCHANGES {
            let name = self.names.of(exchange).try_into().expect("a short name");
            let deleted = self.connections[0].probes[0].delete_exchange(name, false);
            deleted.await.expect("an exchange is deleted");
        }
    }

    /// A publish with the reply address in place of a routing key that stands for it.
    fn addressed(&self, mut publish: Publish) -> Publish {
        if publish.message.routing_key.as_str() == REPLY_ADDRESS
            && let Some((_, address)) = self.addresses.last_key_value()
        {
            publish.message.routing_key = address.as_str().try_into().expect("a short key");
        }
        publish
    }

    async fn set_policy(&self, policy: SetPolicy) {
        let pattern = format!("^{}$", policy.queue);
        self.broker
            .control()
            .set_policy(
                &self.names.of(policy.name),
                &pattern,
                ApplyTo::Queues,
                policy.priority,
                &policy.definition,
            )
            .await;
    }

    async fn clear_policy(&self, policy: &str) {
        let control = self.broker.control();
        control.clear_policy(&self.names.of(policy)).await;
    }

    /// Adds the second virtual host, and opens a connection and a channel in it.
    async fn add_vhost(&mut self) {
        let control = self.broker.control();
        control.add_vhost(self.names.vhost()).await;
        let connection = OpenConnection::open(&*self.broker, &self.names, CONNECTIONS, 0).await;
        self.channels.push(connection.channel().await);
        self.connections.push(connection);
        self.has_vhost = true;
    }

    /// Deletes the second virtual host, under its connection.
    async fn delete_vhost(&mut self) {
        self.has_vhost = false;
        let control = self.broker.control();
        control.delete_vhost(self.names.vhost()).await;
    }

    /// Sets or clears the permissions of the second connection's user, and replaces its probe
    /// channels: they have used permissions, which RabbitMQ caches for a while.
    async fn permit(&mut self, permissions: Option<&Permissions>) {
        let (control, user) = (self.broker.control(), &self.names.user);
        match permissions {
            Some(permissions) => {
                let patterns = permissions.patterns(|name| self.names.of(name));
                let patterns = patterns.each_ref().map(String::as_str);
                control.set_permissions(user, patterns).await;
            }
            None => control.clear_permissions(user).await,
        }
        self.connections[USERS_CONNECTION].open_probes().await;
    }

    /// Converts the answer to a queue's declare, and learns the name if the broker has chosen it.
    fn declared(&mut self, name: &str, declared: QueueDeclared) -> Reply {
        if self.names.is_to_be_given(name) {
            self.names.give(name, &declared.name);
        }
        let name = self.names.hidden(&declared.name);
        Reply::Declared(QueueDeclared {
            name: name.try_into().expect("a short name"),
            ..declared
        })
    }

    /// Forgets the names of deleted queues.
    pub(super) fn forget_names(&mut self, is_there: impl Fn(&str) -> bool) {
        self.names.forget(is_there);
    }

    /// The channels that are open.
    pub(super) fn open_channels(&self) -> Vec<usize> {
        (0..self.channels.len()).collect()
    }

    /// Performs an operation and returns its answer. `settles` is the tag of a delivery to settle.
    pub(super) async fn perform(&mut self, operation: &Operation, settles: u64) -> Performed {
        // Administration needs no channel.
        let channel = operation.channel.min(self.channels.len() - 1);
        let channel = Arc::clone(&self.channels[channel].channel);
        let raw_methods = channel
            .raw_methods()
            .expect("both transports have every method");
        let mut delivery_tag = None;
        let done = |()| Reply::Done;
        let answer = match self.names.placed(operation.action.clone()) {
            Action::DeclareQueue(declare) => {
                let Action::DeclareQueue(asked) = &operation.action else {
                    unreachable!("an administrator's action is handled above");
                };
                let declared = channel.declare_queue(declare).await;
                declared.map(|declared| self.declared(&asked.name, declared))
            }
            Action::DeleteQueue {
                queue,
                if_unused,
                if_empty,
            } => {
                let deleted = channel.delete_queue(queue, if_unused, if_empty).await;
                deleted.map(Reply::Count)
            }
            Action::Purge(queue) => channel.purge_queue(queue).await.map(Reply::Count),
            Action::DeclareExchange(declare) => channel.declare_exchange(declare).await.map(done),
            Action::DeleteExchange {
                exchange,
                if_unused,
            } => channel.delete_exchange(exchange, if_unused).await.map(done),
            Action::Bind(binding) => channel.bind(binding).await.map(done),
            Action::Unbind(binding) => channel.unbind(binding).await.map(done),
            Action::Publish(publish) => {
                let handoff = channel.publish(self.addressed(publish));
                if handoff.is_ok() {
                    self.has_published(operation.connection());
                }
                match handoff {
                    Ok(Handoff::Done) => Ok(Reply::Done),
                    Ok(Handoff::Full(room)) => {
                        room.await;
                        Ok(Reply::Done)
                    }
                    Err(error) => Err(error),
                }
            }
            Action::Get { queue, no_ack } => channel.get(queue, no_ack).await.map(|fetched| {
                delivery_tag = fetched.as_ref().map(|fetched| fetched.delivery_tag);
                Reply::fetched(fetched.as_ref(), &self.names)
            }),
            Action::Consume(consume) => channel.consume(consume).await.map(Reply::Consuming),
            Action::Cancel(tag) => channel.cancel(tag).await.map(done),
            Action::Settle {
                multiple,
                settlement,
                ..
            } => {
                let settle = Settle {
                    delivery_tag: settles,
                    multiple,
                    settlement,
                };
                channel.settle(settle).map(done)
            }
            Action::Recover { requeue } => raw_methods.recover(requeue).await.map(done),
            Action::Qos { count, global } => channel.qos(count, global).await.map(done),
            Action::ConfirmSelect => channel.confirm_select().await.map(done),
            Action::TxSelect => raw_methods.tx_select().await.map(done),
            Action::TxCommit => raw_methods.tx_commit().await.map(done),
            Action::TxRollback => raw_methods.tx_rollback().await.map(done),
            Action::CloseChannel => channel.close().await.map(done),
            Action::SetPolicy(policy) => {
                self.set_policy(policy).await;
                Ok(Reply::Done)
            }
            Action::ClearPolicy(policy) => {
                self.clear_policy(policy).await;
                Ok(Reply::Done)
            }
            Action::SetPermissions(permissions) => {
                self.permit(Some(&permissions)).await;
                Ok(Reply::Done)
            }
            Action::ClearPermissions => {
                self.permit(None).await;
                Ok(Reply::Done)
            }
            Action::AddVhost => {
                self.add_vhost().await;
                Ok(Reply::Done)
            }
            Action::DeleteVhost => {
                self.delete_vhost().await;
                Ok(Reply::Done)
            }
            Action::RaiseAlarm(alarm) => {
                self.raise_alarm(alarm).await;
                Ok(Reply::Done)
            }
            Action::ClearAlarm(alarm) => {
                self.clear_alarm(alarm).await;
                Ok(Reply::Done)
            }
            Action::CloseConnection => {
                let connection = &self.connections[operation.connection()];
                connection.connection.close().await.map(done)
            }
        };
        Performed {
            answer: answer.map_err(|error| Failure::of(&error, &self.names)),
            delivery_tag,
        }
    }

    /// Makes a call to every process of the broker that may still be at work, in the order in which
    /// they pass work on (channel, queues, channels with consumers), and takes the events up to the
    /// answers. In RabbitMQ a queue answers before it handles earlier messages, and a dead letter
    /// passes through several queues: so one round proves nothing, but after some rounds each of
    /// those steps is done.
    pub(super) async fn round(
        &mut self,
        listening: &[usize],
        queues: &BTreeMap<String, usize>,
        seen: &mut Seen,
    ) -> BTreeMap<String, QueueState> {
        let asked = queues
            .iter()
            .map(|(queue, &connection)| self.ask(queue, connection));
        let states = join_all(asked).await;
        for ((queue, &connection), state) in queues.iter().zip(&states) {
            if matches!(state, QueueState::Missing | QueueState::Refused(_)) {
                let connection = self.asking_mut(connection);
                connection.probes[probe_of(queue)] = connection.channel().await.channel;
            }
        }
        let states = queues.keys().cloned().zip(states).collect();
        join_all(listening.iter().map(|&channel| self.handled(channel))).await;
        self.take(seen).await;
        states
    }

    /// Waits until the broker has handled everything sent on a channel. Cancelling a consumer that
    /// does not exist changes nothing and is answered, after all before (AMQP 0-9-1, 4.7).
    pub(super) async fn handled(&self, channel: usize) {
        let nobody = ConsumerTag::try_from("nobody").expect("a short tag");
        // A closed channel has an event for that.
        if let Some(channel) = self.answering(channel) {
            let _ = channel.cancel(nobody).await;
        }
    }

    async fn ask(&self, queue: &str, connection: usize) -> QueueState {
        let name = self.names.of(queue).try_into().expect("a short name");
        let question = QueueDeclare {
            passive: true,
            ..QueueDeclare::new(name)
        };
        let probe = &self.asking(connection).probes[probe_of(queue)];
        match probe.declare_queue(question).await {
            Ok(declared) => QueueState::There {
                ready: declared.message_count,
                consumers: declared.consumer_count,
            },
            // The channel is opened again when that event is taken.
            Err(error) if error.scope() == ErrorScope::Connection => QueueState::Unknown,
            Err(error) => match error.reason().map(|reason| reason.code) {
                Some(404) => QueueState::Missing,
                Some(code) => QueueState::Refused(code),
                None => panic!("a queue cannot be asked for: {error}"),
            },
        }
    }

    /// Takes the pending events, and opens closed channels and connections again.
    async fn take(&mut self, seen: &mut Seen) {
        for index in 0..self.channels.len() {
            let mut end = None;
            while let Some(event) = self.channels[index].events.try_recv() {
                if let ChannelEvent::Closed(error) = &event {
                    end = Some(error.scope());
                }
                if index < BEYOND_CHANNEL
                    && let ChannelEvent::Deliver(deliver) = &event
                    && let Some(address) = &deliver.message.properties.reply_to
                {
                    let body = deliver.message.body.clone();
                    self.addresses.insert(body, address.to_string());
                }
                let confirmed = &mut self.channels[index].confirmed;
                for event in each_confirm(event, confirmed) {
                    let (source, event, tag) = Event::on_channel(index, event, &self.names);
                    if let Some(tag) = tag {
                        seen.tags.entry(source.clone()).or_default().push(tag);
                    }
                    seen.events.entry(source).or_default().push(event);
                }
            }
            if let Some(scope) = end {
                self.reopen(index, scope, seen).await;
            }
        }
    }

    async fn reopen(&mut self, channel: usize, scope: ErrorScope, seen: &mut Seen) {
        if scope != ErrorScope::Connection && self.stays_closed(channel) {
            return;
        }
        let index = connection_of(channel);
        let connection = &mut self.connections[index];
        let is_first = self.channels[channel].generation == connection.generation;
        if scope == ErrorScope::Connection && is_first {
            while let Some(event) = within("a connection's end", connection.events.next()).await {
                let source = Source::Connection(index);
                let event = Event::on_connection(event, &self.names);
                seen.events.entry(source).or_default().push(event);
            }
            let generation = connection.generation + 1;
            self.has_reconnected(index);
            if channel == BEYOND_CHANNEL && !self.has_vhost {
                self.connections.truncate(CONNECTIONS);
                self.channels.truncate(BEYOND_CHANNEL);
                return;
            }
            let opened = OpenConnection::open(&*self.broker, &self.names, index, generation).await;
            self.connections[index] = opened;
        }
        self.channels[channel] = self.connections[index].channel().await;
    }
}

impl OpenConnection {
    /// Opens the connection at this index.
    async fn open(broker: &dyn Broker, names: &Names, index: usize, generation: u32) -> Self {
        let mut endpoint: Endpoint = broker.url().parse().expect("the broker's URL is valid");
        // A busy machine is slow to log in, and late with heartbeats.
        endpoint.connect_timeout = LIMIT;
        endpoint.heartbeat = HEARTBEAT;
        if index == USERS_CONNECTION {
            endpoint.credentials = Credentials::new(names.user.clone(), PASSWORD);
        }
        if index == CONNECTIONS {
            endpoint.vhost = names.vhost().try_into().expect("a short name");
        }
        let opened = broker.transport().open(&endpoint).await;
        let OpenedConnection { connection, events } = opened.expect("the broker takes connections");
        let mut open = Self {
            generation,
            connection,
            events,
            probes: Vec::new(),
        };
        open.open_probes().await;
        open
    }

    async fn open_probes(&mut self) {
        let probes = join_all((0..PROBES).map(|_| self.channel())).await;
        self.probes = probes.into_iter().map(|probe| probe.channel).collect();
    }

    async fn channel(&self) -> OpenChannel {
        let opened = self.connection.open_channel().await;
        let OpenedChannel { channel, events } = opened.expect("a channel opens");
        OpenChannel {
            generation: self.generation,
            channel,
            events,
            confirmed: BTreeSet::new(),
        }
    }
}

/// Opens the channels of the first virtual host.
async fn open_channels(connections: &[OpenConnection]) -> Vec<OpenChannel> {
    let opening = (0..BEYOND_CHANNEL).map(|channel| connections[connection_of(channel)].channel());
    join_all(opening).await
}

/// Splits an event that confirms or nacks several messages into one for each.
fn each_confirm(event: ChannelEvent, confirmed: &mut BTreeSet<u64>) -> Vec<ChannelEvent> {
    let (ChannelEvent::Confirm { sequence, multiple } | ChannelEvent::Nack { sequence, multiple }) =
        event
    else {
        return vec![event];
    };
    let first = if multiple { 1 } else { sequence };
    let new = (first..=sequence).filter(|each| confirmed.insert(*each) || !multiple);
    let is_confirm = matches!(event, ChannelEvent::Confirm { .. });
    let each = new.map(|sequence| {
        let multiple = false;
        if is_confirm {
            ChannelEvent::Confirm { sequence, multiple }
        } else {
            ChannelEvent::Nack { sequence, multiple }
        }
    });
    each.collect()
}

/// The index of the probe for a queue.
fn probe_of(queue: &str) -> usize {
    let queue = queue.strip_prefix(BEYOND).unwrap_or(queue);
    QUEUES
        .iter()
        .chain(&SERVER_NAMED)
        .position(|name| *name == queue)
        .expect("one of the sequence's queues")
}
