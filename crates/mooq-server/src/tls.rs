//! A server's certificate, and what the server asks of its clients.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::certificate::CertificateName;
use crate::connection::External;

/// The server's side of TLS: its certificate and key, in PEM files that are read when the server
/// begins to listen ([TLS in RabbitMQ](https://www.rabbitmq.com/docs/ssl)).
#[derive(Debug, Clone)]
pub struct ServerTls {
    certificate_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: Option<PathBuf>,
    /// False if clients without a certificate are served too.
    requires_certificate: bool,
    login_by: Option<CertificateName>,
}

impl ServerTls {
    /// Presents the certificate chain in one file, with the private key in the other, which must
    /// not be encrypted. Clients need no certificate.
    pub fn new(certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
            client_ca_file: None,
            requires_certificate: false,
            login_by: None,
        }
    }

    /// Refuses clients without a certificate of one of the authorities in the file, as RabbitMQ does
    /// with `verify_peer` and `fail_if_no_peer_cert`. They log in as others do, unless
    /// [`login_by_certificate`](Self::login_by_certificate) lets them do without a password.
    #[must_use]
    pub fn require_client_certificate(mut self, ca_file: impl Into<PathBuf>) -> Self {
        self.client_ca_file = Some(ca_file.into());
        self.requires_certificate = true;
        self
    }

    /// Asks clients for a certificate, as RabbitMQ does with `verify_peer` alone. Refuses a
    /// certificate that none of the authorities in the file has issued, and serves clients that have
    /// none.
    #[must_use]
    pub fn ask_for_client_certificate(mut self, ca_file: impl Into<PathBuf>) -> Self {
        self.client_ca_file = Some(ca_file.into());
        self.requires_certificate = false;
        self
    }

    /// Offers the mechanism `EXTERNAL`, as RabbitMQ does with its plugin
    /// [`rabbitmq_auth_mechanism_ssl`](https://github.com/rabbitmq/rabbitmq-server/tree/main/deps/rabbitmq_auth_mechanism_ssl):
    /// a client logs in, without a password, as the user that `name` of its certificate names. A
    /// client without a certificate, or whose user does not exist, is refused with 403.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn serve() -> std::io::Result<()> {
    /// use mooq_memory::InMemoryBroker;
    /// use mooq_server::{CertificateName, Listen, ServerTls};
    ///
    /// let broker = InMemoryBroker::start();
    /// // This user can log in by a certificate alone, if nobody knows the password.
    /// broker.add_user("billing", "7ab1…");
    /// let tls = ServerTls::new("server.pem", "server-key.pem")
    ///     .require_client_certificate("ca.pem")
    ///     .login_by_certificate(CertificateName::CommonName);
    /// let server = broker.listen_tls("127.0.0.1:0", &tls).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn login_by_certificate(mut self, name: CertificateName) -> Self {
        self.login_by = Some(name);
        self
    }

    /// # Errors
    /// `InvalidInput` if a file cannot be used.
    pub(crate) fn acceptor(&self) -> io::Result<Acceptor> {
        // Named here, and not left to the provider that the process may or may not have installed.
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| unusable(file, &e))?;
                }
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                if !self.requires_certificate {
                    verifier = verifier.allow_unauthenticated();
                }
                let verifier = verifier.build().map_err(|e| unusable(file, &e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(certificates(&self.certificate_file)?, key(&self.key_file)?)
            .map_err(|e| unusable(&self.certificate_file, &e))?;
        Ok(Acceptor {
            tls: Arc::new(config).into(),
            login_by: self.login_by,
        })
    }
}

/// Accepts clients, and tells who they are.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
    login_by: Option<CertificateName>,
}

impl Acceptor {
    /// Shakes hands with a client. Returns the user that the client's certificate stands for too.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, External)> {
        let socket = self.tls.accept(socket).await?;
        let external = match self.login_by {
            None => External::Off,
            Some(name) => {
                let certificates = socket.get_ref().1.peer_certificates();
                let own = certificates.and_then(|certificates| certificates.first());
                let user = own.and_then(|certificate| name.of(certificate));
                if user.is_none() {
                    tracing::debug!(%name, "no user's name in the client's certificate");
                }
                user.map_or(External::Unknown, External::User)
            }
        };
        Ok((socket, external))
    }
}

/// The certificates in a file, at least one.
fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(file).map_err(|e| unusable(file, &e))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unusable(file, &"there is no certificate in it"))
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(unusable(file, &"it is no PEM file")),
    }
}

fn key(file: &Path) -> io::Result<PrivateKeyDer<'static>> {
    let text = std::fs::read(file).map_err(|e| unusable(file, &e))?;
    // The error is left out, because it may repeat a line of the file.
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| unusable(file, &"there is no private key in it that is not encrypted"))
}

fn unusable(file: &Path, problem: &dyn Display) -> io::Error {
    let text = format!("the file '{}' cannot be used: {problem}", file.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
