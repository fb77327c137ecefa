//! The user's name in a client's certificate, by RabbitMQ's rules.

use std::fmt;
use std::str::FromStr;

/// The part of a client's certificate that names the user who logs in by it, as
/// [`ssl_cert_login_from`](https://www.rabbitmq.com/docs/ssl#peer-verification-username-extraction)
/// of RabbitMQ.
///
/// ```
/// use mooq_server::CertificateName;
///
/// let name: CertificateName = "common_name".parse()?;
/// assert_eq!(name, CertificateName::CommonName);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateName {
    /// The whole subject, the last part first, as RFC 4514 writes it: `CN=billing,O=Shop`.
    #[default]
    DistinguishedName,
    /// The subject's common name: `billing`. Several are joined with commas.
    CommonName,
    /// The first DNS name among the alternative names of the subject: `billing.example`.
    SubjectAlternativeName,
}

impl CertificateName {
    /// All parts that may name a user.
    pub const ALL: [Self; 3] = [
        Self::DistinguishedName,
        Self::CommonName,
        Self::SubjectAlternativeName,
    ];

    /// The name of the part in RabbitMQ's configuration: `distinguished_name`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DistinguishedName => "distinguished_name",
            Self::CommonName => "common_name",
            Self::SubjectAlternativeName => "subject_alternative_name",
        }
    }

    /// The user's name in a certificate, which is in DER. `None` if the certificate has no such
    /// name.
    pub(crate) fn of(self, certificate: &[u8]) -> Option<String> {
        let (_, certificate) = Values(certificate).next()?;
        let (_, to_be_signed) = Values(certificate).next()?;
        // Serial number, signature, issuer and validity come first; the version may be left out.
        let mut fields = Values(to_be_signed).filter(|(tag, _)| *tag != VERSION);
        let (_, subject) = fields.nth(4)?;
        match self {
            Self::DistinguishedName => Some(distinguished_name(subject)),
            Self::CommonName => common_name(subject),
            Self::SubjectAlternativeName => {
                let (_, extensions) = fields.find(|(tag, _)| *tag == EXTENSIONS)?;
                dns_name(extensions)
            }
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads a name of RabbitMQ's configuration.
///
/// # Errors
/// `InvalidInput`, which lists the names.
impl FromStr for CertificateName {
    type Err = std::io::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|part| part.as_str() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            let text = format!("'{name}' is none of {names}");
            std::io::Error::new(std::io::ErrorKind::InvalidInput, text)
        })
    }
}

/// Tags of DER. A version and extensions are fields 0 and 3 of a certificate.
const OCTET_STRING: u8 = 0x04;
const TELETEX_STRING: u8 = 0x14;
const BMP_STRING: u8 = 0x1e;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// A DNS name among the alternative names.
const DNS_NAME: u8 = 0x82;

/// Object identifiers, as in DER.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// RabbitMQ's names for the parts of a subject. It writes others as numbers.
const PARTS: [(&[u8], &str); 16] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "SERIALNUMBER"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "TITLE"),
    (&[0x55, 4, 42], "GIVENNAME"),
    (&[0x55, 4, 43], "INITIALS"),
    (&[0x55, 4, 44], "GENERATIONQUALIFIER"),
    (&[0x55, 4, 65], "PSEUDONYM"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "EMAILADDRESS",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
];

/// The values in a part of a certificate, each with its tag. They end at the first that is
/// malformed: a certificate that has been verified has none.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // The number of bytes of a longer length: 3 are 16 MiB.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

/// The object identifier and the text of a part of a subject.
fn part(part: &[u8]) -> Option<(&[u8], String)> {
    let mut values = Values(part);
    let (_, identifier) = values.next()?;
    let (tag, value) = values.next()?;
    let text = match tag {
        TELETEX_STRING => value.iter().copied().map(char::from).collect(),
        BMP_STRING => {
            let units = value.chunks_exact(2);
            let units: Vec<_> = units
                .map(|two| u16::from_be_bytes([two[0], two[1]]))
                .collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    Some((identifier, text))
}

fn distinguished_name(subject: &[u8]) -> String {
    let sets = Values(subject).map(|(_, set)| {
        let parts = Values(set).filter_map(|(_, value)| part(value));
        let parts = parts.map(|(identifier, text)| {
            let name = PARTS.iter().find(|(known, _)| *known == identifier);
            let name = name.map_or_else(|| numbers(identifier), |(_, name)| (*name).to_owned());
            format!("{name}={}", escaped(&text))
        });
        parts.collect::<Vec<_>>().join("+")
    });
    let mut sets: Vec<_> = sets.collect();
    sets.reverse();
    sets.join(",")
}

fn common_name(subject: &[u8]) -> Option<String> {
    let parts = Values(subject).flat_map(|(_, set)| Values(set));
    let parts = parts.filter_map(|(_, value)| part(value));
    let names = parts.filter(|(identifier, _)| *identifier == COMMON_NAME);
    let names: Vec<_> = names.map(|(_, name)| name).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// The first DNS name in a certificate's extensions.
fn dns_name(extensions: &[u8]) -> Option<String> {
    let (_, extensions) = Values(extensions).next()?;
    let names = Values(extensions).find_map(|(_, extension)| {
        let mut values = Values(extension);
        let (_, identifier) = values.next()?;
        let (_, names) = values.find(|(tag, _)| *tag == OCTET_STRING)?;
        (identifier == SUBJECT_ALTERNATIVE_NAMES).then_some(names)
    })?;
    let (_, names) = Values(names).next()?;
    let (_, name) = Values(names).find(|(tag, _)| *tag == DNS_NAME)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// An object identifier, as numbers with dots between them.
fn numbers(identifier: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number: u64 = 0;
    for byte in identifier {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                // The first two numbers share one.
                let first = (number / 40).min(2);
                numbers.extend([first, number - 40 * first]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(".")
}

/// The text of a part, escaped as RabbitMQ does: what RFC 4514 asks for, and every byte that is not
/// printable ASCII.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let last = text.len().saturating_sub(1);
    for (index, byte) in text.bytes().enumerate() {
        let is_special = match byte {
            b' ' => index == 0 || index == last,
            b'#' => index == 0,
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => true,
            _ => false,
        };
        match byte {
            0..32 | 126.. => escaped.push_str(&format!("\\{byte:02X}")),
            _ => {
                if is_special {
                    escaped.push('\\');
                }
                escaped.push(char::from(byte));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use mooq_rig::certificates::Authority;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    use super::*;

    /// The user's names in a certificate with this subject and these DNS names.
    fn names(subject: &[(&str, &str)], dns_names: &[&str]) -> [Option<String>; 3] {
        let issued = Authority::new().issue_with_subject(subject, dns_names);
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        CertificateName::ALL.map(|name| name.of(&der))
    }

    #[test]
    fn names_are_those_that_rabbitmq_reads() {
        let some = |name: &str| Some(name.to_owned());
        let subject = [("O", "Shop"), ("OU", "Back office"), ("CN", "billing")];
        let expected = [
            some("CN=billing,OU=Back office,O=Shop"),
            some("billing"),
            some("billing.example"),
        ];
        assert_eq!(names(&subject, &["billing.example", "other"]), expected);
        assert_eq!(names(&[("O", "Shop")], &[]), [some("O=Shop"), None, None]);
        assert_eq!(names(&[], &[]), [some(""), None, None]);
    }

    #[test]
    fn distinguished_name_is_escaped() {
        let dn = |common_name: &str| {
            let [dn, plain, _] = names(&[("CN", common_name)], &[]);
            assert_eq!(plain.unwrap(), common_name);
            dn.unwrap()
        };
        assert_eq!(dn("a,b + \"c\""), "CN=a\\,b \\+ \\\"c\\\"");
        assert_eq!(dn(" #x "), "CN=\\ #x\\ ");
        assert_eq!(dn("#1"), "CN=\\#1");
        assert_eq!(dn("café~"), "CN=caf\\C3\\A9\\7E");
    }

    #[test]
    fn other_parts_of_a_subject_are_numbers() {
        let [dn, ..] = names(&[("2.5.4.15", "x"), ("1.3.6.1.4.1.311.60", "y")], &[]);
        assert_eq!(dn.unwrap(), "1.3.6.1.4.1.311.60=y,2.5.4.15=x");
    }

    #[test]
    fn half_a_certificate_names_nobody() {
        let subject = [("CN", "billing")];
        let issued = Authority::new().issue_with_subject(&subject, &["billing.example"]);
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        for end in 0..der.len() {
            for name in CertificateName::ALL {
                assert_eq!(name.of(&der[..end]), None, "{end}");
            }
        }
        assert_eq!(
            CertificateName::CommonName.of(b"\x30\x84\xff\xff\xff\xff"),
            None
        );
    }
}
