//! Destinations that one key leads to.

use std::collections::HashMap;

use crate::ids::{ExchangeId, QueueId};
use foldhash::fast::RandomState;

/// Destination of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    Queue(QueueId),
    Exchange(ExchangeId),
}

/// Number of destinations above which their places are looked up rather than searched for.
const SEARCH_LIMIT: usize = 16;

/// Destinations, each once, however many bindings lead to it.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    list: Vec<Counted>,
    /// Index of each destination in `list`, once there are many.
    places: Option<Box<Places>>,
}

/// Index of each destination. Boxed, because a trie has a node with one destination for each of its
/// bindings.
#[derive(Debug)]
struct Places(HashMap<Destination, usize, RandomState>);

#[derive(Debug)]
struct Counted {
    destination: Destination,
    bindings: u32,
}

impl Destinations {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Destination> + '_ {
        self.list.iter().map(|counted| counted.destination)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn add(&mut self, destination: Destination) {
        if let Some(counted) = self.place(destination).and_then(|at| self.list.get_mut(at)) {
            counted.bindings += 1;
            return;
        }
        if let Some(places) = &mut self.places {
            places.0.insert(destination, self.list.len());
        }
        self.list.push(Counted {
            destination,
            bindings: 1,
        });
        if self.places.is_none() && self.list.len() > SEARCH_LIMIT {
            let places = self.iter().enumerate().map(|(at, d)| (d, at)).collect();
            self.places = Some(Box::new(Places(places)));
        }
    }

    pub(crate) fn remove(&mut self, destination: Destination) {
        let Some(at) = self.place(destination) else {
            return;
        };
        let Some(counted) = self.list.get_mut(at) else {
            return;
        };
        counted.bindings -= 1;
        if counted.bindings > 0 {
            return;
        }
        self.list.swap_remove(at);
        if let Some(places) = &mut self.places {
            places.0.remove(&destination);
            if let Some(moved) = self.list.get(at) {
                places.0.insert(moved.destination, at);
            }
        }
    }

    fn place(&self, destination: Destination) -> Option<usize> {
        match &self.places {
            Some(places) => places.0.get(&destination).copied(),
            None => self.iter().position(|d| d == destination),
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn a_destination_goes_with_its_last_binding_among_few_and_among_many() {
        let mut keys = SlotMap::with_key();
        let all: Vec<_> = (0..2 * SEARCH_LIMIT)
            .map(|_| Destination::Queue(keys.insert(())))
            .collect();
        let mut destinations = Destinations::default();
        for destination in all.iter().chain(&all) {
            destinations.add(*destination);
        }
        assert_eq!(destinations.iter().count(), all.len());
        for destination in &all {
            destinations.remove(*destination);
            assert!(destinations.iter().any(|d| d == *destination));
        }
        for destination in all.iter().rev() {
            destinations.remove(*destination);
            assert!(destinations.iter().all(|d| d != *destination));
        }
        assert!(destinations.is_empty());
    }
}
