//! Queues that go, or take nothing.

use mooq_core::{ChannelEvent, ErrorKind, FieldTable, QueueDeclare};
use mooq_memory::InMemoryBroker;

use crate::client::{Client, queue};

#[tokio::test]
async fn a_queue_is_deleted_under_its_consumers() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders-new").await;
    client.declare("invoices").await;
    client.consume("orders-new").await;
    client.put("orders-new", "book");
    assert_eq!(client.delivered(), "book");

    assert_eq!(broker.faults().queue("orders-*").delete_queues(), 1);
    let event = client.event();
    assert!(
        matches!(event, ChannelEvent::ConsumerCancelled(_)),
        "{event:?}"
    );
    client.ack(1); // Of a queue that is gone: nothing follows.
    client.hears_nothing();
    assert_eq!(broker.queues("*").len(), 1);
    let err = client.channel.get(queue("orders-new").name, true).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::QueueNotFound);
}

#[tokio::test]
async fn a_full_queue_refuses_what_others_get_and_dead_letters_where_that_is_asked() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("dead").await;
    let mut arguments = FieldTable::new();
    for (key, value) in [
        ("x-overflow", "reject-publish-dlx"),
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ] {
        arguments.insert(key.try_into().unwrap(), value);
    }
    let declare = QueueDeclare {
        arguments,
        ..queue("orders")
    };
    client.channel.declare_queue(declare).await.unwrap();
    client.channel.confirm_select().await.unwrap();
    client.put("orders", "before");

    let full = broker.faults().queue("orders").fill_queues();
    client.put("orders", "during");
    client.put("dead", "elsewhere");
    drop(full);
    client.put("orders", "after");

    let events = [(); 4].map(|()| client.event());
    assert!(
        matches!(
            events,
            [
                ChannelEvent::Confirm { sequence: 1, .. },
                ChannelEvent::Nack { sequence: 2, .. },
                ChannelEvent::Confirm { sequence: 3, .. },
                ChannelEvent::Confirm { sequence: 4, .. },
            ]
        ),
        "{events:?}"
    );
    client.consume("dead").await;
    assert_eq!(
        [client.delivered(), client.delivered()],
        ["during", "elsewhere"]
    );
    assert_eq!(broker.queues("orders")[0].ready, 2);
}
