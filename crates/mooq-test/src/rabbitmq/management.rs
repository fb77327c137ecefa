//! The few requests to RabbitMQ's management plugin that tests need.
//!
//! The requests block: a virtual host is created before a test's runtime runs, and deleted after
//! it, or when its last owner is dropped, at a point that cannot await.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mooq_core::{Credentials, Error, ErrorKind, Result};
use serde_json::{Value, json};
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Method, Request, StatusCode};
use url::Url;

/// Time limit for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A RabbitMQ's management plugin.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    agent: ureq::Agent,
    /// URL of the plugin's API.
    api: Url,
    credentials: Credentials,
}

impl Management {
    /// Uses the plugin at `address`, a `host:port`.
    pub(crate) fn new(address: &str, credentials: Credentials) -> Result<Self> {
        let api = Url::parse(&format!("http://{address}/api")).map_err(|e| {
            let message = format!("RabbitMQ's management plugin cannot be at '{address}': {e}");
            Error::new(ErrorKind::InvalidUrl, message).with_source(e)
        })?;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            // No proxy: the RabbitMQ is nearby, and not on the web.
            .proxy(None)
            // A connection for each request: RabbitMQ closes an idle one after 5 s, and a request
            // may be on its way then.
            .max_idle_connections(0)
            .build();
        Ok(Self {
            agent: config.into(),
            api,
            credentials,
        })
    }

    /// The plugin's `host:port`.
    pub(crate) fn address(&self) -> String {
        self.api.authority().to_owned()
    }

    /// Adds a virtual host, in which the user that adds it has full permissions.
    pub(crate) fn add_vhost(&self, name: &str) -> Result<()> {
        self.request(Method::PUT, &["vhosts", name], &json!({}))
    }

    pub(crate) fn delete_vhost(&self, name: &str) -> Result<()> {
        self.delete(&["vhosts", name])
    }

    /// Sets a policy of a virtual host.
    pub(crate) fn set_policy(&self, vhost: &str, name: &str, policy: &Value) -> Result<()> {
        self.request(Method::PUT, &["policies", vhost, name], policy)
    }

    pub(crate) fn clear_policy(&self, vhost: &str, name: &str) -> Result<()> {
        self.delete(&["policies", vhost, name])
    }

    /// Adds a user, who has no permissions yet.
    pub(crate) fn add_user(&self, name: &str, password: &str) -> Result<()> {
        let user = json!({"password": password, "tags": ""});
        self.request(Method::PUT, &["users", name], &user)
    }

    pub(crate) fn delete_user(&self, name: &str) -> Result<()> {
        self.delete(&["users", name])
    }

    /// Sets a user's permissions in a virtual host.
    pub(crate) fn set_permissions(
        &self,
        vhost: &str,
        user: &str,
        permissions: &Value,
    ) -> Result<()> {
        self.request(Method::PUT, &["permissions", vhost, user], permissions)
    }

    /// Deletes an object. An object that does not exist counts as deleted.
    fn delete(&self, path: &[&str]) -> Result<()> {
        self.request(Method::DELETE, path, &Value::Null)
    }

    fn request(&self, method: Method, path: &[&str], body: &Value) -> Result<()> {
        let mut url = self.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        let (asked, is_delete) = (format!("{method} {}", url.path()), method == Method::DELETE);
        let answer = self.answer(method, &url, body).map_err(|e| {
            let how = format!(
                "does not answer at {}: {e}. MOOQ_TEST_MANAGEMENT says where it is otherwise",
                self.address()
            );
            failed(&how).with_source(e)
        })?;
        let (status, reason) = answer;
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND if is_delete => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let user = &self.credentials.username;
                let hint =
                    format!("Its user '{user}' must have this password and be an administrator");
                Err(failed(&format!("refuses {asked}: {status}. {hint}")))
            }
            StatusCode::BAD_REQUEST => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("RabbitMQ refuses {asked}: {reason}"),
            )),
            _ if reason.is_empty() => Err(failed(&format!("refuses {asked}: {status}"))),
            _ => Err(failed(&format!("refuses {asked}: {status}: {reason}"))),
        }
    }

    /// The status and the body of an answer.
    fn answer(
        &self,
        method: Method,
        url: &Url,
        body: &Value,
    ) -> std::result::Result<(StatusCode, String), ureq::Error> {
        let Credentials {
            username, password, ..
        } = &self.credentials;
        let login = STANDARD.encode(format!("{username}:{password}"));
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(AUTHORIZATION, format!("Basic {login}"))
            .header(CONTENT_TYPE, "application/json")
            .body(if body.is_null() {
                String::new()
            } else {
                body.to_string()
            })?;
        let mut answer = self.agent.run(request)?;
        let body = answer.body_mut().read_to_string()?;
        let reason = serde_json::from_str(&body).map_or(body, |json: Value| {
            let reason = &json["reason"];
            reason
                .as_str()
                .map_or_else(|| reason.to_string(), str::to_owned)
        });
        Ok((answer.status(), reason))
    }
}

fn failed(how: &str) -> Error {
    let message =
        format!("RabbitMQ's management plugin, which makes virtual hosts and users, {how}");
    Error::connection(ErrorKind::ConnectFailed, message)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// Reads a request up to the empty line that ends its head. The body is short, and is ignored.
    fn head_of_request(stream: &mut TcpStream) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1);
            request.extend(byte);
        }
        String::from_utf8(request).unwrap()
    }

    /// Answers one request with `answer`, and returns the request.
    fn answered(
        answer: &'static str,
        ask: impl FnOnce(Management) -> Result<()>,
    ) -> (Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = head_of_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let outcome = ask(Management::new(&address, Credentials::default()).unwrap());
        (outcome, server.join().unwrap())
    }

    #[test]
    fn a_virtual_host_is_deleted() {
        let (outcome, request) = answered("HTTP/1.1 204 No Content\r\n\r\n", |management| {
            management.delete_vhost("audits")
        });
        outcome.unwrap();
        let request = request.to_lowercase();
        assert!(
            request.starts_with("delete /api/vhosts/audits http/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("authorization: basic z3vlc3q6z3vlc3q=\r\n"),
            "{request}"
        );
    }

    /// RabbitMQ does so with a connection that was idle for 5 s.
    #[test]
    fn a_connection_that_is_closed_after_its_answer_costs_no_request() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                head_of_request(&mut stream);
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .unwrap();
                // The next request on this connection is not answered.
                let _ = stream.read(&mut [0]);
            }
        });
        let management = Management::new(&address, Credentials::default()).unwrap();
        management.delete_vhost("audits").unwrap();
        management.delete_vhost("audits").unwrap();
        server.join().unwrap();
    }

    #[test]
    fn a_refusal_is_an_error() {
        let (outcome, _) = answered(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            |management| management.delete_vhost("audits"),
        );
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "RabbitMQ's management plugin, which makes virtual hosts and users, \
             refuses DELETE /api/vhosts/audits: 401 Unauthorized. \
             Its user 'guest' must have this password and be an administrator"
        );
    }

    #[test]
    fn refusal_is_reported_with_status_and_body() {
        let answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops";
        let (outcome, _) = answered(answer, |management| management.delete_vhost("audits"));
        let told = outcome.unwrap_err().to_string();
        let expected = "DELETE /api/vhosts/audits: 500 Internal Server Error: oops";
        assert!(told.ends_with(expected), "{told}");
    }

    #[test]
    fn rejected_request_is_an_invalid_argument() {
        let answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 30\r\n\r\n\
                      {\"error\":\"x\",\"reason\":\"no it\"}";
        let (outcome, request) =
            answered(answer, |management| management.clear_policy("/", "50 % of"));
        let err = outcome.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            err.to_string(),
            "RabbitMQ refuses DELETE /api/policies/%2F/50%20%25%20of: no it"
        );
        assert!(
            request.starts_with("DELETE /api/policies/%2F/50%20%25%20of "),
            "{request}"
        );
    }

    #[test]
    fn delete_of_a_missing_object_succeeds() {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let (outcome, _) = answered(answer, |management| management.delete_user("nobody"));
        outcome.unwrap();
        let (outcome, _) = answered(answer, |management| {
            management.add_user("somebody", "secret")
        });
        outcome.unwrap_err();
    }

    #[test]
    fn management_without_an_answer_is_an_error_with_its_address() {
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let management = Management::new(&nobody.to_string(), Credentials::default()).unwrap();
        let err = management.add_vhost("audits").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectFailed);
        assert!(err.to_string().contains(&format!("at {nobody}: ")), "{err}");
    }
}
