//! The few requests to RabbitMQ's management plugin that tests need.
//!
//! They block: a virtual host is made before a test's runtime runs, and deleted after it, or when
//! its last owner is dropped, where nothing can be awaited.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use mooq_core::{Credentials, Error, ErrorKind, Result};

/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A RabbitMQ's management plugin.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    /// `host:port`.
    address: String,
    credentials: Credentials,
}

impl Management {
    pub(crate) fn new(address: String, credentials: Credentials) -> Self {
        Self {
            address,
            credentials,
        }
    }

    /// Adds a virtual host, in which whoever adds it may do everything.
    pub(crate) fn add_vhost(&self, name: &str) -> Result<()> {
        self.request("PUT", name)
    }

    pub(crate) fn delete_vhost(&self, name: &str) -> Result<()> {
        self.request("DELETE", name)
    }

    fn request(&self, method: &str, vhost: &str) -> Result<()> {
        let answer = self.exchange(method, vhost).map_err(|e| {
            let address = &self.address;
            let how = format!(
                "does not answer at {address}: {e}. MOOQ_TEST_MANAGEMENT says where it is otherwise"
            );
            self.failed(&how).with_source(e)
        })?;
        let line = answer.lines().next().unwrap_or_default();
        let refusal = format!("refuses {method} /api/vhosts/{vhost}: {line}");
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(()),
            Some("401" | "403") => {
                let user = &self.credentials.username;
                let hint =
                    format!("Its user '{user}' must have this password and be an administrator");
                Err(self.failed(&format!("{refusal}. {hint}")))
            }
            _ => Err(self.failed(&refusal)),
        }
    }

    fn failed(&self, how: &str) -> Error {
        let message = format!("RabbitMQ's management plugin, which makes virtual hosts, {how}");
        Error::connection(ErrorKind::BrokerConnectionError, message)
    }

    /// One request and its answer. By HTTP 1.0 the answer ends with the connection.
    fn exchange(&self, method: &str, vhost: &str) -> io::Result<String> {
        let Credentials { username, password } = &self.credentials;
        let login = base64(format!("{username}:{password}").as_bytes());
        let body = if method == "PUT" { "{}" } else { "" };
        let request = format!(
            "{method} /api/vhosts/{vhost} HTTP/1.0\r\nHost: {}\r\nAuthorization: Basic {login}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, LIMIT) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

/// RFC 4648's base64, for HTTP's basic authentication.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let three = (0..3).fold(0_u32, |bits, n| {
            bits << 8 | u32::from(chunk.get(n).copied().unwrap_or_default())
        });
        for digit in 0..4 {
            let value = three >> (18 - 6 * digit) & 63;
            let digit = (digit as usize <= chunk.len()).then(|| DIGITS.get(value as usize));
            text.push(digit.flatten().map_or('=', |&digit| char::from(digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("guest:guest", "Z3Vlc3Q6Z3Vlc3Q="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    /// Answers one request with `answer`, and gives what the request was.
    fn answered(
        answer: &'static str,
        ask: impl FnOnce(Management) -> Result<()>,
    ) -> (Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            // The head ends with an empty line; the body is short, and known.
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"\r\n\r\n{}") {
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = ask(Management::new(address, Credentials::default()));
        (outcome, server.join().unwrap())
    }

    #[test]
    fn a_virtual_host_is_deleted() {
        let (outcome, request) = answered("HTTP/1.0 204 No Content\r\n\r\n", |management| {
            management.delete_vhost("audits")
        });
        outcome.unwrap();
        assert!(request.starts_with("DELETE /api/vhosts/audits HTTP/1.0\r\n"));
        assert!(request.contains("Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n"));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let (outcome, _) = answered("HTTP/1.0 401 Unauthorized\r\n\r\n", |management| {
            management.delete_vhost("audits")
        });
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "RabbitMQ's management plugin, which makes virtual hosts, \
             refuses DELETE /api/vhosts/audits: HTTP/1.0 401 Unauthorized. \
             Its user 'guest' must have this password and be an administrator"
        );
    }

    #[test]
    fn any_other_refusal_is_told_as_it_is() {
        let (outcome, _) = answered("HTTP/1.0 500 Internal Server Error\r\n\r\n", |management| {
            management.delete_vhost("audits")
        });
        let told = outcome.unwrap_err().to_string();
        assert!(
            told.ends_with("HTTP/1.0 500 Internal Server Error"),
            "{told}"
        );
    }

    #[test]
    fn no_answer_is_an_error_that_names_the_address() {
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let management = Management::new(nobody.to_string(), Credentials::default());
        let err = management.add_vhost("audits").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BrokerConnectionError);
        assert!(err.to_string().contains(&format!("at {nobody}: ")), "{err}");
    }
}
