//! Cost of a publish in a crowded broker, which should be the same as in an empty one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeKind, FieldTable, Message, Properties,
    Publish, QueueDeclare, QueueName, RoutingKey,
};
use mooq_engine::Method;

use crate::client::Client;

/// The kind of crowd in the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// Queues beside the one that is published to.
    Queues,
    /// Bindings of the exchange that is published to, a topic exchange.
    Bindings,
    /// Messages that wait in the queue.
    Messages,
    /// Open channels, on other connections.
    Channels,
}

impl Crowd {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Queues, Self::Bindings, Self::Messages, Self::Channels];

    /// Name of the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Bindings => "bindings",
            Self::Messages => "messages waiting",
            Self::Channels => "channels",
        }
    }
}

/// A broker with a topic exchange that leads to a queue, and a crowd.
#[derive(Debug)]
pub struct Crowded {
    client: Client,
    publish: Publish,
}

const QUEUE: &str = "bench";
const EXCHANGE: &str = "bench";
const KEY: &str = "region.host.metric";

impl Crowded {
    /// A broker with a crowd of `count`.
    #[must_use]
    pub fn new(crowd: Crowd, count: usize) -> Self {
        let mut client = Client::new();
        client.call(Method::ExchangeDeclare(ExchangeDeclare::new(
            EXCHANGE.try_into().expect("a short name"),
            ExchangeKind::Topic,
        )));
        declare(&mut client, QUEUE);
        bind(&mut client, KEY);
        let mut broker = Self {
            client,
            publish: publish(),
        };
        match crowd {
            Crowd::Queues => {
                (1..count).for_each(|n| declare(&mut broker.client, &format!("queue{n}")));
            }
            Crowd::Bindings => {
                let key = |n| format!("region{}.host{}.metric{n}", n % 100, n / 100);
                (1..count).for_each(|n| bind(&mut broker.client, &key(n)));
            }
            Crowd::Messages => (1..count).for_each(|_| broker.publish()),
            Crowd::Channels => broker.client.open_channels(count - 1),
        }
        broker
    }

    /// Time to publish and get `count` messages.
    pub fn publish_and_get(&mut self, count: u64) -> Duration {
        let queue = QueueName::try_from(QUEUE).expect("a short name");
        let begin = Instant::now();
        for _ in 0..count {
            self.publish();
            self.client.call(Method::BasicGet {
                queue: queue.clone(),
                no_ack: true,
            });
        }
        begin.elapsed()
    }

    fn publish(&mut self) {
        self.client.send(Method::BasicPublish(self.publish.clone()));
    }
}

fn publish() -> Publish {
    Publish::new(Message {
        exchange: EXCHANGE.try_into().expect("a short name"),
        routing_key: KEY.try_into().expect("a short key"),
        properties: Arc::new(Properties::default()),
        body: bytes::Bytes::from_static(&[b'x'; 64]),
    })
}

fn declare(client: &mut Client, name: &str) {
    let name = name.try_into().expect("a short name");
    client.call(Method::QueueDeclare(QueueDeclare::new(name)));
}

fn bind(client: &mut Client, key: &str) {
    client.call(Method::Bind(Binding {
        source: EXCHANGE.try_into().expect("a short name"),
        destination: BindingDestination::Queue(QUEUE.try_into().expect("a short name")),
        routing_key: RoutingKey::try_from(key).expect("a short key"),
        arguments: FieldTable::new(),
    }));
}
