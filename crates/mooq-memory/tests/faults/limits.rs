//! Limits: resources that the broker has run out of, and clients that it refuses.

use mooq_core::{ConnectionEvent, ErrorKind};
use mooq_memory::{Alarm, InMemoryBroker};

use crate::client::{Client, open};

#[tokio::test]
async fn a_login_is_refused_in_rabbitmqs_words() {
    let broker = InMemoryBroker::start();
    let mut open_before = Client::named(&broker, "billing").await;
    let refusing = broker.faults().connection("billing").refuse_logins();
    let err = open(&broker, "billing").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed);
    let reason = err.reason().unwrap();
    assert_eq!(reason.code, 403);
    assert_eq!(
        reason.text,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details \
         see the broker logfile."
    );
    open(&broker, "shipping").await.unwrap();
    open_before.hears_nothing();
    assert_eq!(refusing.strikes(), 1);
}

#[tokio::test]
async fn one_channel_too_many_costs_the_connection() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    let limit = broker.faults().limit_channels(2);
    let _second = client.connection.open_channel().await.unwrap();
    let err = client.connection.open_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    let expected = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated \
                    channel_max (2)";
    assert_eq!(err.reason().unwrap().text, expected);
    assert_eq!(client.connection_closed().reason().unwrap().code, 530);
    assert_eq!(limit.strikes(), 1);
}

#[tokio::test]
async fn an_alarm_is_a_fault_like_others() {
    let broker = InMemoryBroker::start();
    broker.announce_blocked();
    let mut client = Client::new(&broker).await;
    client.declare("orders").await;
    let alarm = broker.faults().raise_alarm(Alarm::Disk);
    client.put("orders", "book");
    let event = client.connection_events.try_recv();
    assert!(
        matches!(event, Some(ConnectionEvent::Blocked(_))),
        "{event:?}"
    );
    drop(alarm);
    let event = client.connection_events.try_recv();
    assert!(
        matches!(event, Some(ConnectionEvent::Unblocked)),
        "{event:?}"
    );
    assert_eq!(broker.queues("orders")[0].ready, 1);
}

/// As mooq's connections to RabbitMQ are.
#[tokio::test]
async fn an_alarm_is_silent_unless_it_is_asked_for() {
    let broker = InMemoryBroker::start();
    let mut client = Client::new(&broker).await;
    assert!(!client.connection.announces_blocked());
    client.declare("orders").await;
    let alarm = broker.raise_alarm(Alarm::Memory);
    client.put("orders", "book");
    assert!(client.connection_events.try_recv().is_none());
    assert_eq!(broker.queues("orders")[0].ready, 0, "it waits");
    drop(alarm);
    assert!(client.connection_events.try_recv().is_none());
    assert_eq!(broker.queues("orders")[0].ready, 1);
}
