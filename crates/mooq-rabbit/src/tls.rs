//! TLS before AMQP: the settings for one broker, and the TLS cause of a failed login.

mod config;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use amqprs::connection::OpenConnectionArguments;
use amqprs::tls::TlsAdaptor;
use mooq_core::Endpoint;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::invalid_endpoint::InvalidEndpoint;

/// Time that a broker may take to refuse a client certificate after the handshake. A broker that
/// accepts it stays silent until it receives data.
const VERDICT: Duration = Duration::from_secs(1);

/// TLS settings for one broker.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the files that `endpoint` names. amqprs would panic on some invalid files, and if no
    /// cryptography provider is installed for the process.
    pub(crate) async fn of(endpoint: &Endpoint) -> Result<Self, InvalidEndpoint> {
        let name = endpoint.tls.server_name.as_ref().unwrap_or(&endpoint.host);
        let name = ServerName::try_from(name.clone()).map_err(|error| {
            InvalidEndpoint::new(format!("no certificate can be for '{name}'"), error)
        })?;
        let options = endpoint.tls.clone();
        // Reading files can take a while.
        let config = tokio::task::spawn_blocking(move || config::client_config(&options));
        let config = config
            .await
            .map_err(|error| InvalidEndpoint::new("its certificates were not read", error))??;
        Ok(Self {
            connector: Arc::new(config).into(),
            name,
        })
    }

    pub(crate) fn set(&self, arguments: &mut OpenConnectionArguments) {
        let name = self.name.to_str().into_owned();
        arguments.tls_adaptor(TlsAdaptor::new(self.connector.clone(), name));
    }

    /// `stream`, with TLS around it.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }

    /// Returns the TLS error of the broker at `peer`, if there is one.
    ///
    /// Called after a failure, because amqprs gives no more than an ambiguous text.
    pub(crate) async fn refusal(&self, peer: SocketAddr) -> Option<io::Error> {
        let stream = TcpStream::connect(peer).await.ok()?;
        let mut stream = match self.connect(stream).await {
            Ok(stream) => stream,
            Err(error) => return Some(error),
        };
        // With TLS 1.3 the broker checks the client certificate after the handshake.
        let mut byte = [0];
        match tokio::time::timeout(VERDICT, stream.read(&mut byte)).await {
            Ok(Ok(0)) => Some(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it hung up after the TLS handshake",
            )),
            Ok(Err(error)) => Some(error),
            Ok(Ok(_)) | Err(_) => None,
        }
    }
}
