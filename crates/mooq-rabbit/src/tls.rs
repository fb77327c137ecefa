//! TLS before AMQP: how it is spoken with one broker, and what it has to do with a failed login.

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
use tokio_rustls::rustls::pki_types::ServerName;

use crate::unusable::Unusable;

/// How long a broker may take to refuse a certificate of this side after the handshake. One that
/// accepts it is silent until it is spoken to.
const VERDICT: Duration = Duration::from_secs(1);

/// How TLS is spoken with one broker.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the files that `endpoint` names. amqprs would panic on some that are not what they
    /// should be, and where no provider of cryptography is installed for the process.
    pub(crate) async fn of(endpoint: &Endpoint) -> Result<Self, Unusable> {
        let name = endpoint.tls.server_name.as_ref().unwrap_or(&endpoint.host);
        let name = ServerName::try_from(name.clone())
            .map_err(|error| Unusable::new(format!("no certificate can be for '{name}'"), error))?;
        let options = endpoint.tls.clone();
        // Reading files can take its time.
        let config = tokio::task::spawn_blocking(move || config::client_config(&options));
        let config = config
            .await
            .map_err(|error| Unusable::new("its certificates were not read", error))??;
        Ok(Self {
            connector: Arc::new(config).into(),
            name,
        })
    }

    pub(crate) fn set(&self, arguments: &mut OpenConnectionArguments) {
        let name = self.name.to_str().into_owned();
        arguments.tls_adaptor(TlsAdaptor::new(self.connector.clone(), name));
    }

    /// Why TLS is not agreed on with the broker at `peer`, if that is so.
    ///
    /// Asked after a failure, of which amqprs gives no more than a text that could mean anything.
    pub(crate) async fn refusal(&self, peer: SocketAddr) -> Option<io::Error> {
        let stream = TcpStream::connect(peer).await.ok()?;
        let mut stream = match self.connector.connect(self.name.clone(), stream).await {
            Ok(stream) => stream,
            Err(error) => return Some(error),
        };
        // With TLS 1.3 the broker looks at the certificate of this side after the handshake.
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
