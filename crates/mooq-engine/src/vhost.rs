//! A virtual host: a namespace with its own exchanges and queues.

use std::collections::HashMap;

use super::bindings::Routing;
use super::ids::{ExchangeId, QueueId};
use super::policy::Policies;
use super::reply_error::Resource;
use foldhash::fast::RandomState;
use mooq_core::{ExchangeName, QueueName};

/// A virtual host's description, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VirtualHostMetadata {
    /// The description; empty for none.
    pub description: String,
    /// The tags.
    pub tags: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct VirtualHost {
    pub(crate) name: mooq_core::VirtualHost,
    pub(crate) metadata: VirtualHostMetadata,
    pub(crate) exchanges: HashMap<ExchangeName, ExchangeId, RandomState>,
    pub(crate) queues: HashMap<QueueName, QueueId, RandomState>,
    pub(crate) policies: Policies,
    /// Operators' policies, which are merged with those of users.
    pub(crate) operator_policies: Policies,
}

/// The predeclared exchanges of every virtual host: name, kind, and true if only the broker itself
/// publishes to the exchange.
pub(crate) const PREDECLARED: [(&str, Routing, bool); 7] = [
    ("", Routing::Direct, false),
    ("amq.direct", Routing::Direct, false),
    ("amq.fanout", Routing::Fanout, false),
    ("amq.topic", Routing::Topic, false),
    ("amq.headers", Routing::Headers, false),
    ("amq.match", Routing::Headers, false),
    ("amq.rabbitmq.trace", Routing::Topic, true),
];

impl VirtualHost {
    pub(crate) fn new(name: mooq_core::VirtualHost) -> Self {
        Self {
            name,
            metadata: VirtualHostMetadata::default(),
            exchanges: HashMap::default(),
            queues: HashMap::default(),
            policies: Policies::default(),
            operator_policies: Policies::default(),
        }
    }

    /// Returns a queue as error texts name it.
    pub(crate) fn queue<'a>(&'a self, name: &'a str) -> Resource<'a> {
        Resource {
            kind: "queue",
            name,
            vhost: &self.name,
        }
    }

    /// Returns an exchange as error texts name it.
    pub(crate) fn exchange<'a>(&'a self, name: &'a str) -> Resource<'a> {
        Resource {
            kind: "exchange",
            name,
            vhost: &self.name,
        }
    }
}
