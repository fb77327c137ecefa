//! Clients that connect over TLS.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail as the test does"
)]

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use mooq_core::FieldTable;
use mooq_memory::InMemoryBroker;
use mooq_rig::certificates::{Authority, Issued, SERVER_NAME};
use mooq_server::{CertificateName, Listen, Server, ServerTls};
use mooq_wire::Output;
use mooq_wire::method::ConnectionStartOk;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
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
async fn client_may_do_without_a_certificate_that_is_only_asked_for() {
    let authority = Authority::new();
    let broker = InMemoryBroker::start();
    let tls = server_tls(&authority).ask_for_client_certificate(authority.file());
    let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
    let own = connector(&authority, Some(authority.issue(&["client.example"])));
    assert_eq!(greeting(&server, &own).await.unwrap(), 1);
    let none = connector(&authority, None);
    assert_eq!(greeting(&server, &none).await.unwrap(), 1);

    let stranger = Authority::new().issue(&["client.example"]);
    let strange = connector(&authority, Some(stranger));
    assert!(greeting(&server, &strange).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn mechanism_is_offered_to_a_client_without_a_certificate_and_refuses_it_in_words() {
    let authority = Authority::new();
    let broker = InMemoryBroker::start();
    let tls = server_tls(&authority)
        .ask_for_client_certificate(authority.file())
        .login_by_certificate(CertificateName::CommonName);
    let server = broker.listen_tls("127.0.0.1:0", &tls).await.unwrap();
    let socket = TcpStream::connect(server.address()).await.unwrap();
    let name = SERVER_NAME.try_into().unwrap();
    let connector = connector(&authority, None);
    let mut socket = connector.connect(name, socket).await.unwrap();
    socket.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    let start = method(&mut socket).await;
    let offered = "PLAIN ANONYMOUS AMQPLAIN EXTERNAL";
    assert!(contains(&start, offered.as_bytes()), "{start:?}");

    let capabilities = FieldTable::new().with("authentication_failure_close", true);
    let properties = FieldTable::new().with("capabilities", capabilities.unwrap());
    let start_ok = ConnectionStartOk {
        client_properties: properties.unwrap(),
        mechanism: "EXTERNAL".try_into().unwrap(),
        response: Bytes::new(),
        locale: "en_US".try_into().unwrap(),
    };
    let mut output = Output::new();
    output.method(0, &start_ok.into());
    socket.write_all_buf(&mut output).await.unwrap();
    socket.flush().await.unwrap();
    let close = method(&mut socket).await;
    let text = "ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL.";
    assert!(contains(&close, text.as_bytes()), "{close:?}");
    server.stop().await;
}

/// The payload of the next frame.
async fn method(socket: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = [0; 7];
    socket.read_exact(&mut head).await.unwrap();
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut payload = vec![0; size as usize + 1];
    socket.read_exact(&mut payload).await.unwrap();
    payload
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
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
