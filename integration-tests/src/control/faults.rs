//! What scenarios let go wrong, where RabbitMQ can be made to do the same.

use mooq_memory::faults::{FaultGuard, Outage};

use serde_json::json;

use super::{Control, Management, ctl};

/// A broker that is down until it is up again.
#[derive(Debug)]
pub enum Down {
    /// The in-memory broker.
    Memory(Outage),
    /// The RabbitMQ in this container.
    RabbitMq(ctl::Undo),
}

/// A broker that answers nothing until it goes on.
#[derive(Debug)]
pub enum Frozen {
    /// The in-memory broker.
    Memory(FaultGuard),
    /// The RabbitMQ in this container.
    RabbitMq(ctl::Undo),
}

/// A limit to the channels of a client.
#[derive(Debug)]
#[must_use = "in memory the limit is lifted when this is dropped"]
pub enum ChannelLimit {
    /// The in-memory broker's fault.
    Memory(FaultGuard),
    /// The limit of this user of RabbitMQ.
    RabbitMq(Management, String),
}

impl Control {
    /// Lets a client have so many channels. It calls its connection as its user is called.
    pub async fn limit_channels(&self, name: &str, max: u16) -> ChannelLimit {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                ChannelLimit::Memory(broker.faults().connection(name).limit_channels(max))
            }
            Self::RabbitMq(management) => {
                let path = ["user-limits", name, "max-channels"];
                management.put(&path, json!({ "value": max })).await;
                ChannelLimit::RabbitMq(management.clone(), name.into())
            }
        }
    }

    /// Closes the connections that their clients call so, with 320 and a text.
    pub async fn close_connections(&self, name: &str, text: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                let closed = broker.faults().connection(name).close_connections(text);
                assert!(closed > 0, "there is no connection '{name}'");
            }
            Self::RabbitMq(management) => {
                let close = format!("rabbit_networking:close_connection(Pid, \"{text}\")");
                ctl::with_connections(management.container(), name, &close).await;
            }
        }
    }

    /// Cuts the connections that their clients call so, without a word.
    pub async fn drop_connections(&self, name: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                let dropped = broker.faults().connection(name).drop_connections();
                assert!(dropped > 0, "there is no connection '{name}'");
            }
            Self::RabbitMq(management) => {
                ctl::with_connections(management.container(), name, "exit(Pid, kill)").await;
            }
        }
    }

    /// Deletes a queue of `/`, whoever uses it.
    pub async fn delete_queue(&self, name: &str) {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => {
                assert_eq!(broker.faults().queue(name).delete_queues(), 1);
            }
            Self::RabbitMq(management) => management.delete(&["queues", "/", name]).await,
        }
    }

    /// Stops the broker, until what is returned says otherwise or is dropped.
    pub async fn stop(&self) -> Down {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => Down::Memory(broker.faults().stop()),
            Self::RabbitMq(management) => {
                let container = management.container();
                ctl::rabbitmqctl(container, &["stop_app"]).await;
                let start = ["exec", container, "rabbitmqctl", "--quiet", "start_app"];
                Down::RabbitMq(ctl::Undo::by_docker(start))
            }
        }
    }

    /// Freezes the broker, until what is returned says otherwise or is dropped.
    pub async fn freeze(&self) -> Frozen {
        match self {
            Self::Memory(broker) | Self::Wire(broker) => Frozen::Memory(broker.faults().freeze()),
            Self::RabbitMq(management) => {
                let container = management.container();
                ctl::pause(container).await;
                Frozen::RabbitMq(ctl::Undo::by_docker(["unpause", container]))
            }
        }
    }
}

impl ChannelLimit {
    /// Lifts it.
    pub async fn lift(self) {
        if let Self::RabbitMq(management, user) = self {
            let path = ["user-limits", &*user, "max-channels"];
            management.delete(&path).await;
        }
    }
}

impl Down {
    /// Starts it.
    pub async fn start(self) {
        if let Self::RabbitMq(undo) = self {
            undo.now().await;
        }
    }
}

impl Frozen {
    /// Lets it go on.
    pub async fn thaw(self) {
        if let Self::RabbitMq(undo) = self {
            undo.now().await;
        }
    }
}
