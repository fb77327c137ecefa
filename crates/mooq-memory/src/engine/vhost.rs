//! A virtual host: a world of exchanges and queues of its own.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use mooq_core::{ExchangeName, QueueName};

use super::arena::Key;
use super::bindings::Routing;
use super::exchange::Exchange;
use super::policy::Policies;
use super::queue::Queue;
use super::reply_error::Resource;

#[derive(Debug)]
pub(crate) struct VirtualHost {
    pub(crate) name: mooq_core::VirtualHost,
    pub(crate) exchanges: HashMap<ExchangeName, Key<Exchange>, RandomState>,
    pub(crate) queues: HashMap<QueueName, Key<Queue>, RandomState>,
    pub(crate) policies: Policies,
    /// Those that operators of a broker lay over the ones of its users.
    pub(crate) operator_policies: Policies,
}

/// What every virtual host has from the beginning: name, kind, and whether only the broker itself
/// publishes to it.
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
            exchanges: HashMap::default(),
            queues: HashMap::default(),
            policies: Policies::default(),
            operator_policies: Policies::default(),
        }
    }

    /// A queue as error texts name it.
    pub(crate) fn queue<'a>(&'a self, name: &'a str) -> Resource<'a> {
        Resource {
            kind: "queue",
            name,
            vhost: &self.name,
        }
    }

    /// An exchange as error texts name it.
    pub(crate) fn exchange<'a>(&'a self, name: &'a str) -> Resource<'a> {
        Resource {
            kind: "exchange",
            name,
            vhost: &self.name,
        }
    }
}
