//! The few requests to RabbitMQ's management plugin that scenarios make.

use std::sync::Arc;

use mooq_conformance::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::evaluator::Evaluator;

/// `guest:guest` for HTTP's basic authentication.
const GUEST: &str = "Z3Vlc3Q6Z3Vlc3Q=";

/// A RabbitMQ in a container, and its management plugin.
#[derive(Debug, Clone)]
pub(super) struct Management {
    container: String,
    port: u16,
    evaluator: Evaluator,
    /// The turn to change policies. RabbitMQ reads all of them first and then brings the queues up
    /// to date, so of two changes at a time the earlier reading may win, and a queue be without a
    /// policy that has been set (`update_matched_objects` in `rabbit_policy`).
    policies: Arc<Mutex<()>>,
}

impl Management {
    /// That of the container with this id, behind this port of this machine, and the evaluator of
    /// the same RabbitMQ.
    pub(super) fn of(container: impl Into<String>, port: u16, evaluator: Evaluator) -> Self {
        Self {
            container: container.into(),
            port,
            evaluator,
            policies: Arc::default(),
        }
    }

    pub(super) fn container(&self) -> &str {
        &self.container
    }

    pub(super) fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// Evaluates an Erlang expression in RabbitMQ.
    pub(super) async fn evaluate(&self, expression: &str) -> String {
        self.evaluator.evaluate(&self.container, expression).await
    }

    /// Puts something, which must be taken.
    pub(super) async fn put(&self, path: &[&str], value: serde_json::Value) {
        self.request("PUT", path, &value.to_string()).await;
    }

    /// Deletes something, which must be there.
    pub(super) async fn delete(&self, path: &[&str]) {
        self.request("DELETE", path, "").await;
    }

    /// Sets a policy, or an operator policy, which must be taken.
    pub(super) async fn put_policy(&self, path: &[&str], policy: serde_json::Value) {
        let _turn = self.policies.lock().await;
        self.put(path, policy).await;
    }

    /// Removes one, which must be there.
    pub(super) async fn delete_policy(&self, path: &[&str]) {
        let _turn = self.policies.lock().await;
        self.delete(path).await;
    }

    async fn request(&self, method: &str, path: &[&str], body: &str) {
        let path: Vec<_> = path.iter().map(|part| escaped(part)).collect();
        let (path, length) = (path.join("/"), body.len());
        let request = format!(
            "{method} /api/{path} HTTP/1.0\r\nAuthorization: Basic {GUEST}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = within("the management plugin's answer", async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        })
        .await
        .expect("the management plugin answers");
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with('2'), "{method} {path} {body}: {answer}");
    }
}

/// A part of a path, with everything escaped that means something in URLs.
fn escaped(part: &str) -> String {
    let mut escaped = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
