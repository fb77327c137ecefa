//! The HTTP API of a RabbitMQ's management plugin.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Method, Request};
use url::Url;

/// Time limit for an answer. Only a broker that never answers reaches it.
const LIMIT: Duration = Duration::from_secs(180);

/// The [API](https://www.rabbitmq.com/docs/http-api-reference) of a RabbitMQ on this machine, as the
/// user `guest`.
#[derive(Debug, Clone)]
pub struct Management {
    agent: ureq::Agent,
    api: Url,
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
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(
                AUTHORIZATION,
                format!("Basic {}", STANDARD.encode("guest:guest")),
            )
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .expect("a valid request");
        let agent = self.agent.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = agent.run(request)?;
            let body = answer.body_mut().read_to_string()?;
            Ok::<_, ureq::Error>((answer.status(), body))
        });
        let answer = answer.await.expect("the request ends");
        let (status, body) = answer.unwrap_or_else(|err| panic!("{asked}: {err}"));
        assert!(status.is_success(), "{asked}: {status}: {body}");
    }
}
