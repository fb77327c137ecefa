//! The HTTP API of a RabbitMQ's management plugin, or of one that imitates it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
pub use ureq::http::{HeaderMap, Method};
use url::Url;

/// Time limit for an answer. Only a broker that never answers reaches it.
const LIMIT: Duration = Duration::from_secs(180);

/// The [API](https://www.rabbitmq.com/docs/http-api-reference) of a RabbitMQ on this machine, as the
/// user `guest` unless another one is named.
#[derive(Debug, Clone)]
pub struct Management {
    agent: ureq::Agent,
    api: Url,
    /// The header with the user's name and password. None for no login.
    login: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is empty.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        let parsed = serde_json::from_str(&self.text);
        parsed.unwrap_or_else(|err| panic!("{err}: {}", self.text))
    }
}

fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

impl Management {
    /// The API behind a port of this machine.
    #[must_use]
    pub fn behind(port: u16) -> Self {
        let api = format!("http://127.0.0.1:{port}/api");
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            .proxy(None)
            // A connection for each request: RabbitMQ closes an idle one after 5 s, and a request
            // may be on its way then.
            .max_idle_connections(0)
            .build();
        Self {
            agent: config.into(),
            api: Url::parse(&api).expect("a valid URL"),
            login: Some(basic("guest", "guest")),
        }
    }

    /// The API's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.api.port().unwrap_or_default()
    }

    /// The same API, as another user.
    #[must_use]
    pub fn as_user(&self, username: &str, password: &str) -> Self {
        Self {
            login: Some(basic(username, password)),
            ..self.clone()
        }
    }

    /// The same API, without a login.
    #[must_use]
    pub fn without_login(&self) -> Self {
        Self {
            login: None,
            ..self.clone()
        }
    }

    /// Creates or changes the object at `path`.
    ///
    /// # Panics
    /// If RabbitMQ refuses.
    pub async fn put(&self, path: &[&str], object: &Value) {
        self.request(Method::PUT, path, object.to_string()).await;
    }

    /// Deletes the object at `path`.
    ///
    /// # Panics
    /// If the object does not exist.
    pub async fn delete(&self, path: &[&str]) {
        self.request(Method::DELETE, path, String::new()).await;
    }

    async fn request(&self, method: Method, path: &[&str], body: String) {
        let mut url = self.api.clone();
        let mut segments = url.path_segments_mut().expect("an HTTP URL has a path");
        segments.extend(path);
        drop(segments);
        let asked = format!("{method} {} {body}", url.path());
        let answer = self.send(method, url.as_str(), body).await;
        let (status, text) = (answer.status, answer.text);
        assert!((200..300).contains(&status), "{asked}: {status}: {text}");
    }

    /// Sends a request whose path, with its query, is quoted as a URL wants it: `/api/queues/%2F`.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn ask(&self, method: Method, path: &str, body: impl Into<String>) -> Answer {
        let url = format!("{}{path}", self.api.as_str().trim_end_matches("/api"));
        self.send(method, &url, body.into()).await
    }

    async fn send(&self, method: Method, url: &str, body: String) -> Answer {
        let asked = format!("{method} {url}");
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_TYPE, "application/json");
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login);
        }
        let request = request.body(body).expect("a valid request");
        let agent = self.agent.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = agent.run(request)?;
            let text = answer.body_mut().read_to_string()?;
            Ok::<_, ureq::Error>(Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                text,
            })
        });
        let answer = answer.await.expect("the request ends");
        answer.unwrap_or_else(|err| panic!("{asked}: {err}"))
    }
}
