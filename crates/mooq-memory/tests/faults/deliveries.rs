//! Deliveries and acknowledgements that go wrong.

use futures_util::{FutureExt, StreamExt};
use mooq_core::{ChannelEvent, ErrorKind, Settle, Settlement};
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
async fn lost_ack_redelivers_its_message_and_all_that_was_outstanding() {
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
async fn an_ack_that_the_broker_refuses_is_no_strike() {
    let broker = InMemoryBroker::start();
    let mut client = consumer(&broker, "").await;
    let losing = broker.faults().lose_acks(1);
    assert_eq!([(); 3].map(|()| client.delivered()), ["1", "2", "3"]);
    let settle = Settle {
        delivery_tag: 4,
        multiple: true,
        settlement: Settlement::Ack,
    };
    client.channel.settle(settle).unwrap();
    let err = client.channel_closed();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err}");
    assert_eq!(losing.strikes(), 0);
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

#[tokio::test]
async fn a_held_queue_delivers_in_order_when_the_last_hold_ends() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.declare("payments").await;
    client.consume("orders").await;
    client.consume("payments").await;
    let first = broker.faults().queue("orders").hold_queues();
    let second = broker.faults().queue("ord*").hold_queues();
    for (queue, body) in [
        ("orders", "1"),
        ("payments", "2"),
        ("orders", "3"),
        ("orders", "4"),
    ] {
        client.put(queue, body);
    }
    assert_eq!(client.delivered(), "2");
    let fetched = client
        .channel
        .get(queue("orders").name, true)
        .await
        .unwrap();
    assert_eq!(text(&fetched.unwrap().message), "1");
    drop(first);
    client.hears_nothing();
    drop(second);
    assert_eq!([client.delivered(), client.delivered()], ["3", "4"]);
}

#[tokio::test]
async fn queues_overtake_each_other_and_keep_their_own_order() {
    let broker = InMemoryBroker::start();
    let mut client = Client::named(&broker, "shop").await;
    for name in ["a", "b", "c"] {
        client.declare(name).await;
        client.consume(name).await;
    }
    let reordering = broker
        .faults()
        .connection("shop")
        .queue("[ab]")
        .reorder_queues();
    for (queue, body) in [
        ("a", "a1"),
        ("b", "b1"),
        ("c", "c1"),
        ("a", "a2"),
        ("b", "b2"),
    ] {
        client.put(queue, body);
    }
    assert_eq!(client.delivered(), "c1", "nothing holds this one up");
    client.hears_nothing();
    let mut order = Vec::new();
    while order.len() < 4 {
        let event = client.events.next().await.unwrap();
        let ChannelEvent::Deliver(delivery) = event else {
            panic!("{event:?}");
        };
        order.push(text(&delivery.message));
    }
    assert_eq!(order, ["b1", "b2", "a1", "a2"]);
    assert_eq!(reordering.strikes(), 4);

    // The reply to a client's request comes after everything that was sent to the client before.
    client.put("a", "a3");
    client.put("b", "b3");
    client.declare("a").await;
    assert_eq!([client.delivered(), client.delivered()], ["b3", "a3"]);

    client.put("a", "a4");
    client.hears_nothing();
    drop(reordering);
    assert_eq!(client.delivered(), "a4");
}

#[test]
fn without_a_runtime_nothing_stays_under_way() {
    let broker = InMemoryBroker::start_seeded(1);
    let opened = Client::new(&broker).now_or_never();
    let mut client = opened.expect("nothing has to be waited for");
    let declared = client.declare("orders").now_or_never();
    declared.expect("nothing has to be waited for");
    client.consume("orders").now_or_never().unwrap();
    client.put("orders", "book");
    assert_eq!(client.delivered(), "book");
}
