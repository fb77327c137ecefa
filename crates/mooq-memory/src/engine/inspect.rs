//! A look at what there is, for tests that ask more than a client can.

use glob_match::glob_match;
use mooq_core::{ExchangeKind, ExchangeName, QueueName, VirtualHost};

use super::Engine;
use super::bindings::Routing;
use super::queue::tally::QueueTally;

/// A queue as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// How many messages are ready for delivery.
    pub ready: u64,
    /// How many are delivered and not settled.
    pub unacked: u64,
    /// How many came, and what has become of those that left.
    pub tally: QueueTally,
    /// How many consumers it has.
    pub consumers: u32,
    /// It survives a restart.
    pub durable: bool,
    /// Only one connection may use it.
    pub exclusive: bool,
    /// It goes when its last consumer goes.
    pub auto_delete: bool,
}

/// An exchange as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeInfo {
    /// Its name.
    pub name: ExchangeName,
    /// How it routes.
    pub kind: ExchangeKind,
    /// It survives a restart.
    pub durable: bool,
    /// It goes when its last binding as source goes.
    pub auto_delete: bool,
    /// Only other exchanges may publish to it.
    pub internal: bool,
}

impl Engine {
    /// The queues of a virtual host whose names match a
    /// [glob](https://docs.rs/glob-match), for example `orders-*`, by name.
    #[must_use]
    pub fn queues(&self, vhost: &VirtualHost, glob: &str) -> Vec<QueueInfo> {
        let vhost = self
            .vhosts_by_name
            .get(vhost)
            .and_then(|key| self.vhosts.get(*key));
        let keys = vhost.into_iter().flat_map(|vhost| vhost.queues.values());
        let mut found: Vec<_> = keys
            .filter_map(|key| self.queues.get(*key))
            .filter(|queue| glob_match(glob, &queue.name))
            .map(|queue| QueueInfo {
                name: queue.name.clone(),
                ready: queue.ready.len() as u64,
                unacked: queue.unacked,
                tally: queue.tally,
                consumers: queue.consumer_count(),
                durable: queue.durable,
                exclusive: queue.owner.is_some(),
                auto_delete: queue.auto_delete,
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// The exchanges of a virtual host whose names match a
    /// [glob](https://docs.rs/glob-match), by name, those that every virtual host has included.
    #[must_use]
    pub fn exchanges(&self, vhost: &VirtualHost, glob: &str) -> Vec<ExchangeInfo> {
        let vhost = self
            .vhosts_by_name
            .get(vhost)
            .and_then(|key| self.vhosts.get(*key));
        let keys = vhost.into_iter().flat_map(|vhost| vhost.exchanges.values());
        let mut found: Vec<_> = keys
            .filter_map(|key| self.exchanges.get(*key))
            .filter(|exchange| glob_match(glob, &exchange.name))
            .map(|exchange| ExchangeInfo {
                name: exchange.name.clone(),
                kind: exchange.kind.into(),
                durable: exchange.durable,
                auto_delete: exchange.auto_delete,
                internal: exchange.internal,
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

impl From<Routing> for ExchangeKind {
    fn from(routing: Routing) -> Self {
        match routing {
            Routing::Direct => Self::Direct,
            Routing::Topic => Self::Topic,
            Routing::Fanout => Self::Fanout,
            Routing::Headers => Self::Headers,
        }
    }
}
