//! How to speak TLS with a broker.

use std::path::PathBuf;

/// How to speak TLS with a broker: which certificates to trust, and which to show.
///
/// Without options the broker's certificate has to be issued by one of the authorities of
/// [Mozilla's list](https://wiki.mozilla.org/CA/Included_Certificates), for the host that is
/// connected to. Files are in PEM. They are read with each connection that is opened, so that new
/// certificates are taken up when a connection is opened again.
///
/// ```
/// use mooq_core::{Endpoint, TlsOptions};
///
/// let tls = TlsOptions::new()
///     .ca_file("/etc/app/ca.pem")
///     .client_certificate("/etc/app/cert.pem", "/etc/app/key.pem");
///
/// let url = "amqps://rabbit.example?cacertfile=/etc/app/ca.pem\
///            &certfile=/etc/app/cert.pem&keyfile=/etc/app/key.pem";
/// assert_eq!(url.parse::<Endpoint>()?.tls, tls);
/// # Ok::<(), mooq_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The file of the authorities to trust. None: Mozilla's list.
    pub ca_file: Option<PathBuf>,
    /// What to show to a broker that asks for a certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// The name that the broker's certificate has to be for, and that is asked for (SNI). None:
    /// the host that is connected to.
    pub server_name: Option<String>,
    /// Whether a certificate of anybody, for any name, is good enough.
    pub accept_any_certificate: bool,
}

/// A certificate of this side, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The file of the certificate, and of those between it and its authority.
    pub certificate_file: PathBuf,
    /// The file of its private key, not encrypted. It may be the same file.
    pub key_file: PathBuf,
}

impl ClientCertificate {
    /// The certificate in one file, and its key in another one.
    #[must_use]
    pub fn new(certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
        }
    }
}

impl TlsOptions {
    /// Trusts Mozilla's list of authorities, and shows no certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in the file `path`, and no others.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows the certificate in one file, whose private key is in another one.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate = Some(ClientCertificate::new(certificate_file, key_file));
        self
    }

    /// Expects a certificate for `name`, where that is not the host that is connected to.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts any certificate. Then whoever stands between can pose as the broker, and learns the
    /// password: this is for a broker on one's desk. For others trust the authority of its
    /// certificate by [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.accept_any_certificate = true;
        self
    }
}
