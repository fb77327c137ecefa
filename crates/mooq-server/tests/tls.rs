//! Clients that connect over TLS.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::io::ErrorKind;
use std::sync::Arc;

use mooq_memory::InMemoryBroker;
use mooq_rig::certificates::{Authority, Issued, SERVER_NAME};
use mooq_server::{Listen, Server, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

fn server_tls(authority: &Authority) -> ServerTls {
    let Issued { certificate, key } = authority.issue_to_server();
    ServerTls::new(
        authority.write("server.pem", &certificate),
        authority.write("server-key.pem", &key),
    )
}

/// A client that trusts the authority, with a certificate of its own or without.
fn connector(authority: &Authority, certificate: Option<Issued>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.file()).unwrap();
    roots.add(ca).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => config.with_no_client_auth(),
        Some(Issued { certificate, key }) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        }
    };
    Arc::new(config).into()
}

/// The first byte of the server's answer to a protocol header, which is that of a method.
async fn greeting(server: &Server, connector: &TlsConnector) -> std::io::Result<u8> {
    let socket = TcpStream::connect(server.address()).await?;
    let name = SERVER_NAME.try_into().unwrap();
    let mut socket = connector.connect(name, socket).await?;
    socket.write_all(b"AMQP\0\0\x09\x01").await?;
    socket.read_u8().await
}

#[tokio::test]
async fn client_is_greeted_over_tls() {
    let authority = Authority::new();
    let broker = InMemoryBroker::start();
    let server = broker
        .listen_tls("127.0.0.1:0", &server_tls(&authority))
        .await
        .unwrap();
    let url = format!("amqps://guest:guest@{}", server.address());
    assert_eq!(server.url(), url);
    let connector = connector(&authority, None);
    assert_eq!(greeting(&server, &connector).await.unwrap(), 1);

    // A broker that is down hangs up before the handshake.
    let outage = broker.faults().stop();
    assert!(greeting(&server, &connector).await.is_err());
    drop(outage);
    assert_eq!(greeting(&server, &connector).await.unwrap(), 1);
    server.stop().await;
}

#[tokio::test]
async fn client_certificate_of_the_authority_is_required() {
    let authority = Authority::new();
    let broker = InMemoryBroker::start();
    let tls = server_tls(&authority).require_client_certificate(authority.file());
    let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
    let own = connector(&authority, Some(authority.issue(&["client.example"])));
    assert_eq!(greeting(&server, &own).await.unwrap(), 1);

    let none = connector(&authority, None);
    assert!(greeting(&server, &none).await.is_err());
    let stranger = Authority::new().issue(&["client.example"]);
    let strange = connector(&authority, Some(stranger));
    assert!(greeting(&server, &strange).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let broker = InMemoryBroker::start();
    let Issued { certificate, key } = authority.issue_to_server();
    let certificate = authority.write("server.pem", &certificate);
    let key = authority.write("server-key.pem", &key);
    let empty = authority.write("empty.pem", "");
    for (tls, file) in [
        (ServerTls::new("/missing.pem", &key), "/missing.pem"),
        (ServerTls::new(&empty, &key), "empty.pem"),
        (ServerTls::new(&certificate, &certificate), "server.pem"),
        (
            ServerTls::new(&certificate, &key).require_client_certificate(&empty),
            "empty.pem",
        ),
    ] {
        let refused = broker.listen_tls("127.0.0.1:0", &tls).await;
        let error = refused.expect_err(file);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(file), "{error}");
    }
}
