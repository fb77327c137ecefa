//! The bindings of one exchange, and the index by which it routes: one file per exchange kind.

mod consistent_hash;
mod destinations;
mod direct;
mod headers;
mod modulus_hash;
mod random;
mod routing;
mod topic;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use mooq_core::{FieldTable, RoutingKey};

use consistent_hash::ConsistentHashIndex;
pub(crate) use destinations::Destination;
use destinations::Destinations;
use direct::DirectIndex;
use headers::HeadersIndex;
use modulus_hash::ModulusHashIndex;
use random::RandomIndex;
pub(crate) use routing::Routing;
use topic::TopicIndex;

use super::history;
use super::profile::Profile;
use super::random::Random;
use super::reply_error::ReplyError;
use crate::message::Accepted;

/// Bindings of which one exchange is the source.
#[derive(Debug)]
pub(crate) struct Bindings {
    /// Every binding once: destination, key and arguments are its identity.
    known: HashMap<(Destination, RoutingKey), Variants, RandomState>,
    kind: Routing,
    index: Index,
}

/// Kind of a binding's destination: some exchange kinds accept only certain kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DestinationKind {
    ClassicQueue,
    QuorumQueue,
    Exchange,
}

/// Checks the arguments of a new exchange by the rules of its kind.
pub(crate) fn validate_arguments(
    kind: Routing,
    arguments: &FieldTable,
    profile: Profile,
) -> Result<(), ReplyError> {
    match kind {
        Routing::ConsistentHash => consistent_hash::validate_arguments(arguments),
        Routing::RecentHistory => history::validate_arguments(arguments, profile),
        _ => Ok(()),
    }
}

/// Bindings that differ only in their arguments.
#[derive(Debug, Default)]
struct Variants {
    /// True if there is a binding without arguments, which is most often the only one.
    plain: bool,
    with_arguments: Vec<FieldTable>,
}

#[derive(Debug)]
enum Index {
    Direct(DirectIndex),
    Topic(TopicIndex),
    /// Keys do not matter (AMQP 0-9-1, 3.1.3.2).
    Fanout(Destinations),
    Headers(HeadersIndex),
    Random(RandomIndex),
    ModulusHash(ModulusHashIndex),
    ConsistentHash(ConsistentHashIndex),
}

impl Bindings {
    /// Creates the bindings of a new exchange with these arguments.
    pub(crate) fn new(kind: Routing, arguments: &FieldTable, profile: Profile) -> Self {
        let index = match kind {
            Routing::Direct => Index::Direct(DirectIndex::default()),
            Routing::Topic => Index::Topic(TopicIndex::default()),
            // An exchange that delays has the bindings of another kind.
            Routing::Fanout | Routing::RecentHistory | Routing::DelayedMessage => {
                Index::Fanout(Destinations::default())
            }
            Routing::Headers => Index::Headers(HeadersIndex::new(profile)),
            Routing::LocalRandom | Routing::Random => Index::Random(RandomIndex::default()),
            Routing::ModulusHash => Index::ModulusHash(ModulusHashIndex::default()),
            Routing::ConsistentHash => {
                Index::ConsistentHash(ConsistentHashIndex::new(arguments, profile))
            }
        };
        Self {
            known: HashMap::default(),
            kind,
            index,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Checks a binding by the rules of the exchange's kind.
    pub(crate) fn validate(
        &self,
        key: &RoutingKey,
        arguments: &FieldTable,
        target: DestinationKind,
        profile: Profile,
    ) -> Result<(), ReplyError> {
        match self.kind {
            Routing::Headers => headers::validate(arguments, profile),
            Routing::Topic => topic::validate(key, profile),
            Routing::LocalRandom => random::validate_local(key, target),
            Routing::ConsistentHash => consistent_hash::validate(key, profile),
            _ => Ok(()),
        }
    }

    /// Returns true if exactly this binding exists.
    pub(crate) fn contains(
        &self,
        destination: Destination,
        key: &RoutingKey,
        arguments: &FieldTable,
    ) -> bool {
        let variants = self.known.get(&(destination, key.clone()));
        variants.is_some_and(|variants| variants.contains(arguments))
    }

    /// Adds a binding to the destination of this name. Returns true if the binding is new. An
    /// existing binding stays as it is.
    pub(crate) fn add(
        &mut self,
        destination: Destination,
        name: &str,
        key: &RoutingKey,
        arguments: &FieldTable,
    ) -> bool {
        let variants = self.known.entry((destination, key.clone())).or_default();
        if variants.contains(arguments) {
            return false;
        }
        if arguments.is_empty() {
            variants.plain = true;
        } else {
            variants.with_arguments.push(arguments.clone());
        }
        match &mut self.index {
            Index::Direct(index) => index.add(key, destination),
            Index::Topic(index) => index.add(key, destination),
            Index::Fanout(all) => all.add(destination),
            Index::Headers(index) => index.add(arguments, destination),
            Index::Random(index) => index.add(destination),
            Index::ModulusHash(index) => index.add(destination, name),
            Index::ConsistentHash(index) => index.add(destination, key),
        }
        true
    }

    /// Returns true if the order in which the bindings were made decides the routing.
    pub(crate) fn are_ordered(&self) -> bool {
        matches!(self.index, Index::ConsistentHash(_))
    }

    /// Brings the bindings into another order.
    pub(crate) fn reorder(&mut self, order: &[(Destination, RoutingKey)]) {
        if let Index::ConsistentHash(index) = &mut self.index {
            index.clear();
            for (destination, key) in order {
                index.add(*destination, key);
            }
        }
    }

    /// Removes a binding. Returns true if others with the same destination and key are left.
    pub(crate) fn remove(
        &mut self,
        destination: Destination,
        key: &RoutingKey,
        arguments: &FieldTable,
    ) -> bool {
        let of = (destination, key.clone());
        let Some(variants) = self.known.get_mut(&of) else {
            return false;
        };
        let was_there = variants.contains(arguments);
        if arguments.is_empty() {
            variants.plain = false;
        } else {
            variants.with_arguments.retain(|other| other != arguments);
        }
        let others = variants.plain || !variants.with_arguments.is_empty();
        if !others {
            self.known.remove(&of);
        }
        if was_there {
            self.index.remove(destination, key, arguments);
        }
        others
    }

    /// Removes all bindings with this destination and key.
    pub(crate) fn remove_all(&mut self, destination: Destination, key: &RoutingKey) {
        let Some(variants) = self.known.remove(&(destination, key.clone())) else {
            return;
        };
        if variants.plain {
            self.index.remove(destination, key, &FieldTable::new());
        }
        for arguments in &variants.with_arguments {
            self.index.remove(destination, key, arguments);
        }
    }

    /// Returns each destination and key that is bound, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Destination, &RoutingKey)> {
        self.known
            .keys()
            .map(|(destination, key)| (*destination, key))
    }

    /// Returns every binding, in no order, except that bindings that differ only in their arguments
    /// keep their order.
    pub(crate) fn iter_all(&self) -> impl Iterator<Item = (Destination, &RoutingKey, FieldTable)> {
        self.known
            .iter()
            .flat_map(|((destination, key), variants)| {
                let plain = variants.plain.then(FieldTable::new);
                let arguments = plain
                    .into_iter()
                    .chain(variants.with_arguments.iter().cloned());
                arguments.map(move |arguments| (*destination, key, arguments))
            })
    }

    /// Appends the destinations of a message to `found`. A destination that several bindings lead
    /// to may be appended several times.
    pub(crate) fn route(
        &mut self,
        accepted: &Accepted,
        random: &mut Random,
        found: &mut Vec<Destination>,
    ) {
        let keys = accepted.keys();
        match &mut self.index {
            Index::Direct(index) => keys.for_each(|key| index.route(key, found)),
            Index::Topic(index) => keys.for_each(|key| index.route(key, found)),
            Index::Fanout(all) => found.extend(all.iter()),
            Index::Headers(index) => index.route(&accepted.message.properties.headers, found),
            Index::Random(index) => found.extend(index.route(random)),
            Index::ModulusHash(index) => found.extend(index.route(keys)),
            Index::ConsistentHash(index) => found.extend(index.route(accepted)),
        }
    }
}

impl Index {
    fn remove(&mut self, destination: Destination, key: &RoutingKey, arguments: &FieldTable) {
        match self {
            Self::Direct(index) => index.remove(key, destination),
            Self::Topic(index) => index.remove(key, destination),
            Self::Fanout(all) => all.remove(destination),
            Self::Headers(index) => index.remove(arguments, destination),
            Self::Random(index) => index.remove(destination),
            Self::ModulusHash(index) => index.remove(destination),
            Self::ConsistentHash(index) => index.remove(destination),
        }
    }
}

impl Variants {
    fn contains(&self, arguments: &FieldTable) -> bool {
        if arguments.is_empty() {
            self.plain
        } else {
            self.with_arguments.contains(arguments)
        }
    }
}
