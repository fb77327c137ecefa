//! The index of a direct exchange: binding keys by equality (AMQP 0-9-1, 3.1.3.1).

use std::collections::HashMap;

use foldhash::fast::RandomState;
use mooq_core::RoutingKey;

use super::destinations::{Destination, Destinations};

#[derive(Debug, Default)]
pub(crate) struct DirectIndex {
    by_key: HashMap<RoutingKey, Destinations, RandomState>,
}

impl DirectIndex {
    pub(crate) fn add(&mut self, key: &RoutingKey, destination: Destination) {
        self.by_key.entry(key.clone()).or_default().add(destination);
    }

    pub(crate) fn remove(&mut self, key: &RoutingKey, destination: Destination) {
        if let Some(destinations) = self.by_key.get_mut(key) {
            destinations.remove(destination);
            if destinations.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    /// Appends the destinations of `key` to `found`.
    pub(crate) fn route(&self, key: &str, found: &mut Vec<Destination>) {
        if let Some(destinations) = self.by_key.get(key) {
            found.extend(destinations.iter());
        }
    }
}
