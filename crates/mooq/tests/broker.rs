//! The broker of a connection, in memory. For RabbitMQ, the tests of `mooq-broker-ctl` cover it.

#![cfg(feature = "memory")]

use mooq::memory::InMemoryBroker;
use mooq::{Broker, ConnectOptions, ErrorKind, GetBroker, connect};

#[tokio::test]
async fn brokers_are_found_by_host_and_port_while_they_run() {
    let in_memory = InMemoryBroker::new("with_underscore.example", 5673);
    assert!(Broker::lookup("with_underscore.example", 5673).is_none());
    in_memory.run();
    let broker = Broker::named("with_underscore.example_5673").unwrap();
    assert!(broker.is_running().await);
    broker.close().await.unwrap();
    assert!(!in_memory.is_running());
    broker.run().await.unwrap();
    assert!(in_memory.is_running());
    for name in ["with_underscore.example", "elsewhere_5673", "host_port", ""] {
        assert!(Broker::named(name).is_none(), "{name}");
    }
}

#[tokio::test]
async fn a_connection_gives_the_broker_that_it_is_lost_with() {
    let in_memory = InMemoryBroker::new("of-a-connection.example", 5672);
    in_memory.run();
    let options = ConnectOptions::new().host("of-a-connection.example");
    let conn = connect(options.broker("in_memory")).await.unwrap();
    let broker = conn.get_broker().unwrap();
    broker.close().await.unwrap();
    let mut state = conn.state();
    state.wait_for(|state| !state.is_connected()).await.unwrap();
    assert!(conn.get_broker().is_none(), "none runs");
    broker.run().await.unwrap();
    conn.create_channel().await.unwrap();
}

#[tokio::test]
async fn a_broker_of_another_name_is_unsupported() {
    let options = ConnectOptions::new().broker("kafka");
    let err = connect(options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::UnsupportedScheme);
    assert!(err.to_string().contains("'kafka'"), "{err}");
}
