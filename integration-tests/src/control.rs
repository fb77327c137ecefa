//! What scenarios do to their broker from outside of AMQP, in rabbitmqctl's words.

mod alarms;
mod ctl;
mod evaluator;
mod faults;
mod http;

use mooq_core::{FieldTable, FieldValue};
use mooq_memory::{ApplyTo, InMemoryBroker, Policy};
use serde_json::json;

pub use self::alarms::{Raised, RaisedAlarm};
pub use self::ctl::{CONSUMER_TIMEOUT, DEAD_LETTER_RETRY, Hurried, Undo};
pub(crate) use self::ctl::{TICK, pause};
pub(crate) use self::evaluator::EVALUATOR_PORT;
pub use self::evaluator::Evaluator;
pub use self::faults::{ChannelLimit, Down, Frozen};
pub use self::http::Management;

/// Control of one scenario's broker: the memory broker's own methods, or for RabbitMQ the API of
/// its [management plugin](https://www.rabbitmq.com/docs/http-api-reference), which answers a
/// hundred times faster than rabbitmqctl.
#[derive(Debug, Clone)]
pub enum Control {
    /// The in-memory broker.
    Memory(InMemoryBroker),
    /// The in-memory broker on a socket.
    Wire(InMemoryBroker),
    /// RabbitMQ in a container, by its management plugin or by rabbitmqctl.
    RabbitMq(Management),
}

impl Control {
    /// The last lines of RabbitMQ's log, to be shown beside a failure.
    pub(crate) fn recent_log(&self) -> Option<String> {
        match self {
            Self::Memory(_) | Self::Wire(_) => None,
            Self::RabbitMq(management) => Some(ctl::recent_log(management.container())),
        }
    }

    /// Adds a virtual host, in which `guest` may do everything.
    pub async fn add_vhost(&self, name: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker.add_vhost(name).unwrap(),
            Self::RabbitMq(management) => management.put(&["vhosts", name], json!({})).await,
        }
    }

    /// Deletes a virtual host.
    pub async fn delete_vhost(&self, name: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker.delete_vhost(name).unwrap(),
            Self::RabbitMq(management) => management.delete(&["vhosts", name]).await,
        }
    }

    /// Adds a user, who may do nothing yet, or changes its password.
    pub async fn add_user(&self, username: &str, password: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                broker.add_user(username, password);
                broker.clear_permissions(username, "/").unwrap();
            }
            Self::RabbitMq(management) => {
                let user = json!({ "password": password, "tags": "" });
                management.put(&["users", username], user).await;
            }
        }
    }

    /// Deletes a user.
    pub async fn delete_user(&self, username: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker.delete_user(username),
            Self::RabbitMq(management) => management.delete(&["users", username]).await,
        }
    }

    /// Sets what a user may do in `/`: configure, write, read.
    pub async fn set_permissions(&self, username: &str, patterns: [&str; 3]) {
        let [configure, write, read] = patterns;
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker
                .set_permissions(username, "/", configure, write, read)
                .unwrap(),
            Self::RabbitMq(management) => {
                let patterns = json!({ "configure": configure, "write": write, "read": read });
                management
                    .put(&["permissions", "/", username], patterns)
                    .await;
            }
        }
    }

    /// Takes every permission in `/` from a user.
    pub async fn clear_permissions(&self, username: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                broker.clear_permissions(username, "/").unwrap()
            }
            Self::RabbitMq(management) => {
                management.delete(&["permissions", "/", username]).await;
            }
        }
    }

    /// Limits the routing keys that a user may publish to and bind from a topic exchange in `/`.
    pub async fn set_topic_permissions(
        &self,
        username: &str,
        exchange: &str,
        write: &str,
        read: &str,
    ) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker
                .set_topic_permissions(username, "/", exchange, write, read)
                .unwrap(),
            Self::RabbitMq(management) => {
                let limits = json!({ "exchange": exchange, "write": write, "read": read });
                management
                    .put(&["topic-permissions", "/", username], limits)
                    .await;
            }
        }
    }

    /// Sets a policy in `/`.
    pub async fn set_policy(
        &self,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: &FieldTable,
    ) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                let policy = Policy::new(pattern, definition).unwrap();
                let policy = policy.apply_to(apply_to).priority(priority);
                broker.set_policy("/", name, policy).unwrap();
            }
            Self::RabbitMq(management) => {
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
                management
                    .put_policy(&["policies", "/", name], policy)
                    .await;
            }
        }
    }

    /// Removes a policy from `/`.
    pub async fn clear_policy(&self, name: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker.clear_policy("/", name).unwrap(),
            Self::RabbitMq(management) => {
                management.delete_policy(&["policies", "/", name]).await;
            }
        }
    }

    /// Sets an operator policy for queues in `/`.
    pub async fn set_operator_policy(&self, name: &str, pattern: &str, definition: &FieldTable) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                let policy = Policy::new(pattern, definition).unwrap();
                let policy = policy.apply_to(ApplyTo::Queues);
                broker.set_operator_policy("/", name, policy).unwrap();
            }
            Self::RabbitMq(management) => {
                let policy = json!({
                    "pattern": pattern,
                    "apply-to": "queues",
                    "priority": 0,
                    "definition": as_json(definition),
                });
                let path = ["operator-policies", "/", name];
                management.put_policy(&path, policy).await;
            }
        }
    }

    /// Removes an operator policy from `/`.
    pub async fn clear_operator_policy(&self, name: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                broker.clear_operator_policy("/", name).unwrap()
            }
            Self::RabbitMq(management) => {
                let path = ["operator-policies", "/", name];
                management.delete_policy(&path).await;
            }
        }
    }

    /// Has channels that are opened from now on look often for overdue deliveries, which deliveries
    /// are after [`CONSUMER_TIMEOUT`]; in memory virtual time passes as fast as it can, and over the
    /// wire all channels do. It ends when what is returned is dropped.
    pub async fn hurry_channels(&self) -> Hurried {
        self.hurry_time();
        match self {
            Self::Memory(_) => Hurried::VirtualTime,
            Self::Wire(_) => Hurried::ByOptions,
            Self::RabbitMq(management) => ctl::hurry_channels(management.container()).await,
        }
    }

    /// Has quorum queues that are declared from now on try their dead letters again after
    /// [`DEAD_LETTER_RETRY`]; in memory virtual time passes as fast as it can. It ends when what is
    /// returned is dropped.
    pub async fn hurry_dead_letters(&self) -> Hurried {
        self.hurry_time();
        match self {
            Self::Memory(_) => Hurried::VirtualTime,
            Self::Wire(_) => Hurried::ByOptions,
            Self::RabbitMq(management) => ctl::hurry_dead_letters(management.container()).await,
        }
    }

    /// Has virtual time pass as fast as it can, in memory.
    pub fn hurry_time(&self) {
        if let Self::Memory(_) = self {
            tokio::time::pause();
        }
    }

    /// Starts the broker anew.
    pub async fn restart(&self) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => broker.run(),
            Self::RabbitMq(management) => {
                ctl::rabbitmqctl(management.container(), &["stop_app"]).await;
                ctl::rabbitmqctl(management.container(), &["start_app"]).await;
            }
        }
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
