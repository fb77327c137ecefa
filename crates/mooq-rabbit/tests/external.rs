//! Logins by certificate (`EXTERNAL`), to the in-memory broker on a socket.
#![cfg(feature = "tls")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::path::PathBuf;

use mooq_core::{
    AuthMechanism, ConnectionEvent, Endpoint, Error, ErrorKind, Result, Scheme, TlsOptions,
    Transport,
};
use mooq_memory::{InMemoryBroker, Profile};
use mooq_rabbit::RabbitTransport;
use mooq_rig::certificates::{Authority, Issued};
use mooq_server::{CertificateName, Listen, Server, ServerTls};

fn transports() -> Vec<Box<dyn Transport>> {
    let mut transports: Vec<Box<dyn Transport>> = vec![Box::new(RabbitTransport)];
    #[cfg(feature = "native")]
    transports.push(Box::new(mooq_rabbit::NativeTransport));
    transports
}

struct Rig {
    authority: Authority,
    tls: ServerTls,
}

impl Rig {
    fn new() -> Self {
        let authority = Authority::new();
        let Issued { certificate, key } = authority.issue_to_server();
        let tls = ServerTls::new(
            authority.write("server.pem", &certificate),
            authority.write("server-key.pem", &key),
        );
        Self { authority, tls }
    }

    /// The files of a certificate for a user.
    fn certificate(&self, subject: &[(&str, &str)], names: &[&str]) -> (PathBuf, PathBuf) {
        let Issued { certificate, key } = self.authority.issue_with_subject(subject, names);
        (
            self.authority.write("user.pem", &certificate),
            self.authority.write("user-key.pem", &key),
        )
    }

    fn endpoint(&self, server: &Server, certificate: Option<(PathBuf, PathBuf)>) -> Endpoint {
        let mut endpoint = Endpoint::new(Scheme::Amqps);
        endpoint.host = "127.0.0.1".into();
        endpoint.port = server.address().port();
        endpoint.credentials.password = "not used".into();
        endpoint.auth_mechanism = AuthMechanism::External;
        endpoint.tls = TlsOptions::new().ca_file(self.authority.file());
        if let Some((certificate, key)) = certificate {
            endpoint.tls = endpoint.tls.client_certificate(certificate, key);
        }
        endpoint
    }
}

/// The users who are logged in.
fn users(broker: &InMemoryBroker) -> Vec<String> {
    let connections = broker.connections("*").into_iter();
    connections.map(|connection| connection.user).collect()
}

/// Logs in by each driver, and returns the user's name as the broker sees it.
async fn log_in(broker: &InMemoryBroker, endpoint: &Endpoint) -> Result<String> {
    let mut seen = Vec::new();
    for transport in transports() {
        let mut opened = transport.open(endpoint).await?;
        opened.connection.open_channel().await?;
        seen.extend(users(broker));
        opened.connection.close().await?;
        let closed = futures_util::StreamExt::next(&mut opened.events).await;
        assert!(
            matches!(closed, Some(ConnectionEvent::Closed(_))),
            "{closed:?}"
        );
    }
    let user = seen.pop().unwrap();
    assert!(seen.iter().all(|other| *other == user), "{seen:?}");
    Ok(user)
}

/// The error of each driver.
async fn refused(endpoint: &Endpoint) -> Vec<Error> {
    let mut errors = Vec::new();
    for transport in transports() {
        errors.push(transport.open(endpoint).await.unwrap_err());
    }
    errors
}

#[tokio::test]
async fn user_is_the_one_that_the_certificate_names() {
    let rig = Rig::new();
    let subject = [("O", "Shop"), ("CN", "billing")];
    let certificate = rig.certificate(&subject, &["billing.example"]);
    for profile in [Profile::V3_10, Profile::V4_0, Profile::V4_3] {
        let broker = InMemoryBroker::start_as(profile);
        for user in ["CN=billing,O=Shop", "billing", "billing.example"] {
            broker.add_user(user, "a password that nobody knows");
        }
        for (name, user) in [
            (CertificateName::DistinguishedName, "CN=billing,O=Shop"),
            (CertificateName::CommonName, "billing"),
            (CertificateName::SubjectAlternativeName, "billing.example"),
        ] {
            let tls = rig.tls.clone();
            let tls = tls.require_client_certificate(rig.authority.file());
            let tls = tls.login_by_certificate(name);
            let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
            let endpoint = rig.endpoint(&server, Some(certificate.clone()));
            assert_eq!(log_in(&broker, &endpoint).await.unwrap(), user);
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn user_that_does_not_exist_is_refused_in_rabbitmqs_words() {
    let rig = Rig::new();
    let broker = InMemoryBroker::start();
    let tls = rig
        .tls
        .clone()
        .require_client_certificate(rig.authority.file());
    let tls = tls.login_by_certificate(CertificateName::CommonName);
    let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
    for subject in [&[("CN", "nobody")][..], &[("O", "Shop")]] {
        let certificate = rig.certificate(subject, &[]);
        let endpoint = rig.endpoint(&server, Some(certificate));
        for err in refused(&endpoint).await {
            assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err}");
            let reason = err.reason().unwrap();
            assert_eq!(reason.code, 403);
            assert_eq!(
                reason.text,
                "ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL. For \
                 details see the broker logfile."
            );
        }
    }
    // A password does as well.
    let certificate = rig.certificate(&[("CN", "nobody")], &[]);
    let mut endpoint = rig.endpoint(&server, Some(certificate));
    endpoint.auth_mechanism = AuthMechanism::Plain;
    endpoint.credentials.password = "guest".into();
    assert_eq!(log_in(&broker, &endpoint).await.unwrap(), "guest");
    server.stop().await;
}

#[tokio::test]
async fn server_that_does_not_offer_the_mechanism_is_named() {
    let rig = Rig::new();
    let broker = InMemoryBroker::start();
    let tls = rig
        .tls
        .clone()
        .require_client_certificate(rig.authority.file());
    let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
    let certificate = rig.certificate(&[("CN", "guest")], &[]);
    for err in refused(&rig.endpoint(&server, Some(certificate))).await {
        assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err}");
        assert!(err.to_string().contains("EXTERNAL"), "{err}");
        assert_eq!(err.reason(), None);
    }
    server.stop().await;
}

#[tokio::test]
async fn login_by_certificate_needs_tls_and_a_certificate() {
    let rig = Rig::new();
    let broker = InMemoryBroker::start();
    let server = broker.listen("127.0.0.1:0").await.unwrap();
    let mut plain: Endpoint = server.url().parse().unwrap();
    plain.auth_mechanism = AuthMechanism::External;
    let bare = rig.endpoint(&server, None);
    for (endpoint, words) in [(plain, "takes TLS"), (bare, "takes a client certificate")] {
        for err in refused(&endpoint).await {
            assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");
            assert!(err.to_string().contains(words), "{err}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn client_without_a_certificate_logs_in_by_password_where_none_is_required() {
    let rig = Rig::new();
    let broker = InMemoryBroker::start();
    let tls = rig
        .tls
        .clone()
        .ask_for_client_certificate(rig.authority.file());
    let tls = tls.login_by_certificate(CertificateName::CommonName);
    let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
    let mut endpoint = rig.endpoint(&server, None);
    endpoint.auth_mechanism = AuthMechanism::Plain;
    endpoint.credentials.password = "guest".into();
    assert_eq!(log_in(&broker, &endpoint).await.unwrap(), "guest");

    broker.add_user("billing", "a password that nobody knows");
    let certificate = rig.certificate(&[("CN", "billing")], &[]);
    let endpoint = rig.endpoint(&server, Some(certificate));
    assert_eq!(log_in(&broker, &endpoint).await.unwrap(), "billing");
    server.stop().await;
}
