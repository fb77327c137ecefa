//! Parsing of an endpoint from its URL.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::authority::{Authority, check_escapes};
use super::{AuthMechanism, ClientCertificate, Credentials, Endpoint, Scheme, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::name::VirtualHost;

/// Characters that need no encoding in a URL: RFC 3986's unreserved characters.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl fmt::Display for Endpoint {
    /// Writes a URL that can be parsed again, without credentials and parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.address())?;
        if self.vhost != VirtualHost::root() {
            write!(f, "/{}", encode(&self.vhost))?;
        }
        Ok(())
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    /// # Errors
    /// `InvalidUrl` or `UnsupportedScheme`, naming the part that is wrong. The error never repeats
    /// the password.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text)
    }
}

/// `text`, percent-encoded for a part of a URL.
fn encode(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, PLAIN)
}

fn parse(text: &str) -> Result<Endpoint> {
    // The parser strips these characters from both ends, and line ends from within the text too.
    let text = text.trim_matches(|c: char| c <= ' ');
    if text.contains(['\t', '\n', '\r']) {
        return Err(invalid("a tab or the end of a line in it"));
    }
    let authority = Authority::of(text);
    if let Some(authority) = &authority {
        authority.check()?;
    }
    let url = Url::parse(text).map_err(|e| {
        // The text itself may hold a password, so the error repeats only the parser's message.
        invalid(format!("not a URL: {e}; expected amqp://host:port/vhost")).with_source(e)
    })?;
    let mut endpoint = Endpoint::new(scheme(&url)?);
    if !url.has_authority() {
        return Err(invalid(format!(
            "'//' is missing after '{}:'; expected {0}://host:port/vhost",
            url.scheme()
        )));
    }
    // mooq's URLs have no fragment: most likely a '#' is part of a password, and the text before
    // the '#' is not a host.
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
    if let Some(login) = authority.and_then(|authority| authority.login) {
        endpoint.credentials = credentials(login)?;
    }
    let path = url.path().strip_prefix('/').unwrap_or(url.path());
    if path.contains('/') {
        return Err(invalid(format!(
            "the virtual host '{}' holds a '/': write it as %2F",
            unless_secret(path)
        )));
    }
    // Most likely the text before the '@' is the rest of a password, which began before a '/'.
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
    check_escapes("query", url.query().unwrap_or_default())?;
    for (key, value) in url.query_pairs() {
        parameter(&mut endpoint, &mut certificate, &key, &value)?;
    }
    endpoint.tls.client_certificate = certificate.into_certificate()?;
    if endpoint.auth_mechanism == AuthMechanism::External {
        let wrong = |what: &str| {
            let text = format!("query parameter 'auth_mechanism' is 'external', which {what}");
            Err(invalid(text))
        };
        if endpoint.scheme != Scheme::Amqps {
            return wrong("is for amqps");
        }
        if endpoint.tls.client_certificate.is_none() {
            return wrong("needs a 'certfile' beside it");
        }
    }
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

/// Parses the login. An empty name or password is meant to be empty: only one that is left out has
/// a default.
fn credentials(login: &str) -> Result<Credentials> {
    let mut credentials = Credentials::default();
    let (username, password) = match login.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (login, None),
    };
    credentials.username = decode("user name", username)?;
    if let Some(password) = password {
        credentials.password = decode("password", password)?;
    }
    Ok(credentials)
}

/// The files that parameters name, in any order.
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
        "auth_mechanism" => {
            endpoint.auth_mechanism = match value {
                "plain" => AuthMechanism::Plain,
                "external" => AuthMechanism::External,
                _ => {
                    return Err(invalid(format!(
                        "query parameter 'auth_mechanism' is '{}': expected plain or external",
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
        // Most likely a password holds a '?', and the text before the '?' looks like host and port.
        _ if key.contains('@') || value.contains('@') => {
            return Err(invalid(
                "a '?' before the '@': in a user name or a password, write it as %3F",
            ));
        }
        _ => {
            return Err(invalid(format!(
                "unknown query parameter '{key}': mooq knows auth_mechanism, heartbeat, \
                 connection_timeout, name, and for amqps {}",
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
                "query parameter '{key}' is '{}': expected {unit}, {least} to {most}",
                unless_secret(value)
            ))
        })
}

fn decode(what: &str, text: &str) -> Result<String> {
    check_escapes(what, text)?;
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| invalid(format!("the {what} is not UTF-8 once percent-decoded")))
}

/// `text`, or `…` if an '@' in it shows that it may be the rest of a password, which began before a
/// '/' or '?' that was not encoded.
fn unless_secret(text: &str) -> &str {
    if text.contains('@') { "…" } else { text }
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
    fn what_is_empty_is_not_what_is_left_out() {
        let login = |url: &str| {
            let Credentials {
                username, password, ..
            } = parse(url).unwrap().credentials;
            (username, password)
        };
        let pair = |username: &str, password: &str| (username.to_owned(), password.to_owned());
        assert_eq!(login("amqp://h"), pair("guest", "guest"));
        assert_eq!(login("amqp://u@h"), pair("u", "guest"));
        assert_eq!(login("amqp://u:@h"), pair("u", ""));
        assert_eq!(login("amqp://:p@h"), pair("", "p"));
        assert_eq!(login("amqp://:@h"), pair("", ""));
        assert_eq!(login("amqp://@h"), pair("", "guest"));
        // None of these is a mistake.
        assert_eq!(login("amqp://u:p@ss@h"), pair("u", "p@ss"));
        assert_eq!(login("amqp://u:a,b@h"), pair("u", "a,b"));
        assert_eq!(login(" amqp://u:é %C3%A9@h\n"), pair("u", "é é"));
        assert_eq!(login("amqp://h:5?name=me@here"), pair("guest", "guest"));
        assert_eq!(login("amqp://[::1]?name=me@here"), pair("guest", "guest"));
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
        let endpoint = parse("amqps://h?auth_mechanism=external&certfile=/c.pem").unwrap();
        assert_eq!(endpoint.auth_mechanism, AuthMechanism::External);
        let endpoint = parse("amqp://h?auth_mechanism=plain").unwrap();
        assert_eq!(endpoint.auth_mechanism, AuthMechanism::Plain);
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
            ("amqp://u:1?sec=ret@h", InvalidUrl, "'?' before the '@'"),
            (
                "amqp://u:1?heartbeat=secret@h",
                InvalidUrl,
                "'heartbeat' is '…'",
            ),
            ("amqp://h:0", InvalidUrl, "port 0"),
            ("amqp://h/a/b", InvalidUrl, "%2F"),
            ("amqp://h/%FF", InvalidUrl, "virtual host is not UTF-8"),
            ("amqp://h?heartbeat=1", InvalidUrl, "'heartbeat' is '1'"),
            ("amqp://h?heartbeat", InvalidUrl, "'heartbeat' is ''"),
            ("amqp://h?colour=red", InvalidUrl, "'colour'"),
            ("amqp://h?cacertfile=/a", InvalidUrl, "is for amqps"),
            ("amqps://h?keyfile=/k", InvalidUrl, "'certfile'"),
            ("amqps://h?cacertfile", InvalidUrl, "'cacertfile' is empty"),
            (
                "amqps://h?auth_mechanism=external",
                InvalidUrl,
                "needs a 'certfile'",
            ),
            (
                "amqps://h?auth_mechanism=EXTERNAL",
                InvalidUrl,
                "expected plain or external",
            ),
            (
                "amqp://h?auth_mechanism=external",
                InvalidUrl,
                "is for amqps",
            ),
            ("amqps://h?verify=no", InvalidUrl, "'verify' is 'no'"),
            ("amqp://u:secret@h:port", InvalidUrl, "port"),
            ("amqp://u:1#secret@h", InvalidUrl, "%23"),
            ("amqp://u:pa#secret@h", InvalidUrl, "write it as %23"),
            ("amqp://u:pa?secret@h", InvalidUrl, "write it as %3F"),
            ("amqp://u:pa/secret@h", InvalidUrl, "write it as %2F"),
            (
                "amqp://u:pa/1?secret#2@h:5/v",
                InvalidUrl,
                "write it as %2F",
            ),
            ("amqp://u:a,b#secret@h", InvalidUrl, "write it as %23"),
            ("amqp://u:secret%zz@h", InvalidUrl, "'%' in the password"),
            ("amqp://u:secret%2@h", InvalidUrl, "'%' in the password"),
            ("amqp://u%:secret@h", InvalidUrl, "'%' in the user name"),
            (
                "amqp://u:secret@h/%2",
                InvalidUrl,
                "'%' in the virtual host",
            ),
            ("amqp://h%4/v", InvalidUrl, "'%' in the host"),
            ("amqp://h?name=50%", InvalidUrl, "'%' in the query"),
            ("amqp://a,b,c/v", InvalidUrl, "or_host"),
            ("amqp://a:1,b:2", InvalidUrl, "or_host"),
            ("amqp://u:secret@a:1,b:2/v", InvalidUrl, "or_host"),
            ("amqp://u:secret\n@h", InvalidUrl, "end of a line"),
            ("amqp://u:1?secret@h", InvalidUrl, "write it as %3F"),
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
