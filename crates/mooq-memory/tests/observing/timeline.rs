//! Timelines: their text and diagrams, word for word, and their limits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mooq::memory::{InMemoryBroker, Options, Profile, Timeline};
use mooq::{ExchangeKind, FieldTable};
use mooq_core::{
    Binding, BindingDestination, ChannelEvent, Consume, Endpoint, ExchangeDeclare, Message,
    OpenedChannel, OpenedConnection, Publish, QueueDeclare, Scheme, Settle, Settlement, Transport,
    TransportChannel,
};
use tokio::time::advance;

/// A client of the broker. Each call is one event or a few, without a client's own conveniences.
struct Client {
    _connection: OpenedConnection,
    channel: OpenedChannel,
}

impl Client {
    async fn open(broker: &InMemoryBroker, name: &str) -> Self {
        let mut endpoint = Endpoint::new(Scheme::Memory);
        endpoint.connection_name = Some(name.try_into().unwrap());
        let opened = broker.transport().open(&endpoint).await.unwrap();
        let channel = opened.connection.open_channel().await.unwrap();
        Self {
            _connection: opened,
            channel,
        }
    }

    fn channel(&self) -> &Arc<dyn TransportChannel> {
        &self.channel.channel
    }

    async fn declare(&self, queue: &str, arguments: FieldTable) {
        let mut declare = QueueDeclare::new(queue.try_into().unwrap());
        declare.arguments = arguments;
        self.channel().declare_queue(declare).await.unwrap();
    }

    fn publish(&self, exchange: &str, key: &str, body: &str, mandatory: bool) {
        let mut publish = Publish::new(Message {
            exchange: exchange.try_into().unwrap(),
            routing_key: key.try_into().unwrap(),
            properties: Default::default(),
            body: body.to_owned().into(),
        });
        publish.mandatory = mandatory;
        let _ = self.channel().publish(publish).unwrap();
    }

    fn settle(&self, delivery_tag: u64, settlement: Settlement) {
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement,
        };
        self.channel().settle(settle).unwrap();
    }
}

/// A shop that publishes orders, and a service that bills them: orders are acked, requeued and
/// rejected, one is refused, and the service loses its connection. `broker` has a paused clock.
async fn trade(broker: &InMemoryBroker) -> (Client, Client) {
    let shop = Client::open(broker, "shop").await;
    shop.channel().confirm_select().await.unwrap();
    let orders = ExchangeDeclare::new("orders".try_into().unwrap(), ExchangeKind::Topic);
    shop.channel().declare_exchange(orders).await.unwrap();

    let billing = Client::open(broker, "billing").await;
    let to_given_up = FieldTable::new()
        .with("x-dead-letter-exchange", "")
        .and_then(|table| table.with("x-dead-letter-routing-key", "given-up"));
    billing.declare("to-bill", to_given_up.unwrap()).await;
    billing.declare("given-up", FieldTable::new()).await;
    let binding = Binding {
        source: "orders".try_into().unwrap(),
        destination: BindingDestination::Queue("to-bill".try_into().unwrap()),
        routing_key: "order.*".try_into().unwrap(),
        arguments: FieldTable::new(),
    };
    billing.channel().bind(binding).await.unwrap();
    billing.channel().qos(1, false).await.unwrap();
    let mut consume = Consume::new("to-bill".try_into().unwrap());
    consume.tag = "biller".try_into().unwrap();
    billing.channel().consume(consume).await.unwrap();

    shop.publish("orders", "order.new", "a pencil", false);
    billing.settle(1, Settlement::Ack);
    advance(Duration::from_millis(1_500)).await;

    shop.publish("orders", "order.new", "a pen", false);
    billing.settle(2, Settlement::Nack { requeue: true });
    billing.settle(3, Settlement::Reject { requeue: false });
    shop.publish("orders", "refund", "an eraser", true);
    for _ in 0..3 {
        let given_up = "given-up".try_into().unwrap();
        shop.channel().get(given_up, true).await.unwrap();
    }

    advance(Duration::from_secs(3_600)).await;
    let refusing = broker.faults().connection("shop").nack_publishes(1);
    shop.publish("orders", "order.new", "a book", false);
    drop(refusing);
    shop.publish("orders", "order.new", "two books", false);
    broker.faults().connection("bill*").drop_connections();
    let missing = QueueDeclare {
        passive: true,
        ..QueueDeclare::new("refunds".try_into().unwrap())
    };
    shop.channel().declare_queue(missing).await.unwrap_err();
    (shop, billing)
}

#[tokio::test(start_paused = true)]
async fn timeline_is_a_line_for_each_event() {
    let broker = InMemoryBroker::start_as(Profile::V4_3);
    let timeline = broker.timeline(1_000);
    let _clients = trade(&broker).await;
    let expected = r#"
timeline of the in-memory RabbitMQ 4.3: 39 events
  00:00:00.000000  shop#1          connects as guest
  00:00:00.000000  shop#1 ch 1     opens the channel
  00:00:00.000000  shop#1 ch 1     declares exchange "orders" (topic)
  00:00:00.000000  billing#2       connects as guest
  00:00:00.000000  billing#2 ch 1  opens the channel
  00:00:00.000000  billing#2 ch 1  declares queue "to-bill" (x-dead-letter-exchange, x-dead-letter-routing-key)
  00:00:00.000000  billing#2 ch 1  declares queue "given-up"
  00:00:00.000000  billing#2 ch 1  binds queue "to-bill" to "orders", key "order.*"
  00:00:00.000000  billing#2 ch 1  sets prefetch 1
  00:00:00.000000  billing#2 ch 1  consumes "to-bill" as "biller"
  00:00:00.000000  shop#1 ch 1     publishes #1 to "orders", key "order.new": a pencil -> "to-bill"
  00:00:00.000000  billing#2 ch 1  is delivered 1 from "to-bill": a pencil
  00:00:00.000000  shop#1 ch 1     is confirmed #1
  00:00:00.000000  billing#2 ch 1  acks 1 of "to-bill": a pencil
  00:00:01.500000  shop#1 ch 1     publishes #2 to "orders", key "order.new": a pen -> "to-bill"
  00:00:01.500000  billing#2 ch 1  is delivered 2 from "to-bill": a pen
  00:00:01.500000  shop#1 ch 1     is confirmed #2
  00:00:01.500000  billing#2 ch 1  requeues 2 of "to-bill": a pen
  00:00:01.500000  billing#2 ch 1  is delivered 3 from "to-bill", redelivered: a pen
  00:00:01.500000  billing#2 ch 1  rejects 3 of "to-bill": a pen
  00:00:01.500000  broker          "to-bill" dead-letters (rejected) to "", key "given-up": a pen -> "given-up"
  00:00:01.500000  shop#1 ch 1     publishes #3 to "orders", key "refund", mandatory: an eraser -> no queue
  00:00:01.500000  shop#1 ch 1     is returned, without a route from "orders", key "refund": an eraser
  00:00:01.500000  shop#1 ch 1     is confirmed #3
  00:00:01.500000  shop#1 ch 1     fetches 1 from "given-up", redelivered, without ack: a pen
  00:00:01.500000  shop#1 ch 1     finds "given-up" empty, 2 times
  01:00:01.500000  broker          fault begins: nack_publishes(1), connection "shop"
  01:00:01.500000  shop#1 ch 1     publishes #4 to "orders", key "order.new": a book -> "to-bill"
  01:00:01.500000  shop#1 ch 1     fault: refuses the publish
  01:00:01.500000  shop#1 ch 1     is nacked #4
  01:00:01.500000  broker          fault ends: nack_publishes(1), after 1 strike
  01:00:01.500000  shop#1 ch 1     publishes #5 to "orders", key "order.new": two books -> "to-bill"
  01:00:01.500000  billing#2 ch 1  is delivered 4 from "to-bill": two books
  01:00:01.500000  shop#1 ch 1     is confirmed #5
  01:00:01.500000  broker          fault: drops connections, connection "bill*"
  01:00:01.500000  billing#2       connection is lost
  01:00:01.500000  billing#2 ch 1  gives back 1 to "to-bill"
  01:00:01.500000  shop#1 ch 1     looks for queue "refunds"
  01:00:01.500000  shop#1 ch 1     channel is closed by the broker: 404 NOT_FOUND - no queue 'refunds' in vhost '/'
"#;
    assert_eq!(timeline.to_string(), expected.trim_start());
}

#[tokio::test(start_paused = true)]
async fn timeline_is_a_sequence_diagram() {
    let broker = InMemoryBroker::start_as(Profile::V4_3);
    let timeline = broker.timeline(1_000);
    let _clients = trade(&broker).await;
    let expected = r#"
sequenceDiagram
    participant c1 as shop#35;1
    participant c2 as billing#35;2
    participant x1 as exchange orders
    participant q1 as queue to-bill
    participant q2 as queue given-up
    participant b1 as broker
    Note over c1: connects as guest
    Note over c2: connects as guest
    c1->>x1: publish #35;1, key order.new: a pencil
    x1->>q1: route
    q1->>c2: deliver 1: a pencil
    Note over c1: is confirmed #35;1
    c2-->>q1: ack 1
    c1->>x1: publish #35;2, key order.new: a pen
    x1->>q1: route
    q1->>c2: deliver 2: a pen
    Note over c1: is confirmed #35;2
    c2-->>q1: requeue 2
    q1->>c2: redeliver 3: a pen
    c2--xq1: reject 3
    q1->>q2: rejected: a pen
    c1->>x1: publish #35;3, key refund: an eraser
    Note over x1: no queue
    Note over c1: is returned, without a route from "orders", key "refund": an eraser
    Note over c1: is confirmed #35;3
    q2->>c1: get 1: a pen
    Note over b1: fault begins: nack_publishes(1), connection "shop"
    c1->>x1: publish #35;4, key order.new: a book
    x1->>q1: route
    Note over c1: fault: refuses the publish
    Note over c1: is nacked #35;4
    Note over b1: fault ends: nack_publishes(1), after 1 strike
    c1->>x1: publish #35;5, key order.new: two books
    x1->>q1: route
    q1->>c2: deliver 4: two books
    Note over c1: is confirmed #35;5
    Note over b1: fault: drops connections, connection "bill*"
    Note over c2: connection is lost
    c2-->>q1: give back 1
    Note over c1: channel is closed by the broker: 404 NOT_FOUND - no queue 'refunds' in vhost '/'
"#;
    assert_eq!(timeline.mermaid(usize::MAX), expected.trim_start());
}

#[tokio::test(start_paused = true)]
async fn timeline_of_a_seed_is_the_same_each_time() {
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut options = Options::default();
        options.seed = Some(17);
        let broker = InMemoryBroker::start_with_options(options);
        let timeline = broker.timeline(1_000);
        let mut client = Client::open(&broker, "shop").await;
        client.channel().confirm_select().await.unwrap();
        for queue in ["one", "two"] {
            client.declare(queue, FieldTable::new()).await;
            let consume = Consume::new(queue.try_into().unwrap());
            client.channel().consume(consume).await.unwrap();
        }
        for n in 0..20 {
            let queue = if n % 2 == 0 { "one" } else { "two" };
            client.publish("", queue, &n.to_string(), false);
        }
        let mut delivered = 0;
        while delivered < 20 {
            let event = client.channel.events.next().await.unwrap();
            delivered += usize::from(matches!(event, ChannelEvent::Deliver(_)));
        }
        texts.push(timeline.to_string());
    }
    let heading = "timeline of the in-memory RabbitMQ 4.0, seed 17: ";
    assert!(texts[0].starts_with(heading), "{}", texts[0]);
    assert_eq!(texts[0].matches("is delivered").count(), 20);
    assert_eq!(texts[0], texts[1]);
}

#[tokio::test(start_paused = true)]
async fn timeline_follows_the_broker_through_expiry_alarms_and_a_restart() {
    let broker = InMemoryBroker::start();
    let timeline = broker.timeline(1_000);
    let shop = Client::open(&broker, "shop").await;
    let a_second = FieldTable::new().with("x-message-ttl", 1_000).unwrap();
    shop.declare("offers", a_second).await;
    shop.publish("", "offers", "half price", false);
    advance(Duration::from_secs(1)).await;
    assert_eq!(broker.queues("offers")[0].ready, 0);

    let alarm = broker.raise_alarm(mooq::memory::Alarm::Disk);
    shop.publish("", "offers", "for free", false);
    drop(alarm);
    broker.faults().restart();
    let expected = r#"
  00:00:00.000000  shop#1 ch 1  publishes to "", key "offers": half price -> "offers"
  00:00:01.000000  broker       "offers" drops (expired): half price
  00:00:01.000000  broker       alarm begins: low on disk
  00:00:01.000000  shop#1       is blocked, because of an alarm
  00:00:01.000000  broker       alarm ends: low on disk
  00:00:01.000000  shop#1       is unblocked
  00:00:01.000000  shop#1 ch 1  publishes to "", key "offers": for free -> "offers"
  00:00:01.000000  broker       stops
  00:00:01.000000  shop#1       connection is closed by the broker: 320 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'
  00:00:01.000000  broker       starts
"#;
    let text = timeline.text(10);
    assert_eq!(text.split_once('\n').unwrap().1, &expected[1..]);
}

#[tokio::test]
async fn timeline_has_a_limit_and_counts_what_it_drops() {
    let broker = InMemoryBroker::start();
    let timeline = broker.timeline(3);
    let shop = Client::open(&broker, "shop").await;
    shop.declare("orders", FieldTable::new()).await;
    for n in 0..5 {
        shop.publish("", "orders", &n.to_string(), false);
    }
    let text = timeline.to_string();
    let heading = "timeline of the in-memory RabbitMQ 4.0: the last 3 of 8 events\n";
    assert!(text.starts_with(heading), "{text}");
    let bodies = ["2", "3", "4"].map(|n| text.contains(&format!(": {n} -> \"orders\"")));
    assert_eq!((bodies, text.lines().count()), ([true; 3], 4), "{text}");
    assert_eq!(timeline.text(1).lines().count(), 2);
}

#[tokio::test]
async fn diagram_of_many_messages_is_within_mermaids_limit() {
    let broker = InMemoryBroker::start();
    let timeline = broker.timeline(10_000);
    let shop = Client::open(&broker, "shop").await;
    shop.declare("orders", FieldTable::new()).await;
    for _ in 0..2_000 {
        shop.publish("", "orders", &"x".repeat(100), false);
    }
    shop.publish("", "orders", "the last", false);
    let diagram = timeline.mermaid(usize::MAX);
    assert!(diagram.len() <= 40_000, "{}", diagram.len());
    assert!(diagram.len() > 30_000, "{}", diagram.len());
    assert!(diagram.ends_with("publish: the last\n"), "{diagram}");
}

#[tokio::test]
async fn timeline_that_is_stopped_takes_no_more() {
    let broker = InMemoryBroker::start();
    let timeline = broker.timeline(10);
    assert!(timeline.is_empty());
    let shop = Client::open(&broker, "shop").await;
    timeline.stop();
    let stopped = timeline.to_string();
    let later = broker.timeline(10);
    shop.declare("orders", FieldTable::new()).await;
    assert_eq!(timeline.to_string(), stopped);
    assert_eq!(later.text(10).lines().count(), 2);
}

#[tokio::test]
async fn broker_without_a_timeline_keeps_nothing_of_what_came_before() {
    let broker = InMemoryBroker::start();
    let _shop = Client::open(&broker, "shop").await;
    let timeline: Timeline = broker.timeline(10);
    assert_eq!(
        timeline.to_string(),
        "timeline of the in-memory RabbitMQ 4.0: no events\n"
    );
}
