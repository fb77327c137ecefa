//! The management HTTP API, as far as topologies need it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooq_client::Connection;
use mooq_core::{Error, ErrorKind, QueueName, Result, VirtualHost};
use serde_json::Value;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use url::Url;

use super::management::Management;
use super::observed::{Counts, FoundQueue, Inventory};
use crate::objects::{Object, of_policy};
use crate::value::binding::Binding;
use crate::value::policy::Policy;

/// Time limit for an answer. A broker with many queues is slow to list them.
const LIMIT: Duration = Duration::from_secs(60);

/// Maximum size of an answer in bytes. A binding takes about 200.
const LARGEST: u64 = 1 << 30;

/// The API of the broker that a connection leads to.
#[derive(Debug)]
pub(crate) struct Api {
    agent: ureq::Agent,
    base: Url,
    /// The header with the user's name and password.
    login: String,
    vhost: VirtualHost,
}

/// An answer's status and body.
struct Answer {
    status: u16,
    text: String,
}

impl Api {
    /// The API at an address, if there is one.
    pub(crate) fn of(management: Option<&Management>, conn: &Connection) -> Result<Option<Self>> {
        let Some(management) = management else {
            return Ok(None);
        };
        let base = parsed(management.url())?;
        let endpoint = conn.endpoint();
        let own = &endpoint.credentials;
        let (username, password) = management
            .credentials()
            .unwrap_or((&own.username, &own.password));
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            .proxy(None)
            // A connection for each request: RabbitMQ closes an idle one after 5 s, and a request
            // may be on its way then.
            .max_idle_connections(0)
            .build();
        let login = STANDARD.encode(format!("{username}:{password}"));
        Ok(Some(Self {
            agent: config.into(),
            base,
            login: format!("Basic {login}"),
            vhost: endpoint.vhost.clone(),
        }))
    }

    /// Everything of the virtual host.
    pub(crate) async fn inventory(&self) -> Result<Inventory> {
        let mut inventory = Inventory::default();
        for value in self.list("exchanges").await? {
            let object = Object::of("an exchange", &value)?;
            if object.text("name")?.is_empty() {
                continue; // The default exchange.
            }
            let exchange = object.exchange()?;
            inventory
                .exchanges
                .insert(exchange.name().clone(), exchange);
        }
        for value in self.list("queues").await? {
            let object = Object::of("a queue", &value)?;
            let queue = object.queue()?;
            let found = FoundQueue {
                exclusive: object.flag("exclusive"),
                kind: object.optional_text("type").unwrap_or("classic").to_owned(),
                bytes: object.count("message_bytes"),
                counts: Counts::default(),
                queue,
            };
            inventory.queues.insert(found.queue.name().clone(), found);
        }
        for value in self.list("bindings").await? {
            let object = Object::of("a binding", &value)?;
            if !object.text("source")?.is_empty() {
                inventory.bindings.push(object.binding()?);
            }
        }
        for value in self.list("policies").await? {
            let policy = Object::of("a policy", &value)?.policy()?;
            inventory.policies.insert(policy.name().to_owned(), policy);
        }
        Ok(inventory)
    }

    pub(crate) async fn set_policy(&self, policy: &Policy) -> Result<()> {
        let mut body = of_policy(policy);
        if let Some(fields) = body.as_object_mut() {
            fields.remove("name");
        }
        let path = ["policies", &self.vhost, policy.name()];
        self.send("PUT", &path, Some(&body)).await.map(drop)
    }

    /// Clears a policy; a missing one is no error.
    pub(crate) async fn clear_policy(&self, name: &str) -> Result<()> {
        let path = ["policies", &self.vhost, name];
        missing_is_fine(self.send("DELETE", &path, None).await).map(drop)
    }

    /// Removes a binding, whatever the width of the numbers in its arguments: AMQP removes only the
    /// one of that width. A missing one is no error.
    pub(crate) async fn unbind(&self, binding: &Binding) -> Result<()> {
        let (kind, to) = match (binding.queue(), binding.exchange()) {
            (Some(queue), _) => ("q", queue.as_str()),
            (None, to) => ("e", to.map_or("", |to| to.as_str())),
        };
        let path = ["bindings", &self.vhost, "e", binding.source(), kind, to];
        let listed = missing_is_fine(self.send("GET", &path, None).await)?;
        let listed = listed.map_or(Value::Null, |text| json(&text));
        for value in listed.as_array().into_iter().flatten() {
            let object = Object::of("a binding", value)?;
            if object.binding()? == *binding {
                let key = object.text("properties_key")?;
                // The key is quoted already, and is quoted once more in the path.
                let path = [&path[..], &[key]].concat();
                missing_is_fine(self.send("DELETE", &path, None).await)?;
            }
        }
        Ok(())
    }

    /// Number of a queue's deliveries that are neither acknowledged nor given back. RabbitMQ tells it
    /// up to 5 s late.
    pub(crate) async fn unacked(&self, queue: &QueueName) -> Result<u64> {
        let path = ["queues", &self.vhost, queue];
        let text = missing_is_fine(self.send("GET", &path, None).await)?;
        let Some(text) = text else { return Ok(0) };
        Ok(Object::of("a queue", &json(&text))?.count("messages_unacknowledged"))
    }

    async fn list(&self, what: &str) -> Result<Vec<Value>> {
        let text = self.send("GET", &[what, &self.vhost], None).await?;
        match json(&text) {
            Value::Array(list) => Ok(list),
            _ => {
                let message = format!("the management API's list of {what} is no JSON array");
                Err(Error::new(ErrorKind::Decode, message))
            }
        }
    }

    async fn send(&self, method: &str, path: &[&str], body: Option<&Value>) -> Result<String> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        let asked = format!("{method} {url}");
        let failed = |kind, what: String| Error::new(kind, format!("{asked}: {what}"));
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(AUTHORIZATION, &self.login)
            .header(CONTENT_TYPE, "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())
            .map_err(|err| failed(ErrorKind::InvalidUrl, err.to_string()))?;
        let agent = self.agent.clone();
        // ureq blocks. If this future is dropped, the request goes on, which changes nothing.
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = agent.run(request)?;
            let body = answer.body_mut().with_config().limit(LARGEST);
            Ok::<_, ureq::Error>(Answer {
                text: body.read_to_string()?,
                status: answer.status().as_u16(),
            })
        });
        let answer = answer
            .await
            .map_err(|err| failed(ErrorKind::ConnectFailed, err.to_string()))?
            .map_err(|err| failed(ErrorKind::ConnectFailed, err.to_string()).with_source(err))?;
        let kind = match answer.status {
            200..300 => return Ok(answer.text),
            401 => ErrorKind::AuthenticationFailed,
            403 => ErrorKind::AccessRefused,
            404 => ErrorKind::NotFound,
            _ => ErrorKind::PreconditionFailed,
        };
        let Answer { status, text } = answer;
        let refused = format!("the management API answers {status}: {text}");
        Err(failed(kind, refused))
    }
}

fn parsed(url: &str) -> Result<Url> {
    let base = Url::parse(url).map_err(|err| {
        let message = format!("the management API's URL '{url}': {err}");
        Error::new(ErrorKind::InvalidUrl, message).with_source(err)
    })?;
    if base.scheme() != "http" {
        let message = format!("the management API's URL '{url}': mooq speaks http alone to it");
        return Err(Error::new(ErrorKind::UnsupportedScheme, message));
    }
    Ok(base)
}

/// The body of an answer. One that is no JSON, which RabbitMQ does not send, is null.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn missing_is_fine(sent: Result<String>) -> Result<Option<String>> {
    match sent {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}
