//! Connections that end, or do not come about.

use mooq_core::{ErrorKind, ErrorScope};
use mooq_memory::InMemoryBroker;

use crate::client::{Client, open};

#[tokio::test]
async fn connections_are_dropped_by_name_without_a_word() {
    let broker = InMemoryBroker::start();
    let mut billing = Client::named(&broker, "billing-1").await;
    let mut shipping = Client::named(&broker, "shipping").await;
    let mut nameless = Client::named(&broker, "").await;
    billing.declare("orders").await;
    billing.put("orders", "book");
    billing.consume("orders").await;
    assert_eq!(billing.delivered(), "book");

    assert_eq!(
        broker.faults().connection("billing-*").drop_connections(),
        1
    );
    let err = billing.connection_closed();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert_eq!(err.reason(), None);
    assert!(billing.connection.open_channel().await.is_err());
    shipping.hears_nothing();
    nameless.hears_nothing();

    // Its unacked deliveries were requeued.
    shipping.consume("orders").await;
    assert_eq!(shipping.delivered(), "book again");
    assert_eq!(broker.faults().drop_connections(), 2);
    assert_eq!(broker.faults().drop_connections(), 0);
}

#[tokio::test]
async fn connections_are_closed_with_320_and_a_text() {
    let broker = InMemoryBroker::start();
    let mut client = Client::named(&broker, "billing").await;
    let faults = broker.faults().connection("billing");
    assert_eq!(faults.close_connections("maintenance"), 1);
    let err = client.connection_closed();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost);
    let reason = err.reason().unwrap();
    assert_eq!((reason.code, reason.method()), (320, None));
    assert_eq!(reason.text, "CONNECTION_FORCED - maintenance");
}

#[tokio::test]
async fn connections_are_refused_until_every_such_fault_has_ended() {
    let broker = InMemoryBroker::start();
    let mut open_before = Client::named(&broker, "billing").await;
    let all = broker.faults().refuse_connections();
    let some = broker.faults().connection("bill*").refuse_connections();

    let err = open(&broker, "billing").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed);
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert!(err.to_string().contains("localhost:5672"), "{err}");
    assert_eq!((all.strikes(), some.strikes()), (1, 0));
    open_before.hears_nothing();

    drop(all);
    open(&broker, "shipping").await.unwrap();
    open(&broker, "billing").await.unwrap_err();
    assert_eq!(some.strikes(), 1);
    drop(some);
    open(&broker, "billing").await.unwrap();
}

#[tokio::test]
async fn a_limit_to_queues_or_exchanges_spares_connections() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    assert_eq!(broker.faults().queue("**").drop_connections(), 0);
    let _refusing = broker.faults().exchange("**").refuse_connections();
    open(&broker, "").await.unwrap();
    client.hears_nothing();
}
