//! Passwords are in no `Debug`, no error and no log, whatever goes wrong.

#![cfg(all(feature = "rabbit", feature = "memory"))]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, Credentials, Endpoint, Scheme};
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

const SECRET: &str = "correct-horse";

/// The log, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check(shown: &(impl Debug + ?Sized)) {
    for shown in [format!("{shown:?}"), format!("{shown:#?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

/// Asserts that connecting fails, and that no text about it has the password.
async fn fails(options: ConnectOptions) {
    check(&options);
    check(&options.endpoint());
    let err = mooq::connect(options).await.unwrap_err();
    check(&err);
    let mut cause: Option<&dyn std::error::Error> = Some(&err);
    while let Some(error) = cause {
        assert!(!error.to_string().contains(SECRET), "{error}");
        check(error);
        cause = error.source();
    }
}

fn options() -> ConnectOptions {
    ConnectOptions::new()
        .host("127.0.0.1")
        .credentials("app", SECRET)
        .connect_timeout(Duration::from_millis(200))
}

#[tokio::test]
async fn a_password_is_shown_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();

    check(&Credentials::new("app", SECRET));
    for url in [
        "amqp://app:SECRET@h:port",
        "amqp://app:SECRET@h/a/b",
        "amqp://app:SECRET@h?colour=red",
        "amqp://app:SECRET@h#fragment",
        "amqps://app:SECRET@h?verify=maybe",
        "http://app:SECRET@h",
        "amqp:app:SECRET@h",
        "amqp://app:1/SECRET@h",
        "amqp://app:1?SECRET@h",
    ] {
        check(&url.replace("SECRET", SECRET).parse::<Endpoint>());
    }

    // A port that refuses, a peer that hangs up, a silent peer, and options that fail before
    // connecting.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    fails(options().port(port)).await;
    let hanging_up = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    for scheme in [Scheme::Amqp, Scheme::Amqps] {
        fails(options().port(port).broker(scheme)).await;
    }
    hanging_up.abort();
    assert!(hanging_up.await.unwrap_err().is_cancelled());
    fails(options().port(port)).await;
    fails(options().heartbeat(Duration::ZERO)).await;
    fails(options().credentials("app\0", SECRET)).await;
    fails(options().port(port).broker(Scheme::Memory)).await;

    // Connections in memory have the same types.
    let broker = InMemoryBroker::new("127.0.0.1", port);
    broker.run();
    let in_memory = || options().port(port).broker(Scheme::Memory);
    fails(in_memory()).await;
    broker.add_user("app", SECRET);
    broker
        .set_permissions("app", "/", ".*", ".*", ".*")
        .unwrap();
    check(&broker);
    let conn = mooq::connect(in_memory()).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    check(&conn);
    check(&chan);
    conn.close().await.unwrap();
    check(&conn);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!logged.contains(SECRET), "{logged}");
}
