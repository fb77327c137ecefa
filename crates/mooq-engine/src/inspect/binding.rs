//! Inspection of bindings.

use mooq_core::{BindingDestination, ExchangeName, FieldTable, QueueName, RoutingKey, VirtualHost};

use crate::Engine;
use crate::bindings::Destination;
use crate::erlang::phash2::{Term, phash2_whole};
use crate::erlang::term::table;

/// Snapshot of a binding.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BindingInfo {
    /// The exchange that messages come from.
    pub source: ExchangeName,
    /// The queue or exchange that messages go to.
    pub destination: BindingDestination,
    /// The key or pattern.
    pub routing_key: RoutingKey,
    /// The arguments, by which a headers exchange matches.
    pub arguments: FieldTable,
}

impl BindingInfo {
    /// Returns the queue that messages go to; none if they go to an exchange.
    #[must_use]
    pub fn queue(&self) -> Option<&QueueName> {
        match &self.destination {
            BindingDestination::Queue(name) => Some(name),
            BindingDestination::Exchange(_) => None,
        }
    }
}

impl BindingInfo {
    /// Returns the hash by which RabbitMQ's management plugin names the arguments: `phash2/2` of
    /// Erlang with a range of 2^32.
    #[must_use]
    pub fn arguments_hash(&self) -> u32 {
        phash2_whole(&Term::List(table(&self.arguments)))
    }
}

impl Engine {
    /// Returns the bindings of a virtual host whose source matches, sorted by source, destination
    /// (queues first) and key. Bindings from the default exchange to every queue are not included.
    #[must_use]
    pub fn bindings(&self, vhost: &VirtualHost, source: &str) -> Vec<BindingInfo> {
        let mut found = Vec::new();
        for exchange in self.matching_exchanges(vhost, source) {
            let from = found.len();
            for (destination, routing_key, arguments) in exchange.bindings.iter_all() {
                let Some(destination) = self.destination_named(destination) else {
                    continue;
                };
                found.push(BindingInfo {
                    source: exchange.name.clone(),
                    destination,
                    routing_key: routing_key.clone(),
                    arguments,
                });
            }
            if let Some(of_this) = found.get_mut(from..) {
                of_this.sort_by_cached_key(place);
            }
        }
        found
    }

    fn destination_named(&self, destination: Destination) -> Option<BindingDestination> {
        Some(match destination {
            Destination::Queue(key) => {
                BindingDestination::Queue(self.queues.get(key)?.name.clone())
            }
            Destination::Exchange(key) => {
                BindingDestination::Exchange(self.exchanges.get(key)?.name.clone())
            }
        })
    }
}

/// Returns the sort key of an exchange's bindings. Bindings that differ only in their arguments
/// stay in the order in which they were made.
fn place(binding: &BindingInfo) -> (bool, String, RoutingKey) {
    let (is_exchange, name) = match &binding.destination {
        BindingDestination::Queue(name) => (false, name.as_str()),
        BindingDestination::Exchange(name) => (true, name.as_str()),
    };
    (is_exchange, name.to_owned(), binding.routing_key.clone())
}
