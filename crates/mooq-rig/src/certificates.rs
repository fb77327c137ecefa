//! Certificates, issued for each test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

/// Name in servers' certificates, beside the address 127.0.0.1.
pub const SERVER_NAME: &str = "rabbit.example";

/// A certificate authority, and the PEM files that it has written.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The certificate's private key.
    pub key: String,
}

impl Authority {
    /// A new authority, with a name of its own.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A unique name, or one authority is taken for another.
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

    /// Issues a certificate for these names and addresses.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        self.sign(&CertificateParams::new(names).unwrap())
    }

    /// Issues a certificate with this subject: parts by their short names (`CN`, `O`, `OU`, `C`) or
    /// by their numbers, each with its text.
    ///
    /// # Panics
    /// If a part is none of these.
    #[must_use]
    pub fn issue_with_subject(&self, subject: &[(&str, &str)], names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for &(part, text) in subject {
            let part = match part {
                "CN" => DnType::CommonName,
                "O" => DnType::OrganizationName,
                "OU" => DnType::OrganizationalUnitName,
                "C" => DnType::CountryName,
                numbers => {
                    let numbers = numbers.split('.').map(|number| number.parse().unwrap());
                    DnType::CustomDnType(numbers.collect())
                }
            };
            params.distinguished_name.push(part, text);
        }
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Issues a server's certificate, for [`SERVER_NAME`] and 127.0.0.1.
    #[must_use]
    pub fn issue_to_server(&self) -> Issued {
        self.issue(&[SERVER_NAME, "127.0.0.1"])
    }

    /// Issues a client's certificate, and returns the files of it and of its key.
    #[must_use]
    pub fn issue_to_client(&self) -> (PathBuf, PathBuf) {
        let Issued { certificate, key } = self.issue(&["client.example"]);
        (
            self.write("client.pem", &certificate),
            self.write("client-key.pem", &key),
        )
    }

    /// The file of the authority's own certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Writes a file beside the authority's.
    pub fn write(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}
