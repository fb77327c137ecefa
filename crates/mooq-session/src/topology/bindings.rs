//! Bindings of a connection, found by their destination: thousands of queues may be declared and
//! deleted.

use std::collections::hash_map::Entry;

use mooq_core::{Binding, BindingDestination, ExchangeName, FieldTable, RoutingKey};

use super::{Made, Map};

#[derive(Debug, Default)]
pub(super) struct Bindings {
    to: Map<BindingDestination, Map<Way, Vec<Made<FieldTable>>>>,
    /// Number of ways from an exchange to each of its destinations.
    from: Map<ExchangeName, Map<BindingDestination, usize>>,
}

/// The source and key by which a message gets to a destination.
type Way = (ExchangeName, RoutingKey);

impl Bindings {
    /// Adds a binding with its place in the order, unless there is an equal one.
    pub(super) fn add(&mut self, binding: &Binding, order: u64) {
        let to = self.to.entry(binding.destination.clone()).or_default();
        let made = to.entry(way(binding)).or_default();
        if made.is_empty() {
            let from = self.from.entry(binding.source.clone()).or_default();
            *from.entry(binding.destination.clone()).or_default() += 1;
        }
        if made.iter().all(|made| made.what != binding.arguments) {
            made.push(Made {
                order,
                what: binding.arguments.clone(),
            });
        }
    }

    pub(super) fn contains(&self, binding: &Binding) -> bool {
        let to = self.to.get(&binding.destination);
        let made = to.and_then(|to| to.get(&way(binding)));
        made.is_some_and(|made| made.iter().any(|made| made.what == binding.arguments))
    }

    /// Removes a binding. True if it was the last from its source.
    pub(super) fn remove(&mut self, binding: &Binding) -> bool {
        let Some(to) = self.to.get_mut(&binding.destination) else {
            return false;
        };
        let way = way(binding);
        let Some(made) = to.get_mut(&way) else {
            return false;
        };
        made.retain(|made| made.what != binding.arguments);
        if !made.is_empty() {
            return false;
        }
        to.remove(&way);
        if to.is_empty() {
            self.to.remove(&binding.destination);
        }
        self.way_gone(&binding.source, &binding.destination)
    }

    /// Removes the bindings to `destination`. Returns the sources that have no binding left.
    pub(super) fn remove_to(&mut self, destination: &BindingDestination) -> Vec<ExchangeName> {
        let gone = self.to.remove(destination).unwrap_or_default();
        let sources = gone.into_keys().map(|(source, _)| source);
        sources
            .filter(|source| self.way_gone(source, destination))
            .collect()
    }

    /// Removes the bindings from `source`.
    pub(super) fn remove_from(&mut self, source: &ExchangeName) {
        for destination in self.from.remove(source).unwrap_or_default().into_keys() {
            if let Entry::Occupied(mut to) = self.to.entry(destination) {
                to.get_mut().retain(|(from, _), _| from != source);
                if to.get().is_empty() {
                    to.remove();
                }
            }
        }
    }

    /// Moves the bindings to `old` over to `new`, which has none yet.
    pub(super) fn redirect(&mut self, old: &BindingDestination, new: BindingDestination) {
        let Some(moved) = self.to.remove(old) else {
            return;
        };
        for (source, _) in moved.keys() {
            if let Some(from) = self.from.get_mut(source)
                && let Some(ways) = from.remove(old)
            {
                from.insert(new.clone(), ways);
            }
        }
        self.to.insert(new, moved);
    }

    /// Returns the sources of the bindings to `destination`. An exchange can occur more than once.
    pub(super) fn sources(
        &self,
        destination: &BindingDestination,
    ) -> impl Iterator<Item = &ExchangeName> {
        let to = self.to.get(destination).into_iter();
        to.flat_map(Map::keys).map(|(source, _)| source)
    }

    /// Returns the bindings to `destination`, each with its place in the order.
    pub(super) fn to(
        &self,
        destination: &BindingDestination,
    ) -> impl Iterator<Item = Made<Binding>> {
        made(self.to.get_key_value(destination).into_iter())
    }

    /// Returns all bindings, each with its place in the order.
    pub(super) fn all(&self) -> impl Iterator<Item = Made<Binding>> {
        made(self.to.iter())
    }

    /// Counts one way less from `source`. True if it was the last.
    fn way_gone(&mut self, source: &ExchangeName, destination: &BindingDestination) -> bool {
        let Some(from) = self.from.get_mut(source) else {
            return false;
        };
        if let Some(ways) = from.get_mut(destination) {
            *ways -= 1;
            if *ways == 0 {
                from.remove(destination);
            }
        }
        if from.is_empty() {
            self.from.remove(source);
            return true;
        }
        false
    }
}

fn way(binding: &Binding) -> Way {
    (binding.source.clone(), binding.routing_key.clone())
}

fn made<'a>(
    to: impl Iterator<Item = (&'a BindingDestination, &'a Map<Way, Vec<Made<FieldTable>>>)>,
) -> impl Iterator<Item = Made<Binding>> {
    let ways =
        to.flat_map(|(destination, to)| to.iter().map(move |(way, made)| (destination, way, made)));
    ways.flat_map(|(destination, (source, routing_key), made)| {
        made.iter().map(move |made| Made {
            order: made.order,
            what: Binding {
                source: source.clone(),
                destination: destination.clone(),
                routing_key: routing_key.clone(),
                arguments: made.what.clone(),
            },
        })
    })
}
