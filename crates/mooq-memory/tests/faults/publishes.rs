//! Publishes that go wrong.

use mooq_core::{Binding, BindingDestination, ChannelEvent, ErrorKind, FieldTable};
use mooq_memory::InMemoryBroker;

use crate::client::{Client, message, queue};

fn ready(broker: &InMemoryBroker, queue: &str) -> u64 {
    broker.queues(queue)[0].ready
}

/// `confirm 1` or `nack 1`.
fn outcome(client: &mut Client) -> String {
    match client.event() {
        ChannelEvent::Confirm {
            sequence,
            multiple: false,
        } => format!("confirm {sequence}"),
        ChannelEvent::Nack {
            sequence,
            multiple: false,
        } => format!("nack {sequence}"),
        other => panic!("expected a confirm or a nack, got {other:?}"),
    }
}

#[tokio::test]
async fn the_next_publishes_within_the_limits_are_nacked_and_not_taken() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.declare("invoices").await;
    client.put("orders", "awaits no confirm");
    client.channel.confirm_select().await.unwrap();
    let nacking = broker.faults().exchange("").queue("ord*").nack_publishes(2);
    for queue in ["orders", "invoices", "nowhere", "orders", "orders"] {
        client.put(queue, "body");
    }
    for expected in ["nack 1", "confirm 2", "confirm 3", "nack 4", "confirm 5"] {
        assert_eq!(outcome(&mut client), expected);
    }
    assert_eq!(nacking.strikes(), 2);
    assert_eq!(
        (ready(&broker, "orders"), ready(&broker, "invoices")),
        (2, 1)
    );
}

#[tokio::test]
async fn publish_to_two_queues_is_within_a_limit_to_either() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.channel.confirm_select().await.unwrap();
    for name in ["orders", "audit"] {
        client.declare(name).await;
        let binding = Binding {
            source: "amq.fanout".try_into().unwrap(),
            destination: BindingDestination::Queue(queue(name).name),
            routing_key: Default::default(),
            arguments: FieldTable::new(),
        };
        client.channel.bind(binding).await.unwrap();
    }
    let _nacking = broker.faults().queue("audit").nack_publishes(u64::MAX);
    let mut publish = message("", "body");
    publish.message.exchange = "amq.fanout".try_into().unwrap();
    let _ = client.channel.publish(publish).unwrap();
    client.put("orders", "body");
    assert_eq!(outcome(&mut client), "nack 1");
    assert_eq!(outcome(&mut client), "confirm 2");
    assert_eq!((ready(&broker, "orders"), ready(&broker, "audit")), (1, 0));
}

#[tokio::test]
async fn a_lost_publish_and_a_lost_confirm_look_the_same_to_the_publisher() {
    for (is_taken, expected) in [(false, 0), (true, 1)] {
        let broker = InMemoryBroker::start();
        let mut client = Client::named(&broker, "shop").await;
        let mut other = Client::named(&broker, "other").await;
        client.declare("orders").await;
        for client in [&client, &other] {
            client.channel.confirm_select().await.unwrap();
        }
        let faults = broker.faults().connection("shop");
        let losing = if is_taken {
            faults.lose_confirms(2)
        } else {
            faults.lose_publishes(2)
        };
        client.put("orders", "book");
        let err = client.connection_closed();
        assert_eq!(err.kind(), ErrorKind::ConnectionLost);
        assert_eq!(ready(&broker, "orders"), expected);
        other.put("orders", "pen");
        assert_eq!(outcome(&mut other), "confirm 1");
        assert_eq!(losing.strikes(), 1, "the next connection is for the second");
    }
}

#[tokio::test]
async fn a_publish_without_confirms_can_be_lost_but_not_its_confirm() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    let _confirms = broker.faults().lose_confirms(1);
    client.put("orders", "book");
    client.hears_nothing();
    assert_eq!(ready(&broker, "orders"), 1);
    let _publishes = broker.faults().lose_publishes(1);
    client.put("orders", "pen");
    client.connection_closed();
    assert_eq!(ready(&broker, "orders"), 1);
}

#[tokio::test]
async fn the_older_of_two_faults_strikes_first() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.channel.confirm_select().await.unwrap();
    let nacking = broker.faults().nack_publishes(1);
    let losing = broker.faults().lose_confirms(1);
    client.put("orders", "book");
    assert_eq!(outcome(&mut client), "nack 1");
    assert_eq!((nacking.strikes(), losing.strikes()), (1, 0));
    client.put("orders", "book");
    client.connection_closed();
    assert_eq!((nacking.strikes(), losing.strikes()), (1, 1));
}
