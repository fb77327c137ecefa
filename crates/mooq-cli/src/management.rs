//! Requests to the broker's management API.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mooq::{Endpoint, FieldTable, QueueName};
use serde_json::Value;
use ureq::http::StatusCode;
use ureq::http::header::AUTHORIZATION;
use url::Url;

use crate::failure::{Failure, Result};
use crate::header;

/// RabbitMQ's port for the API.
const PORT: u16 = 15672;

/// A broker's management API.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    agent: ureq::Agent,
    /// URL of the API, without user and password.
    api: Url,
    /// Value of the header that logs in.
    login: String,
    vhost: String,
}

/// A binding as the API lists it.
pub(crate) struct Binding {
    pub(crate) source: String,
    pub(crate) routing_key: String,
    pub(crate) arguments: FieldTable,
}

impl Management {
    /// The API at `url`, or beside the broker. User and password are the broker's, unless the URL
    /// has others.
    pub(crate) fn new(url: Option<&str>, broker: &Endpoint, limit: Duration) -> Result<Self> {
        let (mut username, mut password) = (
            broker.credentials.username.clone(),
            broker.credentials.password.clone(),
        );
        let mut api = match url {
            Some(url) => parse(url)?,
            None => {
                let host = match broker.host.contains(':') {
                    true => format!("[{}]", broker.host), // IPv6.
                    false => broker.host.clone(),
                };
                parse(&format!("http://{host}:{PORT}"))?
            }
        };
        if !api.username().is_empty() {
            let decoded = |text: &str| {
                let text = format!("x={text}").replace('+', "%2B");
                let mut pairs = url::form_urlencoded::parse(text.as_bytes());
                pairs
                    .next()
                    .map(|(_, text)| text.into_owned())
                    .unwrap_or_default()
            };
            username = decoded(api.username());
            password = decoded(api.password().unwrap_or_default());
        }
        // Neither fails for a URL with a host.
        let _ = api.set_username("");
        let _ = api.set_password(None);
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(limit))
            .http_status_as_error(false)
            .build();
        Ok(Self {
            agent: config.into(),
            api,
            login: format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            ),
            vhost: broker.vhost.to_string(),
        })
    }

    /// The queues of the broker's virtual host.
    pub(crate) async fn queues(&self) -> Result<Vec<Value>> {
        match self.fetch(&["queues", &self.vhost]).await? {
            Some(Value::Array(queues)) => Ok(queues),
            Some(_) => Err(self.failed("answers with something other than a list")),
            None => Err(self.no_vhost()),
        }
    }

    /// The bindings of a queue: none for a queue that does not exist.
    pub(crate) async fn bindings(&self, queue: &QueueName) -> Result<Vec<Binding>> {
        let path = ["queues", self.vhost.as_str(), queue, "bindings"];
        let Some(answer) = self.fetch(&path).await? else {
            return Err(self.no_vhost());
        };
        let bindings = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let bindings = bindings.iter().map(|binding| {
            let text = |name: &str| {
                let text = binding.get(name).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let arguments = match binding.get("arguments").and_then(Value::as_object) {
                Some(arguments) => header::table(arguments).map_err(|err| self.failed(&err))?,
                None => FieldTable::new(),
            };
            Ok(Binding {
                source: text("source"),
                routing_key: text("routing_key"),
                arguments,
            })
        });
        bindings.collect()
    }

    /// Fetches an object; none if the API does not find it.
    async fn fetch(&self, path: &[&str]) -> Result<Option<Value>> {
        let mut url = self.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        let (management, asked) = (self.clone(), url.path().to_owned());
        let answered = tokio::task::spawn_blocking(move || management.ask(&url)).await;
        let answered = answered.map_err(|err| self.failed(&err.to_string()))?;
        let (status, body) = answered.map_err(|err| {
            let hint = "does not answer. Is the plugin rabbitmq_management enabled? --management \
                        names another address";
            self.failed(&format!("{hint}: {err}"))
        })?;
        match status {
            StatusCode::OK => serde_json::from_str(&body).map(Some).map_err(|err| {
                self.failed(&format!("answers with something other than JSON: {err}"))
            }),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.failed(&format!(
                "refuses GET {asked}: {status}. The user must have this password and the tag \
                 `management`"
            ))),
            _ => Err(self.failed(&format!("refuses GET {asked}: {status} {body}"))),
        }
    }

    fn ask(&self, url: &Url) -> std::result::Result<(StatusCode, String), ureq::Error> {
        let request = self.agent.get(url.as_str());
        let mut response = request.header(AUTHORIZATION, &self.login).call()?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(u64::MAX);
        Ok((status, body.read_to_string()?))
    }

    fn no_vhost(&self) -> Failure {
        Failure::nothing_there(format!("there is no virtual host '{}'", self.vhost))
    }

    fn failed(&self, what: &str) -> Failure {
        Failure::failed(format!("the management API at {} {what}", self.api))
    }
}

fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).map_err(|err| {
        Failure::wrong_usage(format!("the URL of the management API is wrong: {err}"))
    })?;
    match parsed.scheme() {
        "http" if parsed.has_host() => Ok(parsed),
        scheme => Err(Failure::wrong_usage(format!(
            "the URL of the management API begins with {scheme}://, expected http://host:port"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn management(url: Option<&str>, broker: &str) -> Result<Management> {
        let broker = broker.parse().unwrap();
        Management::new(url, &broker, Duration::from_secs(1))
    }

    #[test]
    fn address_is_beside_the_broker_unless_another_is_given() {
        let beside = management(None, "amqp://me:secret@rabbit:5673/shop").unwrap();
        assert_eq!(beside.api.as_str(), "http://rabbit:15672/");
        assert_eq!(
            beside.login,
            format!("Basic {}", STANDARD.encode("me:secret"))
        );
        assert_eq!(beside.vhost, "shop");
        let beside = management(None, "amqp://[::1]").unwrap();
        assert_eq!(beside.api.as_str(), "http://[::1]:15672/");

        let other = management(Some("http://you:a%2Bb+c@there:1/rabbit"), "amqp://rabbit").unwrap();
        assert_eq!(other.api.as_str(), "http://there:1/rabbit");
        assert_eq!(
            other.login,
            format!("Basic {}", STANDARD.encode("you:a+b+c"))
        );
    }

    #[test]
    fn address_that_is_not_http_is_refused() {
        let refused = management(Some("https://there"), "amqp://rabbit").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the URL of the management API begins with https://, expected http://host:port"
        );
    }
}
