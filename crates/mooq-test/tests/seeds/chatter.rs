//! A chatty program below the client runtime: publishers with confirms, consumers with
//! acknowledgements, several queues and channels, and a trace of each channel's events.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    Binding, BindingDestination, ChannelEvent, Consume, Endpoint, FieldTable, Message, Publish,
    QueueDeclare, Scheme, Settle, Settlement, Transport, TransportChannel,
};
use mooq_memory::InMemoryBroker;
use tokio::spawn;
use tokio::sync::watch;
use tokio::task::yield_now;

/// The queues that are consumed; another one is full with one message.
pub(crate) const QUEUES: [&str; 3] = ["a", "b", "c"];
pub(crate) const PUBLISHERS: u32 = 2;
pub(crate) const CONSUMERS: u32 = 2;
/// Number of messages of each publisher, in turn to `a`, to `b`, to all three, to the full queue,
/// and to none.
pub(crate) const MESSAGES: u32 = 15;
/// Number of deliveries that are acknowledged in the end.
const ACKS: u32 = PUBLISHERS * MESSAGES;

/// An event of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Heard {
    Delivery {
        consumer: String,
        tag: u64,
        body: String,
        redelivered: bool,
    },
    Outcome {
        sequence: u64,
        multiple: bool,
        taken: bool,
    },
    Return {
        body: String,
    },
}

/// All events in order, each with the channel's name.
pub(crate) type Trace = Vec<(String, Heard)>;

/// State that the tasks of the program share.
#[derive(Debug, Default)]
struct Noted {
    trace: Mutex<Trace>,
    /// Number of deliveries acknowledged so far.
    acks: watch::Sender<u32>,
}

impl Noted {
    fn note(&self, who: &str, heard: Heard) {
        self.trace.lock().unwrap().push((who.to_owned(), heard));
    }
}

/// Runs the program until every publish has an outcome and every delivery is acknowledged.
pub(crate) async fn run(broker: &InMemoryBroker) -> Trace {
    set_up(broker).await;
    let noted = Arc::new(Noted::default());
    let consumers = (0..CONSUMERS).map(|n| spawn(consume(broker.clone(), n, Arc::clone(&noted))));
    let mut tasks: Vec<_> = consumers.collect();
    let publishers = (0..PUBLISHERS).map(|n| spawn(publish(broker.clone(), n, Arc::clone(&noted))));
    tasks.extend(publishers);
    for task in tasks {
        task.await.unwrap();
    }
    std::mem::take(&mut *noted.trace.lock().unwrap())
}

async fn set_up(broker: &InMemoryBroker) {
    let (channel, _events) = open(broker).await;
    for queue in QUEUES {
        let declare = QueueDeclare::new(queue.try_into().unwrap());
        channel.declare_queue(declare).await.unwrap();
        let binding = Binding {
            source: "amq.fanout".try_into().unwrap(),
            destination: BindingDestination::Queue(queue.try_into().unwrap()),
            routing_key: Default::default(),
            arguments: FieldTable::new(),
        };
        channel.bind(binding).await.unwrap();
    }
    let mut full = QueueDeclare::new("full".try_into().unwrap());
    let overflow = "x-overflow".try_into().unwrap();
    full.arguments.insert(overflow, "reject-publish");
    full.arguments.insert("x-max-length".try_into().unwrap(), 1);
    channel.declare_queue(full).await.unwrap();
}

async fn open(broker: &InMemoryBroker) -> (Arc<dyn TransportChannel>, Receiver<ChannelEvent>) {
    let opened = broker
        .transport()
        .open(&Endpoint::new(Scheme::Memory))
        .await;
    let channel = opened.unwrap().connection.open_channel().await.unwrap();
    (channel.channel, channel.events)
}

async fn publish(broker: InMemoryBroker, number: u32, noted: Arc<Noted>) {
    let who = format!("publisher {number}");
    let (channel, mut events) = open(&broker).await;
    channel.confirm_select().await.unwrap();
    for n in 0..MESSAGES {
        let (exchange, routing_key) = match n % 5 {
            0 => ("", "a"),
            1 => ("", "b"),
            2 => ("amq.fanout", ""),
            3 => ("", "full"),
            _ => ("", "nowhere"),
        };
        let mut publish = Publish::new(Message {
            exchange: exchange.try_into().unwrap(),
            routing_key: routing_key.try_into().unwrap(),
            properties: Default::default(),
            body: format!("{number}.{n}").into(),
        });
        publish.mandatory = true;
        let _ = channel.publish(publish).unwrap();
        if n % 3 == 0 {
            yield_now().await;
        }
    }
    let mut untold: BTreeSet<u64> = (1..=MESSAGES.into()).collect();
    while !untold.is_empty() {
        let (sequence, multiple, taken) = match events.next().await.unwrap() {
            ChannelEvent::Confirm { sequence, multiple } => (sequence, multiple, true),
            ChannelEvent::Nack { sequence, multiple } => (sequence, multiple, false),
            ChannelEvent::Return(returned) => {
                let body = text(&returned.message);
                noted.note(&who, Heard::Return { body });
                continue;
            }
            other => panic!("{other:?}"),
        };
        untold.retain(|other| *other != sequence && !(multiple && *other < sequence));
        let outcome = Heard::Outcome {
            sequence,
            multiple,
            taken,
        };
        noted.note(&who, outcome);
    }
}

async fn consume(broker: InMemoryBroker, number: u32, noted: Arc<Noted>) {
    let who = format!("consumer {number}");
    let (channel, mut events) = open(&broker).await;
    channel.qos(3, false).await.unwrap();
    for queue in QUEUES {
        let mut consume = Consume::new(queue.try_into().unwrap());
        consume.tag = queue.try_into().unwrap();
        channel.consume(consume).await.unwrap();
    }
    let mut acks = noted.acks.subscribe();
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event.unwrap(),
            _ = acks.wait_for(|acks| *acks == ACKS) => return,
        };
        let ChannelEvent::Deliver(delivery) = event else {
            panic!("{event:?}");
        };
        // Some deliveries are requeued once.
        let is_taken = delivery.redelivered || delivery.delivery_tag % 4 != 1;
        let settlement = if is_taken {
            Settlement::Ack
        } else {
            Settlement::Reject { requeue: true }
        };
        let delivery_tag = delivery.delivery_tag;
        let heard = Heard::Delivery {
            consumer: delivery.consumer_tag.to_string(),
            tag: delivery_tag,
            body: text(&delivery.message),
            redelivered: delivery.redelivered,
        };
        noted.note(&who, heard);
        yield_now().await;
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement,
        };
        channel.settle(settle).unwrap();
        if is_taken {
            noted.acks.send_modify(|acks| *acks += 1);
        }
    }
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}
