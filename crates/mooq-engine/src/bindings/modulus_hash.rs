//! The index of a modulus hash exchange: the hash of the routing keys, modulo the number of
//! bindings.

use super::destinations::Destination;
use crate::erlang::phash2::{Term, phash2};

/// Every binding, in Erlang's order of destinations: exchanges before queues, then by name.
#[derive(Debug, Default)]
pub(crate) struct ModulusHashIndex {
    bindings: Vec<(bool, Box<str>, Destination)>,
}

impl ModulusHashIndex {
    pub(crate) fn add(&mut self, destination: Destination, name: &str) {
        let is_queue = matches!(destination, Destination::Queue(_));
        let place = (is_queue, name);
        let at = self
            .bindings
            .partition_point(|(is_queue, name, _)| (*is_queue, &**name) < place);
        self.bindings
            .insert(at, (is_queue, name.into(), destination));
    }

    pub(crate) fn remove(&mut self, destination: Destination) {
        let bindings = &mut self.bindings;
        if let Some(at) = bindings.iter().position(|(.., d)| *d == destination) {
            bindings.remove(at);
        }
    }

    pub(crate) fn route<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Option<Destination> {
        let keys = keys.map(|key| Term::Binary(key.as_bytes())).collect();
        let hash = phash2(&Term::List(keys)) as usize;
        let at = hash.checked_rem(self.bindings.len())?;
        self.bindings.get(at).map(|(.., destination)| *destination)
    }
}
