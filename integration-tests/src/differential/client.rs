//! A client of one broker: performs operations and gathers what comes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, ConsumerTag, ErrorScope, Handoff, OpenedChannel,
    OpenedConnection, QueueDeclare, Settle, TransportChannel, TransportConnection,
};

use super::observation::{Answer, Event, QueueState, Reply, Source};
use super::operation::{
    Action, CHANNELS, CONNECTIONS, EXCHANGES, Operation, QUEUES, connection_of,
};
use crate::backend::Broker;
use crate::expect::within;

/// How many sequences share connections. Each channel that the broker closes costs amqprs the
/// number of a channel, and there are 1,500 for a connection.
const MOST_SEQUENCES: u32 = 50;

/// The connections and channels of a sequence, always open: what the broker closes is opened
/// again.
#[derive(Debug)]
pub(super) struct Client {
    broker: Broker,
    /// What its queues and exchanges begin with.
    prefix: String,
    connections: Vec<OpenConnection>,
    channels: Vec<OpenChannel>,
    /// How many sequences it has served.
    sequences: u32,
}

#[derive(Debug)]
struct OpenConnection {
    /// How many were opened before it in its place.
    generation: u32,
    connection: Arc<dyn TransportConnection>,
    events: Receiver<ConnectionEvent>,
    /// For questions that are none of the sequence's: one for each queue, so that they can be
    /// asked at once.
    probes: Vec<Arc<dyn TransportChannel>>,
}

#[derive(Debug)]
struct OpenChannel {
    /// That of its connection.
    generation: u32,
    channel: Arc<dyn TransportChannel>,
    events: Receiver<ChannelEvent>,
}

/// What has come so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) events: BTreeMap<Source, Vec<Event>>,
    /// The tags of each consumer's deliveries, as they are among its events.
    pub(super) tags: BTreeMap<Source, Vec<u64>>,
}

/// What an operation came to, and the tag that came with it.
#[derive(Debug)]
pub(super) struct Performed {
    pub(super) answer: Answer,
    pub(super) delivery_tag: Option<u64>,
}

impl Client {
    pub(super) async fn open(broker: Broker, prefix: String) -> Self {
        let opening = (0..CONNECTIONS).map(|_| OpenConnection::open(&broker, 0));
        let connections = join_all(opening).await;
        let channels = open_channels(&connections).await;
        Self {
            broker,
            prefix,
            connections,
            channels,
            sequences: 1,
        }
    }

    /// Begins another sequence, whose queues and exchanges begin with `prefix`.
    pub(super) async fn begin_again(&mut self, prefix: String) {
        if self.sequences == MOST_SEQUENCES {
            *self = Self::open(self.broker.clone(), prefix).await;
            return;
        }
        self.channels = open_channels(&self.connections).await;
        self.prefix = prefix;
        self.sequences += 1;
    }

    /// Ends a sequence: closes its channels and deletes what it has left.
    pub(super) async fn clean_up(&mut self, queues: &BTreeMap<String, usize>) {
        let channels = std::mem::take(&mut self.channels);
        for closed in join_all(channels.iter().map(|open| open.channel.close())).await {
            closed.expect("a channel is closed");
        }
        let queues = join_all(queues.iter().map(|(queue, &connection)| {
            let name = self.name(queue).try_into().expect("a short name");
            let probe = &self.connections[connection].probes[probe_of(queue)];
            probe.delete_queue(name, false, false)
        }));
        for deleted in queues.await {
            deleted.expect("a queue is deleted");
        }
        // One after another: RabbitMQ 4.0 closes the connection with 541 if two exchanges that
        // are bound to each other are deleted at once.
        for exchange in EXCHANGES {
            let name = self.name(exchange).try_into().expect("a short name");
            let deleted = self.connections[0].probes[0].delete_exchange(name, false);
            deleted.await.expect("an exchange is deleted");
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// Performs an operation and gives its answer. `settles` is the tag of a delivery to settle.
    pub(super) async fn perform(&self, operation: &Operation, settles: u64) -> Performed {
        let channel = &self.channels[operation.channel].channel;
        let mut delivery_tag = None;
        let done = |()| Reply::Done;
        let answer = match operation.action.clone().placed(&self.prefix) {
            Action::DeclareQueue(declare) => {
                channel.declare_queue(declare).await.map(Reply::Declared)
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
            Action::Publish(publish) => match channel.publish(publish) {
                Ok(Handoff::Done) => Ok(Reply::Done),
                Ok(Handoff::Full(room)) => {
                    room.await;
                    Ok(Reply::Done)
                }
                Err(error) => Err(error),
            },
            Action::Get { queue, no_ack } => channel.get(queue, no_ack).await.map(|fetched| {
                delivery_tag = fetched.as_ref().map(|fetched| fetched.delivery_tag);
                Reply::fetched(fetched.as_ref())
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
            Action::Recover { requeue } => channel.recover(requeue).await.map(done),
            Action::Qos { count, global } => channel.qos(count, global).await.map(done),
            Action::ConfirmSelect => channel.confirm_select().await.map(done),
            Action::TxSelect => channel.tx_select().await.map(done),
            Action::TxCommit => channel.tx_commit().await.map(done),
            Action::TxRollback => channel.tx_rollback().await.map(done),
            Action::CloseChannel => channel.close().await.map(done),
            Action::CloseConnection => {
                let connection = &self.connections[operation.connection()];
                connection.connection.close().await.map(done)
            }
        };
        Performed {
            answer: answer.map_err(Into::into),
            delivery_tag,
        }
    }

    /// Asks every process of the broker that may still be at work, in the order in which they
    /// pass work on (channel, queues, channels with consumers), and takes what has come up to
    /// their answers. In RabbitMQ a queue answers before it does what it was sent earlier, and a
    /// dead letter passes through several queues: so one round proves nothing, but each of those
    /// steps is done after some rounds.
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
                let connection = &mut self.connections[connection];
                connection.probes[probe_of(queue)] = connection.channel().await.channel;
            }
        }
        let states = queues.keys().cloned().zip(states).collect();
        join_all(listening.iter().map(|&channel| self.handled(channel))).await;
        self.take(seen).await;
        states
    }

    /// Waits until the broker has handled all that was sent on a channel. Cancelling a consumer
    /// that does not exist changes nothing and is answered, after all before (AMQP 0-9-1, 4.7).
    pub(super) async fn handled(&self, channel: usize) {
        let nobody = ConsumerTag::try_from("nobody").expect("a short tag");
        // A channel that has been closed says so by an event.
        let _ = self.channels[channel].channel.cancel(nobody).await;
    }

    async fn ask(&self, queue: &str, connection: usize) -> QueueState {
        let name = self.name(queue).try_into().expect("a short name");
        let question = QueueDeclare {
            passive: true,
            ..QueueDeclare::new(name)
        };
        let probe = &self.connections[connection].probes[probe_of(queue)];
        match probe.declare_queue(question).await {
            Ok(declared) => QueueState::There {
                ready: declared.message_count,
                consumers: declared.consumer_count,
            },
            // It is opened again when that event is taken.
            Err(error) if error.scope() == ErrorScope::Connection => QueueState::Unknown,
            Err(error) => match error.reason().map(|reason| reason.code) {
                Some(404) => QueueState::Missing,
                Some(code) => QueueState::Refused(code),
                None => panic!("a queue cannot be asked for: {error}"),
            },
        }
    }

    /// Takes the events that have come, and opens again what they close.
    async fn take(&mut self, seen: &mut Seen) {
        for index in 0..CHANNELS {
            let mut end = None;
            while let Some(event) = self.channels[index].events.try_recv() {
                if let ChannelEvent::Closed(error) = &event {
                    end = Some(error.scope());
                }
                let (source, event, tag) = Event::on_channel(index, event);
                if let Some(tag) = tag {
                    seen.tags.entry(source.clone()).or_default().push(tag);
                }
                seen.events.entry(source).or_default().push(event);
            }
            if let Some(scope) = end {
                self.reopen(index, scope, seen).await;
            }
        }
    }

    async fn reopen(&mut self, channel: usize, scope: ErrorScope, seen: &mut Seen) {
        let index = connection_of(channel);
        let connection = &mut self.connections[index];
        let is_first = self.channels[channel].generation == connection.generation;
        if scope == ErrorScope::Connection && is_first {
            while let Some(event) = within("a connection's end", connection.events.next()).await {
                let source = Source::Connection(index);
                let event = Event::on_connection(event);
                seen.events.entry(source).or_default().push(event);
            }
            *connection = OpenConnection::open(&self.broker, connection.generation + 1).await;
        }
        self.channels[channel] = connection.channel().await;
    }
}

impl OpenConnection {
    async fn open(broker: &Broker, generation: u32) -> Self {
        let endpoint = broker.url().parse().expect("the broker's URL is valid");
        let opened = broker.open_transport(&endpoint).await;
        let OpenedConnection { connection, events } = opened;
        let mut open = Self {
            generation,
            connection,
            events,
            probes: Vec::new(),
        };
        let probes = join_all(QUEUES.map(|_| open.channel())).await;
        open.probes = probes.into_iter().map(|probe| probe.channel).collect();
        open
    }

    async fn channel(&self) -> OpenChannel {
        let opened = self.connection.open_channel().await;
        let OpenedChannel { channel, events } = opened.expect("a channel opens");
        OpenChannel {
            generation: self.generation,
            channel,
            events,
        }
    }
}

async fn open_channels(connections: &[OpenConnection]) -> Vec<OpenChannel> {
    let opening = (0..CHANNELS).map(|channel| connections[connection_of(channel)].channel());
    join_all(opening).await
}

/// Which of a connection's probes asks for a queue.
fn probe_of(queue: &str) -> usize {
    QUEUES
        .iter()
        .position(|name| *name == queue)
        .expect("one of the sequence's queues")
}
