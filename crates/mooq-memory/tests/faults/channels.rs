//! Channels and consumers that the broker ends.

use mooq_core::{ChannelEvent, ErrorKind, ErrorScope};
use mooq_memory::InMemoryBroker;

use crate::client::Client;

#[tokio::test]
async fn a_channel_is_closed_with_any_code_and_what_it_had_comes_back_first() {
    let broker = InMemoryBroker::start();
    let mut billing = Client::named(&broker, "billing").await;
    let mut shipping = Client::named(&broker, "shipping").await;
    billing.declare("orders").await;
    billing.put("orders", "book");
    billing.consume("orders").await;
    shipping.consume("orders").await;
    assert_eq!(billing.delivered(), "book");

    let faults = broker.faults().connection("billing");
    assert_eq!(faults.close_channels(406, "PRECONDITION_FAILED - test"), 1);
    let err = billing.channel_closed();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(err.scope(), ErrorScope::Channel);
    let reason = err.reason().unwrap();
    assert_eq!(
        (reason.code, reason.text.as_str(), reason.method()),
        (406, "PRECONDITION_FAILED - test", None)
    );
    assert_eq!(shipping.delivered(), "book again");
    billing.connection.open_channel().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_consumer_keeps_what_it_was_delivered() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    client.declare("invoices").await;
    client.consume("orders").await;
    client.consume("invoices").await;
    client.put("orders", "book");
    let delivery = client.delivery();

    assert_eq!(broker.faults().queue("orders").cancel_consumers(), 1);
    let ChannelEvent::ConsumerCancelled(tag) = client.event() else {
        panic!("expected a cancellation");
    };
    assert_eq!(tag, delivery.consumer_tag);
    client.put("orders", "pen");
    client.put("invoices", "bill");
    assert_eq!(client.delivered(), "bill");
    client.ack(delivery.delivery_tag);
    client.hears_nothing();
    let [_, orders] = &broker.queues("*")[..] else {
        panic!("there are two queues");
    };
    assert_eq!((orders.ready, orders.unacked, orders.consumers), (1, 0, 0));
}

#[tokio::test]
async fn the_last_consumer_that_is_cancelled_takes_an_auto_delete_queue_along() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    let declare = mooq_core::QueueDeclare {
        auto_delete: true,
        ..crate::client::queue("orders")
    };
    client.channel.declare_queue(declare).await.unwrap();
    client.consume("orders").await;
    client.consume("orders").await;

    assert_eq!(broker.faults().cancel_consumers(), 2);
    for _ in 0..2 {
        let event = client.event();
        assert!(
            matches!(event, ChannelEvent::ConsumerCancelled(_)),
            "{event:?}"
        );
    }
    client.hears_nothing();
    assert!(broker.queues("*").is_empty());
}
