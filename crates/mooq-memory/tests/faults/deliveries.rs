//! Deliveries and acknowledgements that go wrong.

use mooq_core::{ErrorKind, Settle, Settlement};
use mooq_memory::InMemoryBroker;

use crate::client::{Client, queue, text};

/// A client that consumes `orders`, in which there are three messages.
async fn consumer(broker: &InMemoryBroker, name: &str) -> Client {
    let client = Client::named(broker, name).await;
    client.declare("orders").await;
    for body in ["1", "2", "3"] {
        client.put("orders", body);
    }
    client.consume("orders").await;
    client
}

#[tokio::test]
async fn what_a_lost_ack_was_for_comes_again_with_all_that_was_outstanding() {
    let broker = InMemoryBroker::start();
    let mut client = consumer(&broker, "billing").await;
    let losing = broker.faults().connection("billing").lose_acks(1);
    assert_eq!([(); 3].map(|()| client.delivered()), ["1", "2", "3"]);
    client.ack(2);
    let err = client.connection_closed();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    assert_eq!(losing.strikes(), 1);

    let mut client = Client::named(&broker, "billing").await;
    client.consume("orders").await;
    let again = [(); 3].map(|()| client.delivered());
    assert_eq!(again, ["1 again", "2 again", "3 again"]);
    client.ack(2);
    client.hears_nothing();
    assert_eq!(broker.queues("orders")[0].unacked, 2);
}

#[tokio::test]
async fn a_duplicate_comes_again_once_under_a_tag_of_its_own() {
    let broker = InMemoryBroker::start();
    let mut client = consumer(&broker, "").await;
    let duplicating = broker.faults().queue("orders").duplicate_deliveries(1);
    assert_eq!([(); 3].map(|()| client.delivered()), ["1", "2", "3"]);
    client.ack(2);
    let again = client.delivery();
    assert_eq!(
        (text(&again.message).as_str(), again.redelivered),
        ("2", true)
    );
    assert_eq!(again.delivery_tag, 4);
    client.ack(4);
    client.ack(1);
    client.hears_nothing();
    assert_eq!(duplicating.strikes(), 1);
    assert_eq!(broker.queues("orders")[0].unacked, 1);
}

#[tokio::test]
async fn one_ack_of_several_is_one_strike() {
    let broker = InMemoryBroker::start();
    let mut client = consumer(&broker, "").await;
    let duplicating = broker.faults().duplicate_deliveries(1);
    assert_eq!([(); 3].map(|()| client.delivered()), ["1", "2", "3"]);
    let settle = Settle {
        delivery_tag: 2,
        multiple: true,
        settlement: Settlement::Ack,
    };
    client.channel.settle(settle).unwrap();
    assert_eq!(
        [client.delivered(), client.delivered()],
        ["1 again", "2 again"]
    );
    assert_eq!(duplicating.strikes(), 1);
}

#[tokio::test]
async fn rejections_and_other_queues_are_spared() {
    let broker = InMemoryBroker::start();
    let mut client = consumer(&broker, "").await;
    let losing = broker.faults().queue("invoices").lose_acks(u64::MAX);
    let duplicating = broker.faults().duplicate_deliveries(1);
    assert_eq!([(); 3].map(|()| client.delivered()), ["1", "2", "3"]);
    let settlement = Settlement::Reject { requeue: false };
    client
        .channel
        .settle(Settle {
            delivery_tag: 1,
            multiple: false,
            settlement,
        })
        .unwrap();
    // A tag that is not outstanding is refused as ever.
    client.ack(1);
    let err = client.channel_closed();
    assert_eq!(
        err.reason().unwrap().text,
        "PRECONDITION_FAILED - unknown delivery tag 1"
    );
    assert_eq!((losing.strikes(), duplicating.strikes()), (0, 0));
}

#[tokio::test]
async fn a_corrupted_body_is_sound_when_it_comes_again() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.put("orders", "{\"id\":1}");
    client.put("orders", "");
    client.put("orders", "{\"id\":2}");
    let corrupting = broker
        .faults()
        .exchange("")
        .queue("orders")
        .corrupt_bodies(2);
    let name = || queue("orders").name;
    let fetched = client.channel.get(name(), false).await.unwrap().unwrap();
    let body = &fetched.message.body;
    assert_eq!(body.len(), 8);
    assert!(std::str::from_utf8(body).is_err(), "{body:?}");
    client.consume("orders").await;
    let empty = client.delivery();
    assert!(std::str::from_utf8(&empty.message.body).is_err());
    assert_eq!(client.delivered(), "{\"id\":2}");
    assert_eq!(corrupting.strikes(), 2);

    let requeue = Settlement::Reject { requeue: true };
    for delivery_tag in [fetched.delivery_tag, empty.delivery_tag] {
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement: requeue,
        };
        client.channel.settle(settle).unwrap();
    }
    assert_eq!(
        [client.delivered(), client.delivered()],
        ["{\"id\":1} again", " again"]
    );
}
