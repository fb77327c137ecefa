//! An endpoint from its URL.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::{ClientCertificate, Credentials, Endpoint, Scheme};
use crate::error::{Error, ErrorKind, Result};

/// What stands in a URL without being encoded: RFC 3986's unreserved characters.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `text` as it stands in a part of a URL.
pub(super) fn encode(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, PLAIN)
}

pub(super) fn parse(text: &str) -> Result<Endpoint> {
    let url = Url::parse(text).map_err(|e| {
        // The text itself may hold a password, so the error repeats only what the parser says.
        invalid(format!("not a URL: {e}; expected amqp://host:port/vhost")).with_source(e)
    })?;
    let mut endpoint = Endpoint::new(scheme(&url)?);
    if !url.has_authority() {
        return Err(invalid(format!(
            "'//' is missing after '{}:'; expected {0}://host:port/vhost",
            url.scheme()
        )));
    }
    // What follows a '#' is nothing of ours: most likely it is half of a password, and what
    // stands before it no host.
    if url.fragment().is_some() {
        return Err(invalid(
            "a '#' in it: in a password or name, write it as %23",
        ));
    }
    match url.host() {
        None => {}
        Some(url::Host::Ipv6(address)) => endpoint.host = address.to_string(),
        Some(host) if host.to_string().is_empty() => {}
        Some(host) => endpoint.host = decode("host", &host.to_string())?,
    }
    match url.port() {
        Some(0) => return Err(invalid("port 0 cannot be connected to")),
        Some(port) => endpoint.port = port,
        None => {}
    }
    endpoint.credentials = credentials(&url)?;
    let path = url.path().strip_prefix('/').unwrap_or(url.path());
    if path.contains('/') {
        return Err(invalid(format!(
            "the virtual host '{}' holds a '/': write it as %2F",
            unless_secret(path)
        )));
    }
    // Most likely what stands before it is the rest of a password, which began before a '/'.
    if path.contains('@') {
        return Err(invalid(
            "an '@' in the virtual host: write it as %40, and a '/' in a password as %2F",
        ));
    }
    if !path.is_empty() {
        endpoint.vhost = decode("virtual host", path)?
            .try_into()
            .map_err(|e: Error| invalid(e.to_string()))?;
    }
    let mut certificate = CertificateFiles::default();
    for (key, value) in url.query_pairs() {
        parameter(&mut endpoint, &mut certificate, &key, &value)?;
    }
    endpoint.tls.client_certificate = certificate.into_certificate()?;
    Ok(endpoint)
}

fn scheme(url: &Url) -> Result<Scheme> {
    match url.scheme() {
        "amqp" => Ok(Scheme::Amqp),
        "amqps" => Ok(Scheme::Amqps),
        "memory" => Ok(Scheme::Memory),
        other => Err(Error::connection(
            ErrorKind::UnsupportedScheme,
            format!("unknown scheme '{other}': mooq knows amqp, amqps and memory"),
        )),
    }
}

fn credentials(url: &Url) -> Result<Credentials> {
    let mut credentials = Credentials::default();
    if !url.username().is_empty() {
        credentials.username = decode("user name", url.username())?;
    }
    if let Some(password) = url.password() {
        credentials.password = decode("password", password)?;
    }
    Ok(credentials)
}

/// The files that parameters name, in whatever order.
#[derive(Default)]
struct CertificateFiles {
    certificate: Option<String>,
    key: Option<String>,
}

impl CertificateFiles {
    fn into_certificate(self) -> Result<Option<ClientCertificate>> {
        match (self.certificate, self.key) {
            (None, None) => Ok(None),
            (Some(both), None) => Ok(Some(ClientCertificate::new(&both, &both))),
            (Some(certificate), Some(key)) => Ok(Some(ClientCertificate::new(certificate, key))),
            (None, Some(_)) => Err(invalid(
                "query parameter 'keyfile' needs a 'certfile' beside it",
            )),
        }
    }
}

fn parameter(
    endpoint: &mut Endpoint,
    certificate: &mut CertificateFiles,
    key: &str,
    value: &str,
) -> Result<()> {
    const OF_TLS: [&str; 5] = [
        "cacertfile",
        "certfile",
        "keyfile",
        "server_name_indication",
        "verify",
    ];
    if OF_TLS.contains(&key) {
        if endpoint.scheme != Scheme::Amqps {
            return Err(invalid(format!(
                "query parameter '{key}' is for amqps, and this is {}",
                endpoint.scheme.as_str()
            )));
        }
        if value.is_empty() {
            return Err(invalid(format!("query parameter '{key}' is empty")));
        }
    }
    match key {
        "cacertfile" => endpoint.tls.ca_file = Some(value.into()),
        "certfile" => certificate.certificate = Some(value.into()),
        "keyfile" => certificate.key = Some(value.into()),
        "server_name_indication" => endpoint.tls.server_name = Some(value.into()),
        "verify" => {
            endpoint.tls.accept_any_certificate = match value {
                "verify_peer" => false,
                "verify_none" => true,
                _ => {
                    return Err(invalid(format!(
                        "query parameter 'verify' is '{}': expected verify_peer or verify_none",
                        unless_secret(value)
                    )));
                }
            };
        }
        "heartbeat" => {
            let seconds = number(key, value, "seconds", 2, u16::MAX.into())?;
            endpoint.heartbeat = Duration::from_secs(seconds);
        }
        "connection_timeout" => {
            let millis = number(key, value, "milliseconds", 1, 600_000)?;
            endpoint.connect_timeout = Duration::from_millis(millis);
        }
        "name" => {
            let name = value
                .try_into()
                .map_err(|e: Error| invalid(format!("query parameter 'name': {e}")))?;
            endpoint.connection_name = Some(name);
        }
        _ => {
            return Err(invalid(format!(
                "unknown query parameter '{}': mooq knows heartbeat, connection_timeout, name, and for \
                 amqps {}",
                unless_secret(key),
                OF_TLS.join(", ")
            )));
        }
    }
    Ok(())
}

fn number(key: &str, value: &str, unit: &str, least: u64, most: u64) -> Result<u64> {
    value
        .parse()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| {
            invalid(format!(
                "query parameter '{key}' is '{value}': expected {unit}, {least} to {most}"
            ))
        })
}

fn decode(what: &str, text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| invalid(format!("the {what} is not UTF-8 once percent-decoded")))
}

/// `text`, unless an '@' in it tells that it may be the rest of a password, which began before a
/// '/' or '?' that was not encoded.
fn unless_secret(text: &str) -> &str {
    if text.contains('@') { "…" } else { text }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::connection(
        ErrorKind::InvalidUrl,
        format!("invalid URL: {}", message.into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::TlsOptions;

    #[test]
    fn what_is_left_out_has_rabbitmqs_defaults() {
        let endpoint = parse("amqp://").unwrap();
        assert_eq!(endpoint, Endpoint::default());
        assert_eq!(parse("amqp://localhost/").unwrap(), Endpoint::default());
        assert_eq!(parse("amqps://h").unwrap().port, 5671);
        assert_eq!(parse("memory://h").unwrap().address(), "h:5672");
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let url =
            "amqp://us%40er:p%3Aw@[::1]:7000/a%2Fb?heartbeat=30&connection_timeout=250&name=me";
        let endpoint = parse(url).unwrap();
        assert_eq!(endpoint.credentials.username, "us@er");
        assert_eq!(endpoint.credentials.password, "p:w");
        assert_eq!(endpoint.address(), "[::1]:7000");
        assert_eq!(endpoint.vhost, "a/b");
        assert_eq!(endpoint.heartbeat, Duration::from_secs(30));
        assert_eq!(endpoint.connect_timeout, Duration::from_millis(250));
        assert_eq!(endpoint.connection_name.as_deref(), Some("me"));
        assert_eq!(endpoint.to_string(), "amqp://[::1]:7000/a%2Fb");
    }

    #[test]
    fn the_parameters_of_tls_are_rabbitmqs() {
        let tls = |query: &str| parse(&format!("amqps://h?{query}")).unwrap().tls;
        assert_eq!(tls("verify=verify_peer"), TlsOptions::default());
        let all = "keyfile=%2Fk.pem&certfile=/c.pem&cacertfile=/a%20b.pem\
                   &server_name_indication=other&verify=verify_none";
        let expected = TlsOptions::new()
            .ca_file("/a b.pem")
            .client_certificate("/c.pem", "/k.pem")
            .server_name("other")
            .danger_accept_any_certificate();
        assert_eq!(tls(all), expected);
        let same_file = TlsOptions::new().client_certificate("/c.pem", "/c.pem");
        assert_eq!(tls("certfile=/c.pem"), same_file);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_no_password_shown() {
        use ErrorKind::{InvalidUrl, UnsupportedScheme};
        for (url, kind, words) in [
            ("", InvalidUrl, "not a URL"),
            ("localhost", InvalidUrl, "not a URL"),
            (
                "localhost:5672",
                UnsupportedScheme,
                "unknown scheme 'localhost'",
            ),
            (
                "http://localhost",
                UnsupportedScheme,
                "unknown scheme 'http'",
            ),
            ("amqp:localhost", InvalidUrl, "'//' is missing"),
            ("amqp:", InvalidUrl, "'//' is missing"),
            ("amqp:/localhost", InvalidUrl, "'//' is missing"),
            ("amqp:h?name=a://b", InvalidUrl, "'//' is missing"),
            ("amqp://h:99999", InvalidUrl, "port"),
            ("amqp://h:0", InvalidUrl, "port 0"),
            ("amqp://h/a/b", InvalidUrl, "%2F"),
            ("amqp://h/%FF", InvalidUrl, "virtual host is not UTF-8"),
            ("amqp://h?heartbeat=1", InvalidUrl, "'heartbeat' is '1'"),
            ("amqp://h?heartbeat", InvalidUrl, "'heartbeat' is ''"),
            ("amqp://h?colour=red", InvalidUrl, "'colour'"),
            ("amqp://h?cacertfile=/a", InvalidUrl, "is for amqps"),
            ("amqps://h?keyfile=/k", InvalidUrl, "'certfile'"),
            ("amqps://h?cacertfile", InvalidUrl, "'cacertfile' is empty"),
            ("amqps://h?verify=no", InvalidUrl, "'verify' is 'no'"),
            ("amqp://u:secret@h:port", InvalidUrl, "port"),
            ("amqp://u:1#secret@h", InvalidUrl, "%23"),
            ("amqp://u:1?secret@h", InvalidUrl, "parameter '…'"),
            ("amqp://u:1/secret/2@h", InvalidUrl, "virtual host '…'"),
            ("amqp://u:1/secret@h", InvalidUrl, "%40"),
        ] {
            let err = parse(url).unwrap_err();
            assert_eq!(err.kind(), kind, "{url}: {err}");
            assert!(err.to_string().contains(words), "{url}: {err}");
            assert!(!format!("{err:?}").contains("secret"), "{err:?}");
        }
    }

    #[test]
    fn an_endpoint_is_shown_as_a_url_that_leads_there() {
        for vhost in ["/", "orders", "a/b", "50%2F?#@ é"] {
            let mut endpoint = Endpoint::new(Scheme::Amqp);
            endpoint.vhost = vhost.try_into().unwrap();
            assert_eq!(parse(&endpoint.to_string()).unwrap(), endpoint, "{vhost}");
        }
    }

    #[test]
    fn debug_hides_the_password() {
        let endpoint = parse("amqp://u:secret@h").unwrap();
        assert!(!format!("{endpoint:?}").contains("secret"));
    }
}
