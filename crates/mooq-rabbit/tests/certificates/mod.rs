//! Certificates for tests, made anew each time.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The name that the certificates of servers are for, beside the address 127.0.0.1.
pub(crate) const SERVER_NAME: &str = "rabbit.example";

/// An authority, and the PEM files of what it issued.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own, or one authority is taken for another.
        let name = directory.path().to_string_lossy();
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_ref());
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority = Self {
            issuer: Issuer::new(params, key),
            directory,
        };
        authority.write("ca.pem", &certificate.pem());
        authority
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn issue_to_server(&self) -> Issued {
        self.issue(&[SERVER_NAME, "127.0.0.1"])
    }

    /// A client's certificate and its key, in files.
    pub(crate) fn issue_to_client(&self) -> (PathBuf, PathBuf) {
        let Issued { certificate, key } = self.issue(&["client.example"]);
        (
            self.write("client.pem", &certificate),
            self.write("client-key.pem", &key),
        )
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Writes a file beside the authority's.
    pub(crate) fn write(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}
