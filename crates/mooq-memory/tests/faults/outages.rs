//! A broker that goes down as a whole.

use mooq_core::{ErrorKind, Transport};
use mooq_memory::{InMemoryBroker, MemoryTransport};

use crate::client::{Client, message, open, persistent, queue};

const SHUTDOWN: &str =
    "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";

#[tokio::test]
async fn a_restart_keeps_what_is_persistent_in_order_and_marks_what_was_delivered() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    let channel = &client.channel;
    let _ = channel.publish(persistent("orders", "first")).unwrap();
    let _ = channel.publish(message("orders", "transient")).unwrap();
    let _ = channel.publish(persistent("orders", "second")).unwrap();
    let name = queue("orders").name;
    channel.get(name, false).await.unwrap().unwrap();

    broker.faults().restart();
    let err = client.connection_closed();
    assert_eq!(err.reason().unwrap().text, SHUTDOWN);

    let mut client = Client::new(&broker).await;
    client.consume("orders").await;
    assert_eq!(client.delivered(), "first again");
    assert_eq!(client.delivered(), "second");
    client.hears_nothing();
}

#[tokio::test]
async fn a_broker_that_is_stopped_refuses_until_the_last_outage_has_ended() {
    let broker = InMemoryBroker::new("outages.example", 5672);
    broker.run();
    let endpoint = "memory://outages.example".parse().unwrap();
    let mut client = Client::new(&broker).await;

    let first = broker.faults().stop();
    assert_eq!(client.connection_closed().reason().unwrap().text, SHUTDOWN);
    assert!(!broker.is_running());
    let second = broker.faults().stop();
    drop(first);
    for refused in [
        open(&broker, "").await,
        MemoryTransport::new().open(&endpoint).await,
    ] {
        let err = refused.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectFailed);
    }
    drop(second);
    assert!(broker.is_running());
    MemoryTransport::new().open(&endpoint).await.unwrap();
}

#[tokio::test]
async fn faults_outlast_a_restart() {
    let broker = InMemoryBroker::start();
    let refusing = broker.faults().refuse_connections();
    broker.faults().restart();
    open(&broker, "").await.unwrap_err();
    drop(refusing);
    open(&broker, "").await.unwrap();
}

#[tokio::test]
async fn the_end_of_an_outage_does_not_start_a_broker_that_was_closed() {
    let broker = InMemoryBroker::start();
    let outage = broker.faults().stop();
    broker.close();
    drop(outage);
    assert!(!broker.is_running());
}
