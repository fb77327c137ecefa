//! A server's certificate, and what the server asks of its clients.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The server's side of TLS: its certificate and key, in PEM files that are read when the server
/// begins to listen ([TLS in RabbitMQ](https://www.rabbitmq.com/docs/ssl)).
#[derive(Debug, Clone)]
pub struct ServerTls {
    certificate_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: Option<PathBuf>,
}

impl ServerTls {
    /// Presents the certificate chain in one file, with the private key in the other, which must
    /// not be encrypted. Clients need no certificate.
    pub fn new(certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
            client_ca_file: None,
        }
    }

    /// Refuses clients without a certificate of one of the authorities in the file, as RabbitMQ does
    /// with `verify_peer` and `fail_if_no_peer_cert`. They log in as others do.
    #[must_use]
    pub fn require_client_certificate(mut self, ca_file: impl Into<PathBuf>) -> Self {
        self.client_ca_file = Some(ca_file.into());
        self
    }

    /// # Errors
    /// `InvalidInput` if a file cannot be used.
    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
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
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| unusable(file, &e))?)
            }
        };
        let config = builder
            .with_single_cert(certificates(&self.certificate_file)?, key(&self.key_file)?)
            .map_err(|e| unusable(&self.certificate_file, &e))?;
        Ok(Arc::new(config).into())
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
