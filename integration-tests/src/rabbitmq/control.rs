//! Control of a RabbitMQ in a container: by the API of its [management
//! plugin](https://www.rabbitmq.com/docs/http-api-reference), which answers a hundred times faster
//! than rabbitmqctl, and by rabbitmqctl for the rest.

use async_trait::async_trait;
use mooq_conformance::{Condition, Control};
use mooq_core::{FieldTable, FieldValue};
use mooq_memory::{Alarm, ApplyTo};
use serde_json::json;

use super::conditions::{ChannelLimit, RaisedAlarm, until_blocked};
use super::ctl::{self, Undo};
use super::management::Management;

#[async_trait]
impl Control for Management {
    async fn add_vhost(&self, name: &str) {
        self.put(&["vhosts", name], json!({})).await;
    }

    async fn delete_vhost(&self, name: &str) {
        self.delete(&["vhosts", name]).await;
    }

    async fn add_user(&self, username: &str, password: &str) {
        let user = json!({ "password": password, "tags": "" });
        self.put(&["users", username], user).await;
    }

    async fn delete_user(&self, username: &str) {
        self.delete(&["users", username]).await;
    }

    async fn set_permissions(&self, username: &str, [configure, write, read]: [&str; 3]) {
        let patterns = json!({ "configure": configure, "write": write, "read": read });
        self.put(&["permissions", "/", username], patterns).await;
    }

    async fn clear_permissions(&self, username: &str) {
        self.delete(&["permissions", "/", username]).await;
    }

    async fn set_topic_permissions(&self, username: &str, exchange: &str, write: &str, read: &str) {
        let limits = json!({ "exchange": exchange, "write": write, "read": read });
        self.put(&["topic-permissions", "/", username], limits)
            .await;
    }

    async fn set_policy(
        &self,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: &FieldTable,
    ) {
        let apply_to = match apply_to {
            ApplyTo::Queues => "queues",
            ApplyTo::Exchanges => "exchanges",
            _ => "all",
        };
        let policy = json!({
            "pattern": pattern,
            "apply-to": apply_to,
            "priority": priority,
            "definition": as_json(definition),
        });
        self.put_policy(&["policies", "/", name], policy).await;
    }

    async fn clear_policy(&self, name: &str) {
        self.delete_policy(&["policies", "/", name]).await;
    }

    async fn set_operator_policy(&self, name: &str, pattern: &str, definition: &FieldTable) {
        let policy = json!({
            "pattern": pattern,
            "apply-to": "queues",
            "priority": 0,
            "definition": as_json(definition),
        });
        self.put_policy(&["operator-policies", "/", name], policy)
            .await;
    }

    async fn clear_operator_policy(&self, name: &str) {
        self.delete_policy(&["operator-policies", "/", name]).await;
    }

    async fn hurry_channels(&self) -> Box<dyn Condition> {
        Box::new(ctl::hurry_channels(self.container()).await)
    }

    async fn hurry_dead_letters(&self) -> Box<dyn Condition> {
        Box::new(ctl::hurry_dead_letters(self.container()).await)
    }

    async fn restart(&self) {
        ctl::rabbitmqctl(self.container(), &["stop_app"]).await;
        ctl::rabbitmqctl(self.container(), &["start_app"]).await;
    }

    async fn stop(&self) -> Box<dyn Condition> {
        let container = self.container();
        ctl::rabbitmqctl(container, &["stop_app"]).await;
        let start = ["exec", container, "rabbitmqctl", "--quiet", "start_app"];
        Box::new(Undo::by_docker(start))
    }

    async fn freeze(&self) -> Box<dyn Condition> {
        ctl::pause(self.container()).await;
        Box::new(Undo::by_docker(["unpause", self.container()]))
    }

    async fn raise_alarm(&self, alarm: Alarm) -> Box<dyn Condition> {
        Box::new(RaisedAlarm::raise(self, alarm).await)
    }

    async fn until_blocked(&self, connections: usize) {
        until_blocked(self, connections).await;
    }

    async fn limit_channels(&self, name: &str, max: u16) -> Box<dyn Condition> {
        Box::new(ChannelLimit::set(self, name, max).await)
    }

    async fn close_connections(&self, name: &str, text: &str) {
        let close = format!("rabbit_networking:close_connection(Pid, \"{text}\")");
        ctl::with_connections(self.container(), name, &close).await;
    }

    async fn drop_connections(&self, name: &str) {
        ctl::with_connections(self.container(), name, "exit(Pid, kill)").await;
    }

    async fn management(&self) -> String {
        self.url()
    }

    async fn delete_queue(&self, name: &str) {
        self.delete(&["queues", "/", name]).await;
    }
}

/// A policy's definition, of integers and texts alone.
fn as_json(definition: &FieldTable) -> serde_json::Value {
    let entries = definition.iter().map(|(key, value)| {
        let value = match value {
            FieldValue::String(text) => json!(text),
            number => json!(number.as_i64()),
        };
        (key.to_string(), value)
    });
    entries.collect()
}
