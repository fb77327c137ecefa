//! The renewal of credentials, in virtual time on the in-memory broker.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mooq::memory::InMemoryBroker;
use mooq::{ConnectOptions, Connection, Credentials, ErrorKind, Event, Events};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

/// The provider's answers, the first one first, and the times at which it was asked for them.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

#[derive(Clone, Copy)]
enum Answer {
    ValidFor(Duration),
    ForEver,
    Fails,
    Silent,
}

impl Script {
    fn new(answers: &[Answer]) -> Self {
        let script = Self::default();
        script.answers.lock().unwrap().extend(answers);
        script
    }

    async fn answer(self) -> io::Result<Credentials> {
        self.asked.lock().unwrap().push(Instant::now());
        let guest = Credentials::default();
        let next = self.answers.lock().unwrap().remove(0);
        match next {
            Answer::ValidFor(lifetime) => Ok(guest.expires_in(lifetime)),
            Answer::ForEver => Ok(guest),
            Answer::Fails => Err(io::Error::other("the vault is sealed")),
            Answer::Silent => pending().await,
        }
    }

    /// The seconds between one question and the next.
    fn pauses(&self) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        let pauses = asked.windows(2).map(|two| (two[1] - two[0]).as_secs());
        pauses.collect()
    }

    async fn connect(&self, broker: &InMemoryBroker) -> mooq::Result<Connection> {
        let script = self.clone();
        let options = ConnectOptions::new().credentials_from(move || script.clone().answer());
        Connection::open(Arc::new(broker.transport()), options).await
    }
}

async fn renewed(events: &mut Events) {
    let event = events.next().await;
    assert!(
        matches!(event, Some(Event::CredentialsRenewed)),
        "{event:?}"
    );
}

/// The error of a renewal that failed, and the time until the next attempt.
async fn not_renewed(events: &mut Events) -> (mooq::Error, Duration) {
    match events.next().await {
        Some(Event::CredentialsNotRenewed {
            error,
            next_attempt,
        }) => (error, next_attempt),
        other => panic!("expected a renewal that failed, not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_after_four_fifths_of_their_lifetime() {
    let broker = InMemoryBroker::start();
    let script = Script::new(&[
        Answer::ValidFor(HOUR),
        Answer::ValidFor(10 * HOUR),
        Answer::ForEver,
    ]);
    let conn = script.connect(&broker).await.unwrap();
    let mut events = conn.events();
    renewed(&mut events).await;
    renewed(&mut events).await;
    assert_eq!(script.pauses(), [2880, 28_800]);
    // These last for ever.
    tokio::time::sleep(1000 * HOUR).await;
    assert_eq!(script.pauses().len(), 2);
    assert!(conn.is_open());
}

#[tokio::test(start_paused = true)]
async fn renewal_that_fails_is_repeated_while_the_connection_goes_on() {
    let broker = InMemoryBroker::start();
    let script = Script::new(&[
        Answer::ValidFor(Duration::from_secs(100)),
        Answer::Fails,
        Answer::Silent,
        Answer::Fails,
        Answer::ValidFor(HOUR),
    ]);
    let conn = script.connect(&broker).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    let mut events = conn.events();
    let (error, next) = not_renewed(&mut events).await;
    assert_eq!(error.kind(), ErrorKind::CredentialsUnavailable);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    assert_eq!(next.as_secs(), 10);
    // Silence for the connect timeout of 10 s: the old ones expire.
    let (error, next) = not_renewed(&mut events).await;
    assert!(error.to_string().contains("within 10s"), "{error}");
    assert_eq!(next.as_secs(), 30);
    let (_, next) = not_renewed(&mut events).await;
    assert_eq!(next.as_secs(), 30);
    chan.declare_queue("orders").await.unwrap();
    renewed(&mut events).await;
    assert_eq!(script.pauses(), [80, 10, 40, 30]);
}

#[tokio::test(start_paused = true)]
async fn secret_that_the_broker_refuses_costs_the_connection_which_comes_back() {
    let broker = InMemoryBroker::start();
    let script = Script::new(&[
        Answer::ValidFor(HOUR),
        Answer::ValidFor(HOUR),
        Answer::ForEver,
        Answer::ForEver,
    ]);
    let conn = script.connect(&broker).await.unwrap();
    let mut events = conn.events();
    let refusing = broker.faults().refuse_logins();
    let mut lost = None;
    while lost.is_none() {
        match events.next().await {
            Some(Event::Lost(err)) => lost = Some(err),
            // It may come before or after the loss.
            Some(Event::CredentialsNotRenewed { error, .. }) => {
                assert_eq!(error.kind(), ErrorKind::NotAllowed);
            }
            other => panic!("{other:?}"),
        }
    }
    let reason = lost.unwrap().reason().cloned().unwrap();
    assert_eq!(
        (reason.code, reason.class_id, reason.method_id),
        (530, 10, 70)
    );
    assert_eq!(
        reason.text,
        "NOT_ALLOWED - New secret was refused by one of the backends"
    );
    assert_eq!(refusing.strikes(), 1);
    drop(refusing);
    let mut state = conn.state();
    state
        .wait_for(mooq::ConnectionState::is_connected)
        .await
        .unwrap();
    assert_eq!(script.pauses()[0], 2880);
}

#[tokio::test(start_paused = true)]
async fn provider_that_is_slow_takes_its_time_from_the_login() {
    let broker = InMemoryBroker::start();
    let slow = broker.faults().slow(Duration::from_secs(5));
    let provider = || async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        io::Result::Ok(Credentials::default())
    };
    let options = ConnectOptions::new().credentials_from(provider);
    let began = Instant::now();
    let err = Connection::open(Arc::new(broker.transport()), options)
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err}");
    assert_eq!(began.elapsed().as_secs(), 10);
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_closed_is_not_renewed() {
    let broker = InMemoryBroker::start();
    let script = Script::new(&[Answer::ValidFor(HOUR), Answer::ValidFor(HOUR)]);
    let conn = script.connect(&broker).await.unwrap();
    conn.close().await.unwrap();
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(script.pauses(), [0; 0]);

    let conn = script.connect(&broker).await.unwrap();
    drop(conn);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(script.pauses().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn first_login_waits_for_a_provider_that_is_not_up_yet() {
    let broker = InMemoryBroker::start();
    let script = Script::new(&[Answer::Fails, Answer::Fails, Answer::ForEver]);
    let err = script.connect(&broker).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::CredentialsUnavailable, "{err}");

    let provider = {
        let script = script.clone();
        move || script.clone().answer()
    };
    let options = ConnectOptions::new()
        .credentials_from(provider)
        .wait_for_broker(HOUR);
    let transport = Arc::new(broker.transport());
    Connection::open(transport, options).await.unwrap();
    assert_eq!(script.asked.lock().unwrap().len(), 3);
}
