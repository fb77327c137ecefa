//! TLS options of an endpoint.

use std::path::PathBuf;

/// TLS options for a broker: the certificates to trust and the certificate to present.
///
/// Without options the broker's certificate has to be issued by one of the authorities of
/// [Mozilla's list](https://wiki.mozilla.org/CA/Included_Certificates), for the host that is
/// connected to. Files are in PEM. They are read each time a connection is opened, so that a
/// reopened connection uses new certificates.
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
    /// File of the authorities to trust. If `None`, Mozilla's list is used.
    pub ca_file: Option<PathBuf>,
    /// The certificate to present to a broker that asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// The name that the broker's certificate has to be valid for, sent as SNI. If `None`, this is
    /// the host that is connected to.
    pub server_name: Option<String>,
    /// True if any certificate is accepted, from any issuer and for any name.
    pub accept_any_certificate: bool,
}

/// A client certificate and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// File of the certificate, and of the intermediate certificates between it and its authority.
    pub certificate_file: PathBuf,
    /// File of the certificate's private key, not encrypted. It may be the same file.
    pub key_file: PathBuf,
}

impl ClientCertificate {
    /// A client certificate from one file, with its key from another.
    #[must_use]
    pub fn new(certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
        }
    }
}

impl TlsOptions {
    /// Trusts Mozilla's list of authorities, and presents no certificate.
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

    /// Presents the certificate in one file, whose private key is in another file.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate = Some(ClientCertificate::new(certificate_file, key_file));
        self
    }

    /// Expects a certificate for `name`, if `name` is not the host that is connected to.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts any certificate. A man in the middle can then pose as the broker and learn the
    /// password, so use this only for a broker on your own machine. For any other broker, trust the
    /// authority of its certificate with [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.accept_any_certificate = true;
        self
    }
}
