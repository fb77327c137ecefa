//! Logins whose credentials change: providers, new secrets, and certificates.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mooq::{ConnectOptions, Connection, Credentials, ErrorKind, ErrorScope, Event, Events};

use super::permissions::EVERYTHING;
use crate::scenario;
use crate::steps::put;
use crate::{Fixture, within};

/// A user whose password the scenario changes, and a provider that knows the password.
#[derive(Clone)]
struct User {
    name: String,
    password: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl User {
    async fn add(fixture: &Fixture, password: &str) -> Self {
        let user = Self {
            name: fixture.name("user"),
            password: Arc::default(),
            asked: Arc::default(),
        };
        user.change_password(fixture, password).await;
        user
    }

    async fn change_password(&self, fixture: &Fixture, password: &str) {
        let control = fixture.control();
        control.add_user(&self.name, password).await;
        control.set_permissions(&self.name, EVERYTHING).await;
        *self.password.lock().unwrap() = password.into();
    }

    /// The credentials as they are now.
    fn credentials(&self) -> Credentials {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Credentials::new(&self.name, &*self.password.lock().unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Options with a provider that returns the current credentials.
    fn options(&self, fixture: &Fixture) -> ConnectOptions {
        let user = self.clone();
        let provider = move || {
            let credentials = user.credentials();
            async move { io::Result::Ok(credentials) }
        };
        fixture.options().credentials_from(provider)
    }
}

async fn until(events: &mut Events, what: &str, is_it: impl Fn(&Event) -> bool) {
    within(what, async {
        while !is_it(&events.next().await.expect("the connection goes on")) {}
    })
    .await;
}

/// Asserts that the connection is of use.
async fn works(fixture: &Fixture, conn: &Connection) {
    let chan = conn.create_channel().await.unwrap();
    let queue = fixture.name("queue");
    chan.declare_queue(queue.as_str()).await.unwrap();
    put(&chan, &queue, "body").await;
    let got = chan.get_one::<String>(queue.as_str()).await.unwrap();
    assert_eq!(got.ack().await.unwrap(), "body");
}

#[scenario]
async fn provider_is_asked_before_each_login(fixture: Fixture) {
    let user = User::add(&fixture, "before").await;
    let name = fixture.name("service");
    let options = user.options(&fixture).name(name.as_str());
    let conn = fixture.open(options.clone()).await.unwrap();
    assert_eq!(user.asked(), 1);
    works(&fixture, &conn).await;

    user.change_password(&fixture, "after").await;
    let mut events = conn.events();
    fixture.control().drop_connections(&name).await;
    until(&mut events, "the return", |event| {
        matches!(event, Event::Reconnected { .. })
    })
    .await;
    assert!(user.asked() >= 2);
    works(&fixture, &conn).await;

    // Another connection with the same options has the same provider.
    let asked = user.asked();
    fixture.open(options).await.unwrap();
    assert_eq!(user.asked(), asked + 1);
}

#[scenario]
async fn provider_with_a_wrong_password_is_asked_again_once_the_connection_is_lost(
    fixture: Fixture,
) {
    let user = User::add(&fixture, "before").await;
    let name = fixture.name("service");
    let options = user.options(&fixture).name(name.as_str());
    let conn = fixture.open(options).await.unwrap();

    // The provider lags behind.
    user.change_password(&fixture, "after").await;
    *user.password.lock().unwrap() = "before".into();
    let mut events = conn.events();
    fixture.control().drop_connections(&name).await;
    until(&mut events, "a refused login", |event| {
        matches!(event, Event::AttemptFailed(err) if err.kind() == ErrorKind::AuthenticationFailed)
    })
    .await;
    *user.password.lock().unwrap() = "after".into();
    until(&mut events, "the return", |event| {
        matches!(event, Event::Reconnected { .. })
    })
    .await;
    works(&fixture, &conn).await;
}

#[scenario]
async fn provider_that_fails_is_named_by_the_error(fixture: Fixture) {
    let provider = || async { Err::<Credentials, _>(io::Error::other("the vault is sealed")) };
    let options = fixture.options().credentials_from(provider);
    let address = options.endpoint().unwrap().address();
    let err = fixture.open(options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::CredentialsUnavailable, "{err}");
    assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
    assert_eq!(
        err.to_string(),
        format!("no credentials for {address}: their provider failed: the vault is sealed")
    );
    assert!(std::error::Error::source(&err).is_some_and(|source| source.is::<io::Error>()));
}

#[scenario]
async fn provider_has_the_time_to_connect_and_no_more(fixture: Fixture) {
    let options = fixture
        .options()
        .connect_timeout(Duration::from_millis(50))
        .credentials_from(pending::<io::Result<Credentials>>);
    let err = within("the error", fixture.open(options))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::CredentialsUnavailable, "{err}");
    assert!(
        err.to_string().ends_with("did not answer within 50ms"),
        "{err}"
    );
}

#[scenario]
async fn credentials_are_renewed_before_they_expire(fixture: Fixture) {
    let user = User::add(&fixture, "token 1").await;
    let provider = {
        let user = user.clone();
        move || {
            let credentials = user.credentials();
            // The first expires soon, the next one not at all.
            let credentials = match user.asked() {
                1 => credentials.expires_in(Duration::from_secs(1)),
                _ => credentials,
            };
            async move { io::Result::Ok(credentials) }
        }
    };
    let options = fixture.options().credentials_from(provider);
    let conn = fixture.open(options).await.unwrap();
    let mut events = conn.events();
    user.change_password(&fixture, "token 2").await;
    until(&mut events, "the renewal", |event| {
        matches!(event, Event::CredentialsRenewed)
    })
    .await;
    assert_eq!(user.asked(), 2);
    // It is the same connection.
    works(&fixture, &conn).await;
    assert_eq!(user.asked(), 2);
}

#[scenario]
async fn new_secret_changes_no_password(fixture: Fixture) {
    let user = User::add(&fixture, "password").await;
    let options = fixture.options().credentials(&user.name, "password");
    let mut raw = fixture.raw_with(&options).await;
    let reason = "a test".try_into().unwrap();
    for secret in ["another", "", "password"] {
        let updated = raw.connection.update_secret(secret, &reason);
        within("the answer", updated).await.unwrap();
    }
    // Channels go on.
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    raw.nothing_more().await;

    fixture.raw_with(&options).await;
    let options = options.credentials(&user.name, "another");
    let err = fixture.open(options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err}");
}

#[scenario]
async fn new_secret_on_a_closed_connection_is_an_error(fixture: Fixture) {
    let raw = fixture.raw().await;
    raw.connection.close().await.unwrap();
    let reason = "a test".try_into().unwrap();
    let updated = raw.connection.update_secret("secret", &reason);
    let err = within("the answer", updated).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed, "{err}");
}

#[scenario]
async fn login_by_certificate_takes_tls(fixture: Fixture) {
    let options = fixture.options().login_by_certificate();
    let err = fixture.open(options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");
    assert!(err.to_string().contains("EXTERNAL) takes TLS"), "{err}");
}
