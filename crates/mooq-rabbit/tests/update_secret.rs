//! New secrets on an open connection, handed to the in-memory broker on a socket.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use futures_util::future::{join_all, join3};
use futures_util::{FutureExt, StreamExt};
use mooq_core::{ConnectionEvent, Endpoint, ErrorKind, QueueDeclare, ShortString, Transport};
use mooq_memory::InMemoryBroker;
use mooq_rabbit::RabbitTransport;
use mooq_server::Listen;

fn transports() -> Vec<Box<dyn Transport>> {
    let mut transports: Vec<Box<dyn Transport>> = vec![Box::new(RabbitTransport)];
    #[cfg(feature = "native")]
    transports.push(Box::new(mooq_rabbit::NativeTransport));
    transports
}

fn reason() -> ShortString {
    "a test".try_into().unwrap()
}

#[tokio::test]
async fn secrets_are_answered_one_by_one_and_beside_all_else() {
    let broker = InMemoryBroker::start();
    let server = broker.listen("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = server.url().parse().unwrap();
    for transport in transports() {
        let opened = transport.open(&endpoint).await.unwrap();
        let connection = opened.connection;
        let channel = connection.open_channel().await.unwrap().channel;
        let reason = reason();
        let secrets = ["one", "two", ""].map(|secret| connection.update_secret(secret, &reason));
        let declare = QueueDeclare::new("orders".try_into().unwrap());
        let (updated, declared, another) = join3(
            join_all(secrets),
            channel.declare_queue(declare),
            connection.open_channel(),
        )
        .await;
        assert!(updated.iter().all(Result::is_ok), "{updated:?}");
        declared.unwrap();
        another.unwrap();

        // A caller that gives up leaves the connection as it is.
        let abandoned = connection.update_secret("three", &reason).now_or_never();
        assert!(abandoned.is_none());
        connection.update_secret("four", &reason).await.unwrap();
        connection.close().await.unwrap();
        let late = connection.update_secret("five", &reason).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ConnectionClosed, "{late}");
    }
    server.stop().await;
}

#[tokio::test]
async fn secret_that_is_refused_closes_the_connection() {
    let broker = InMemoryBroker::start();
    let server = broker.listen("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = server.url().parse().unwrap();
    for transport in transports() {
        let mut opened = transport.open(&endpoint).await.unwrap();
        let refusing = broker.faults().refuse_logins();
        let updated = opened.connection.update_secret("secret", &reason()).await;
        let err = updated.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err}");
        let close = err.reason().unwrap();
        assert_eq!((close.code, close.class_id, close.method_id), (530, 10, 70));
        assert_eq!(
            close.text,
            "NOT_ALLOWED - New secret was refused by one of the backends"
        );
        match opened.events.next().await {
            Some(ConnectionEvent::Closed(closed)) => assert_eq!(closed.kind(), err.kind()),
            other => panic!("{other:?}"),
        }
        drop(refusing);
    }
    server.stop().await;
}
