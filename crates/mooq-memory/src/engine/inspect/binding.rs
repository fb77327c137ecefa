//! A look at bindings.

use mooq_core::{BindingDestination, ExchangeName, FieldTable, QueueName, RoutingKey, VirtualHost};

use crate::engine::Engine;
use crate::engine::bindings::Destination;

/// A binding as it is at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BindingInfo {
    /// The exchange that messages come from.
    pub source: ExchangeName,
    /// The queue or exchange that they go to.
    pub destination: BindingDestination,
    /// The key or pattern.
    pub routing_key: RoutingKey,
    /// What a headers exchange matches by.
    pub arguments: FieldTable,
}

impl BindingInfo {
    /// The queue that messages go to, unless it is an exchange.
    #[must_use]
    pub fn queue(&self) -> Option<&QueueName> {
        match &self.destination {
            BindingDestination::Queue(name) => Some(name),
            BindingDestination::Exchange(_) => None,
        }
    }
}

impl Engine {
    /// The bindings of a virtual host whose source matches, by source, destination (queues
    /// first) and key. Those that lead from the default exchange to every queue are not among
    /// them.
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

/// What bindings of one exchange are sorted by. Those that differ in nothing but arguments stand
/// in the order in which they were made.
fn place(binding: &BindingInfo) -> (bool, String, RoutingKey) {
    let (is_exchange, name) = match &binding.destination {
        BindingDestination::Queue(name) => (false, name.as_str()),
        BindingDestination::Exchange(name) => (true, name.as_str()),
    };
    (is_exchange, name.to_owned(), binding.routing_key.clone())
}
