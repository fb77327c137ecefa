//! rustls' configuration from mooq's: the certificates to trust, and the certificate to present.

use std::path::Path;
use std::sync::Arc;

use mooq_core::{ClientCertificate, ErrorKind, TlsOptions};
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::invalid_endpoint::InvalidEndpoint;

/// Reads the files of `options`, and checks their contents.
pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, InvalidEndpoint> {
    // Named here, and not left to the provider that the process may or may not have installed.
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidEndpoint::new("there is no version of TLS to speak", error))?;
    let builder = if options.accept_any_certificate {
        let accept = Arc::new(AcceptAny(provider));
        builder.dangerous().with_custom_certificate_verifier(accept)
    } else {
        builder.with_root_certificates(roots(options.ca_file.as_deref())?)
    };
    match &options.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(certificate) => show(builder, certificate),
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, InvalidEndpoint> {
    let Some(path) = ca_file else {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        return Ok(roots.collect());
    };
    let what = "CA file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, path)? {
        let added = roots.add(certificate);
        added.map_err(|error| InvalidEndpoint::new(file(what, path, &error), error))?;
    }
    Ok(roots)
}

fn show(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ClientCertificate {
        certificate_file,
        key_file,
        ..
    }: &ClientCertificate,
) -> Result<ClientConfig, InvalidEndpoint> {
    let certificates = certificates("certificate file", certificate_file)?;
    let key = key(key_file)?;
    builder
        .with_client_auth_cert(certificates, key)
        .map_err(|error| {
            let what = format!(
                "the certificate file '{}' and the key file '{}' cannot be used: {error}",
                certificate_file.display(),
                key_file.display()
            );
            InvalidEndpoint::new(what, error)
        })
}

/// All certificates in the file `path`, at least one.
fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidEndpoint> {
    let text = read(what, path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates
        .map_err(|error| InvalidEndpoint::new(file(what, path, "it is no PEM file"), error))?;
    if certificates.is_empty() {
        let what = file(what, path, "there is no certificate in it");
        return Err(InvalidEndpoint::new(what, pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, InvalidEndpoint> {
    let what = "key file";
    let text = read(what, path)?;
    // The error is left out, because it may repeat a line of the file.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let problem = "there is no private key in it that is not encrypted, in PEM";
        InvalidEndpoint::only(ErrorKind::InvalidArgument, file(what, path, problem))
    })
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, InvalidEndpoint> {
    std::fs::read(path).map_err(|error| InvalidEndpoint::new(file(what, path, &error), error))
}

fn file(what: &str, path: &Path, problem: impl std::fmt::Display) -> String {
    format!("the {what} '{}' cannot be used: {problem}", path.display())
}

/// Accepts any certificate from a peer that has its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
