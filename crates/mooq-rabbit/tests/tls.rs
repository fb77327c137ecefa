//! TLS with good and bad certificates, files and peers. No broker is needed: the peer here speaks
//! TLS and hangs up when it has read the protocol header.

#![cfg(feature = "tls")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, the functions beside it too"
)]

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mooq_core::{Endpoint, Error, ErrorKind, ErrorScope, Scheme, TlsOptions, Transport};
use mooq_rabbit::RabbitTransport;
use mooq_rig::certificates::{Authority, Issued, SERVER_NAME};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// Observations of the peer about a client that came through TLS.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    server_name: Option<String>,
    header: Vec<u8>,
}

struct Peer {
    endpoint: Endpoint,
    heard: UnboundedReceiver<Heard>,
}

impl Peer {
    async fn start(authority: &Authority) -> Self {
        Self::serve(config(authority, &version::TLS13, false)).await
    }

    async fn serve(config: ServerConfig) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut endpoint = Endpoint::new(Scheme::Amqps);
        endpoint.host = "127.0.0.1".into();
        endpoint.port = listener.local_addr().unwrap().port();
        endpoint.credentials.password = "hunter2".into();
        let (sender, heard) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let server_name = stream.get_ref().1.server_name().map(str::to_owned);
                let mut header = vec![0; PROTOCOL_HEADER.len()];
                if stream.read_exact(&mut header).await.is_ok() {
                    let heard = Heard {
                        server_name,
                        header,
                    };
                    sender.send(heard).unwrap();
                }
                let _ = stream.shutdown().await;
            }
        });
        Self { endpoint, heard }
    }

    async fn open(&self, tls: TlsOptions) -> Vec<Error> {
        let mut endpoint = self.endpoint.clone();
        endpoint.tls = tls;
        open(&endpoint).await
    }

    /// Asserts that TLS came through, and returns the peer's observations.
    async fn agrees(&mut self, tls: TlsOptions) -> Heard {
        let mut all_heard = Vec::new();
        for err in self.open(tls).await {
            // It hung up in the end, which is not TLS's fault.
            assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
            let heard = self.heard.recv().await.unwrap();
            assert_eq!(heard.header, PROTOCOL_HEADER);
            all_heard.push(heard);
        }
        let heard = all_heard.pop().unwrap();
        assert!(all_heard.iter().all(|other| *other == heard));
        heard
    }

    /// Asserts that TLS failed, and returns the cause.
    async fn refuses(&mut self, tls: TlsOptions) -> rustls::Error {
        let mut causes = Vec::new();
        for err in self.open(tls).await {
            assert_eq!(err.kind(), ErrorKind::TlsFailed, "{err:?}");
            assert!(err.to_string().contains(&self.endpoint.address()), "{err}");
            assert!(self.heard.try_recv().is_err(), "nothing was said");
            let source = err.source().unwrap().downcast_ref::<std::io::Error>();
            let cause = source.unwrap().get_ref().unwrap();
            causes.push(cause.downcast_ref::<rustls::Error>().unwrap().clone());
        }
        let cause = causes.pop().unwrap();
        assert!(causes.iter().all(|other| *other == cause), "{causes:?}");
        cause
    }
}

/// Returns the error of each driver.
async fn open(endpoint: &Endpoint) -> Vec<Error> {
    let mut transports: Vec<Box<dyn Transport>> = vec![Box::new(RabbitTransport)];
    #[cfg(feature = "native")]
    transports.push(Box::new(mooq_rabbit::NativeTransport));
    let mut errors = Vec::new();
    for transport in transports {
        let err = transport.open(endpoint).await.unwrap_err();
        assert_eq!(err.scope(), ErrorScope::Connection);
        assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
        errors.push(err);
    }
    errors
}

fn config(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    asks_for_certificate: bool,
) -> ServerConfig {
    let Issued { certificate, key } = authority.issue_to_server();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap();
    let builder = if asks_for_certificate {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority.file()).unwrap();
        roots.add(root).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        builder.with_client_cert_verifier(verifier.unwrap())
    } else {
        builder.with_no_client_auth()
    };
    builder.with_single_cert(vec![certificate], key).unwrap()
}

#[tokio::test]
async fn the_own_authority_is_trusted_and_no_other() {
    let authority = Authority::new();
    let mut peer = Peer::start(&authority).await;
    let own = TlsOptions::new().ca_file(authority.file());
    let heard = peer.agrees(own).await;
    assert_eq!(heard.server_name, None, "an address is no name to ask for");

    let stranger = Authority::new();
    let other = TlsOptions::new().ca_file(stranger.file());
    for tls in [other, TlsOptions::new()] {
        let cause = peer.refuses(tls).await;
        let expected = rustls::CertificateError::UnknownIssuer;
        assert_eq!(cause, rustls::Error::InvalidCertificate(expected));
    }
    peer.agrees(TlsOptions::new().danger_accept_any_certificate())
        .await;
}

#[tokio::test]
async fn the_certificate_has_to_be_for_the_host_or_the_name_that_is_expected() {
    let authority = Authority::new();
    let mut peer = Peer::start(&authority).await;
    let tls = TlsOptions::new().ca_file(authority.file());
    let heard = peer.agrees(tls.clone().server_name(SERVER_NAME)).await;
    assert_eq!(heard.server_name.as_deref(), Some(SERVER_NAME));

    let cause = peer
        .refuses(tls.clone().server_name("elsewhere.example"))
        .await;
    assert!(cause.to_string().contains("elsewhere.example"), "{cause}");
    peer.endpoint.host = "localhost".into();
    let cause = peer.refuses(tls.clone()).await;
    assert!(cause.to_string().contains("localhost"), "{cause}");
    let any = tls.danger_accept_any_certificate();
    peer.agrees(any).await;
}

#[tokio::test]
async fn a_peer_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue_to_client();
    let trusting = TlsOptions::new().ca_file(authority.file());
    for version in [&version::TLS12, &version::TLS13] {
        let mut peer = Peer::serve(config(&authority, version, true)).await;
        peer.agrees(trusting.clone().client_certificate(&certificate, &key))
            .await;
        // Only with TLS 1.2 it says so within the handshake.
        let cause = peer.refuses(trusting.clone()).await;
        assert!(matches!(cause, rustls::Error::AlertReceived(_)), "{cause}");
        let strangers = Authority::new();
        let (certificate, key) = strangers.issue_to_client();
        let cause = peer
            .refuses(trusting.clone().client_certificate(certificate, key))
            .await;
        assert!(matches!(cause, rustls::Error::AlertReceived(_)), "{cause}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue_to_client();
    let secret = std::fs::read_to_string(&key).unwrap();
    let secret_line = secret.lines().nth(1).unwrap();
    let missing = authority.file().with_file_name("missing.pem");
    let empty = authority.write("empty.pem", "");
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let broken = authority.write("broken.pem", broken);
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_certificate = authority.write("no-certificate.pem", no_certificate);
    let torn = authority.write("torn.pem", secret.trim_end().trim_end_matches('-'));
    let encrypted = secret.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let encrypted = authority.write("encrypted.pem", &encrypted);
    let other_key = authority.write("other-key.pem", &authority.issue(&[]).key);

    let ca = |path: &PathBuf| TlsOptions::new().ca_file(path);
    let client =
        |certificate: &Path, key: &Path| TlsOptions::new().client_certificate(certificate, key);
    for (tls, named, words) in [
        (ca(&missing), &missing, "No such file"),
        (ca(&empty), &empty, "no certificate"),
        (ca(&broken), &broken, "no PEM"),
        (ca(&no_certificate), &no_certificate, "certificate"),
        (client(&missing, &key), &missing, "No such file"),
        (client(&key, &key), &key, "no certificate"),
        (client(&certificate, &missing), &missing, "No such file"),
        (
            client(&certificate, &certificate),
            &certificate,
            "no private key",
        ),
        (client(&certificate, &torn), &torn, "no private key"),
        (
            client(&certificate, &encrypted),
            &encrypted,
            "not encrypted",
        ),
        (
            client(&certificate, &other_key),
            &other_key,
            "cannot be used",
        ),
    ] {
        let mut endpoint = Endpoint::new(Scheme::Amqps);
        endpoint.tls = tls;
        for err in open(&endpoint).await {
            assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err:?}");
            assert!(err.to_string().contains("amqps://localhost:5671"), "{err}");
            assert!(err.to_string().contains(words), "{err}");
            assert!(err.to_string().contains(named.to_str().unwrap()), "{err}");
            let shown = format!("{err:?} {endpoint:?}");
            assert!(!shown.contains(secret_line), "{shown}");
        }
    }
    let mut endpoint = Endpoint::new(Scheme::Amqps);
    endpoint.tls.server_name = Some("no name".into());
    for err in open(&endpoint).await {
        assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err:?}");
        assert!(err.to_string().contains("'no name'"), "{err}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_told_from_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = Endpoint::new(Scheme::Amqps);
    endpoint.host = "127.0.0.1".into();
    endpoint.port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // RabbitMQ's answer to anything that is not AMQP.
            let _ = stream.write_all(b"AMQP\x00\x00\x09\x01").await;
        }
    });
    for err in open(&endpoint).await {
        assert_eq!(err.kind(), ErrorKind::TlsFailed, "{err:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = Endpoint::new(Scheme::Amqps);
    endpoint.host = "127.0.0.1".into();
    endpoint.port = listener.local_addr().unwrap().port();
    endpoint.connect_timeout = Duration::from_millis(100);
    for err in open(&endpoint).await {
        assert_eq!(err.kind(), ErrorKind::BrokerConnectionError, "{err:?}");
        assert!(err.to_string().contains("within 100ms"), "{err}");
    }
}
