//! What scenarios do to their broker from outside of AMQP, in rabbitmqctl's words.

mod http;

use mooq_memory::InMemoryBroker;

pub use self::http::Management;

/// Control of one scenario's broker: the memory broker's own methods, or for RabbitMQ the API of
/// its [management plugin](https://www.rabbitmq.com/docs/http-api-reference), which answers a
/// hundred times faster than rabbitmqctl.
#[derive(Debug, Clone)]
pub enum Control {
    /// The in-memory broker.
    Memory(InMemoryBroker),
    /// RabbitMQ, by its management plugin.
    RabbitMq(Management),
}

impl Control {
    /// Adds a virtual host, in which `guest` may do everything.
    pub async fn add_vhost(&self, name: &str) {
        match self {
            Self::Memory(broker) => broker.add_vhost(name).unwrap(),
            Self::RabbitMq(management) => {
                management
                    .put(&["vhosts", name], serde_json::json!({}))
                    .await
            }
        }
    }

    /// Deletes a virtual host.
    pub async fn delete_vhost(&self, name: &str) {
        match self {
            Self::Memory(broker) => broker.delete_vhost(name).unwrap(),
            Self::RabbitMq(management) => management.delete(&["vhosts", name]).await,
        }
    }

    /// Adds a user, who may do nothing yet, or changes its password.
    pub async fn add_user(&self, username: &str, password: &str) {
        match self {
            Self::Memory(broker) => {
                broker.add_user(username, password);
                broker.clear_permissions(username, "/").unwrap();
            }
            Self::RabbitMq(management) => {
                let user = serde_json::json!({ "password": password, "tags": "" });
                management.put(&["users", username], user).await;
            }
        }
    }

    /// Deletes a user.
    pub async fn delete_user(&self, username: &str) {
        match self {
            Self::Memory(broker) => broker.delete_user(username),
            Self::RabbitMq(management) => management.delete(&["users", username]).await,
        }
    }

    /// Sets what a user may do in `/`: configure, write, read.
    pub async fn set_permissions(&self, username: &str, patterns: [&str; 3]) {
        let [configure, write, read] = patterns;
        match self {
            Self::Memory(broker) => broker
                .set_permissions(username, "/", configure, write, read)
                .unwrap(),
            Self::RabbitMq(management) => {
                let patterns =
                    serde_json::json!({ "configure": configure, "write": write, "read": read });
                management
                    .put(&["permissions", "/", username], patterns)
                    .await;
            }
        }
    }

    /// Takes every permission in `/` from a user.
    pub async fn clear_permissions(&self, username: &str) {
        match self {
            Self::Memory(broker) => broker.clear_permissions(username, "/").unwrap(),
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
            Self::Memory(broker) => broker
                .set_topic_permissions(username, "/", exchange, write, read)
                .unwrap(),
            Self::RabbitMq(management) => {
                let limits =
                    serde_json::json!({ "exchange": exchange, "write": write, "read": read });
                management
                    .put(&["topic-permissions", "/", username], limits)
                    .await;
            }
        }
    }
}
