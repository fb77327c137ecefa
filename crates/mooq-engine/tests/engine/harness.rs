//! A broker whose clients say what they do and hear what happens, in words.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{
    Binding, BindingDestination, ChannelEvent, CloseReason, ConnectionEvent, Consume,
    ExchangeDeclare, ExchangeKind, FieldTable, FieldValue, Message, Properties, Publish,
    QueueDeclare, Settle, Settlement,
};
use mooq_engine::{
    Capabilities, Command, ConnectionId, Effect, Engine, Login, Method, Options, Profile,
    QueueInfo, Reply, Time,
};

pub(crate) struct Broker {
    pub(crate) engine: Engine,
    now: Duration,
    heard: HashMap<Channel, VecDeque<String>>,
    closed: HashMap<ConnectionId, CloseReason>,
}

/// One client's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Channel {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u16,
}

/// Outcome of a method: its reply, or the broker's close.
pub(crate) type Outcome = Result<Reply, CloseReason>;

impl Broker {
    pub(crate) fn new() -> Self {
        Self::of(Profile::default())
    }

    /// One that behaves as this version of RabbitMQ.
    pub(crate) fn of(profile: Profile) -> Self {
        Self::with(Options::of(profile))
    }

    pub(crate) fn with(options: Options) -> Self {
        Self {
            engine: Engine::new(options),
            now: Duration::ZERO,
            heard: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    /// A channel on a connection of its own.
    pub(crate) fn channel(&mut self) -> Channel {
        self.channel_with(Capabilities::default())
    }

    pub(crate) fn channel_with(&mut self, capabilities: Capabilities) -> Channel {
        let login = Login {
            capabilities,
            ..Login::default()
        };
        let connection = self.engine.open_connection(self.time(), login).unwrap();
        self.open(connection, 1)
    }

    /// A further channel on the same connection.
    pub(crate) fn sibling(&mut self, of: Channel) -> Channel {
        self.open(of.connection, of.number + 1)
    }

    fn open(&mut self, connection: ConnectionId, number: u16) -> Channel {
        let channel = Channel { connection, number };
        self.ok(channel, Method::ChannelOpen);
        channel
    }

    /// Does something that has a reply.
    pub(crate) fn call(&mut self, channel: Channel, method: Method) -> Outcome {
        let (reply, closed) = self.handle(channel, method);
        closed.map_or_else(|| Ok(reply.expect("there is a reply")), Err)
    }

    /// Does something that succeeds.
    pub(crate) fn ok(&mut self, channel: Channel, method: Method) -> Reply {
        self.call(channel, method).expect("the broker does it")
    }

    /// Does something that has no reply, and gives the reason if the broker closes for it.
    pub(crate) fn send(&mut self, channel: Channel, method: Method) -> Option<CloseReason> {
        let (reply, closed) = self.handle(channel, method);
        assert_eq!(reply, None);
        closed
    }

    fn handle(&mut self, channel: Channel, method: Method) -> (Option<Reply>, Option<CloseReason>) {
        let command = Command {
            connection: channel.connection,
            channel: channel.number,
            method,
        };
        self.engine.handle(self.time(), command);
        self.take_effects()
    }

    fn take_effects(&mut self) -> (Option<Reply>, Option<CloseReason>) {
        let (mut answer, mut closed) = (None, None);
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Reply { reply, .. } => answer = Some(reply),
                Effect::Channel {
                    connection,
                    channel: number,
                    event,
                } => {
                    if let ChannelEvent::Closed(error) = &event {
                        closed = error.reason().cloned();
                    }
                    let channel = Channel { connection, number };
                    self.heard
                        .entry(channel)
                        .or_default()
                        .push_back(words(event));
                }
                Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(error),
                } => {
                    closed = error.reason().cloned();
                    self.closed
                        .insert(connection, closed.clone().expect("the broker says why"));
                }
                other => panic!("{other:?}"),
            }
        }
        (answer, closed)
    }

    /// Returns the events of a channel since the last call, as text.
    pub(crate) fn heard(&mut self, channel: Channel) -> Vec<String> {
        self.heard.entry(channel).or_default().drain(..).collect()
    }

    /// Why the broker closed a connection, if it did.
    pub(crate) fn closed(&self, channel: Channel) -> Option<&CloseReason> {
        self.closed.get(&channel.connection)
    }

    pub(crate) fn time(&self) -> Time {
        Time::after_start(self.now)
    }

    /// The time so many milliseconds from now.
    pub(crate) fn time_after(&self, millis: u64) -> Time {
        Time::after_start(self.now + Duration::from_millis(millis))
    }

    /// Lets time pass, and gives the reason if the broker closes something meanwhile.
    pub(crate) fn pass(&mut self, millis: u64) -> Option<CloseReason> {
        self.now += Duration::from_millis(millis);
        self.engine.advance(self.time());
        self.take_effects().1
    }

    pub(crate) fn declare(&mut self, channel: Channel, name: &str) {
        self.ok(channel, Method::QueueDeclare(queue(name)));
    }

    pub(crate) fn declare_with<const N: usize>(
        &mut self,
        channel: Channel,
        name: &str,
        arguments: [(&str, FieldValue); N],
    ) {
        let arguments = table(arguments);
        self.ok(
            channel,
            Method::QueueDeclare(QueueDeclare {
                arguments,
                ..queue(name)
            }),
        );
    }

    pub(crate) fn declare_exchange(&mut self, channel: Channel, name: &str, kind: ExchangeKind) {
        self.ok(channel, Method::ExchangeDeclare(exchange(name, kind)));
    }

    pub(crate) fn bind(&mut self, channel: Channel, source: &str, key: &str, queue: &str) {
        self.ok(channel, Method::Bind(binding(source, key, queue)));
    }

    /// Publishes to a queue.
    pub(crate) fn put(&mut self, channel: Channel, queue: &str, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(
                self.send(channel, Method::BasicPublish(publish("", queue, body))),
                None
            );
        }
    }

    /// Publishes anything.
    pub(crate) fn publish(&mut self, channel: Channel, publish: Publish) -> Option<CloseReason> {
        self.send(channel, Method::BasicPublish(publish))
    }

    /// Starts a consumer that acknowledges, tagged `tag`.
    pub(crate) fn consume(&mut self, channel: Channel, queue: &str, tag: &str) {
        self.ok(channel, Method::BasicConsume(consumer(queue, tag)));
    }

    pub(crate) fn prefetch(&mut self, channel: Channel, prefetch_count: u16, global: bool) {
        let prefetch_size = 0;
        self.ok(
            channel,
            Method::BasicQos {
                prefetch_size,
                prefetch_count,
                global,
            },
        );
    }

    pub(crate) fn ack(&mut self, channel: Channel, tag: u64) -> Option<CloseReason> {
        self.send(channel, settle(tag, false, Settlement::Ack))
    }

    pub(crate) fn ack_up_to(&mut self, channel: Channel, tag: u64) -> Option<CloseReason> {
        self.send(channel, settle(tag, true, Settlement::Ack))
    }

    pub(crate) fn requeue(&mut self, channel: Channel, tag: u64) -> Option<CloseReason> {
        self.send(
            channel,
            settle(tag, false, Settlement::Reject { requeue: true }),
        )
    }

    pub(crate) fn reject(&mut self, channel: Channel, tag: u64) -> Option<CloseReason> {
        self.send(
            channel,
            settle(tag, false, Settlement::Reject { requeue: false }),
        )
    }

    /// The first message that is ready, if any, in words. It is settled.
    pub(crate) fn get(&mut self, channel: Channel, queue: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.get_message(channel, queue)?.body).into_owned())
    }

    pub(crate) fn get_message(&mut self, channel: Channel, queue: &str) -> Option<Arc<Message>> {
        let method = Method::BasicGet {
            queue: queue.try_into().unwrap(),
            no_ack: true,
        };
        match self.ok(channel, method) {
            Reply::Fetched(fetched) => Some(fetched?.message),
            other => panic!("{other:?}"),
        }
    }

    /// Everything that is ready, in words.
    pub(crate) fn drain(&mut self, channel: Channel, queue: &str) -> Vec<String> {
        std::iter::from_fn(|| self.get(channel, queue)).collect()
    }

    pub(crate) fn queue(&self, name: &str) -> Option<QueueInfo> {
        let vhost = mooq_core::VirtualHost::root();
        self.engine
            .queues(&vhost, "*")
            .into_iter()
            .find(|queue| queue.name == name)
    }

    /// Numbers of ready and unacked messages.
    pub(crate) fn counts(&self, name: &str) -> (u64, u64) {
        let queue = self.queue(name).expect("there is such a queue");
        (queue.ready, queue.unacked)
    }
}

/// `#1 body to tag`, `#1 body to tag again`, `confirm 1`, `nack 1`, `return body`, `cancel tag`,
/// `close 404`.
fn words(event: ChannelEvent) -> String {
    let text = |message: &Message| String::from_utf8_lossy(&message.body).into_owned();
    match event {
        ChannelEvent::Deliver(delivery) => {
            let (number, body) = (delivery.delivery_tag, text(&delivery.message));
            let again = if delivery.redelivered { " again" } else { "" };
            format!("#{number} {body} to {}{again}", delivery.consumer_tag)
        }
        ChannelEvent::Return(returned) => format!("return {}", text(&returned.message)),
        ChannelEvent::Confirm { sequence, .. } => format!("confirm {sequence}"),
        ChannelEvent::Nack { sequence, .. } => format!("nack {sequence}"),
        ChannelEvent::ConsumerCancelled(tag) => format!("cancel {tag}"),
        ChannelEvent::Closed(error) => format!("close {}", error.reason().unwrap().code),
    }
}

pub(crate) fn table<const N: usize>(entries: [(&str, FieldValue); N]) -> FieldTable {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.try_into().unwrap(), value))
        .collect()
}

pub(crate) fn queue(name: &str) -> QueueDeclare {
    QueueDeclare::new(name.try_into().unwrap())
}

pub(crate) fn exchange(name: &str, kind: ExchangeKind) -> ExchangeDeclare {
    ExchangeDeclare::new(name.try_into().unwrap(), kind)
}

pub(crate) fn binding(source: &str, key: &str, queue: &str) -> Binding {
    Binding {
        source: source.try_into().unwrap(),
        destination: BindingDestination::Queue(queue.try_into().unwrap()),
        routing_key: key.try_into().unwrap(),
        arguments: FieldTable::new(),
    }
}

/// A binding between exchanges.
pub(crate) fn e2e(source: &str, key: &str, destination: &str) -> Binding {
    Binding {
        destination: BindingDestination::Exchange(destination.try_into().unwrap()),
        ..binding(source, key, "")
    }
}

pub(crate) fn consumer(queue: &str, tag: &str) -> Consume {
    Consume {
        tag: tag.try_into().unwrap(),
        ..Consume::new(queue.try_into().unwrap())
    }
}

pub(crate) fn publish(exchange: &str, key: &str, body: &str) -> Publish {
    Publish::new(Message {
        exchange: exchange.try_into().unwrap(),
        routing_key: key.try_into().unwrap(),
        properties: Arc::default(),
        body: body.to_owned().into(),
    })
}

/// The same with properties.
pub(crate) fn publish_with(
    exchange: &str,
    key: &str,
    body: &str,
    set: impl FnOnce(&mut Properties),
) -> Publish {
    let mut publish = publish(exchange, key, body);
    set(Arc::make_mut(&mut publish.message.properties));
    publish
}

pub(crate) fn settle(delivery_tag: u64, multiple: bool, settlement: Settlement) -> Method {
    Method::BasicSettle(Settle {
        delivery_tag,
        multiple,
        settlement,
    })
}

pub(crate) fn code_and_text(closed: Option<CloseReason>) -> (u16, String) {
    let reason = closed.expect("the broker closes the channel");
    (reason.code, reason.text)
}
