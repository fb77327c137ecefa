//! The bindings of one exchange, and the index by which it routes: one file per exchange kind.

mod destinations;
mod direct;
mod headers;
mod topic;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use mooq_core::{ExchangeKind, FieldTable, RoutingKey};

pub(crate) use destinations::Destination;
use destinations::Destinations;
use direct::DirectIndex;
use headers::HeadersIndex;
use topic::TopicIndex;

use super::profile::Profile;
use super::reply_error::ReplyError;

/// The bindings of which one exchange is the source.
#[derive(Debug)]
pub(crate) struct Bindings {
    /// Every binding once: destination, key and arguments are its identity.
    known: HashMap<(Destination, RoutingKey), Variants, RandomState>,
    index: Index,
}

/// The bindings that differ in nothing but their arguments.
#[derive(Debug, Default)]
struct Variants {
    /// The one without arguments, which is most often the only one.
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
}

impl Bindings {
    pub(crate) fn new(kind: Routing, profile: Profile) -> Self {
        let index = match kind {
            Routing::Direct => Index::Direct(DirectIndex::default()),
            Routing::Topic => Index::Topic(TopicIndex::default()),
            Routing::Fanout => Index::Fanout(Destinations::default()),
            Routing::Headers => Index::Headers(HeadersIndex::new(profile)),
        };
        Self {
            known: HashMap::default(),
            index,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Checks what the exchange's kind asks of a binding.
    pub(crate) fn validate(
        &self,
        key: &RoutingKey,
        arguments: &FieldTable,
        profile: Profile,
    ) -> Result<(), ReplyError> {
        match self.index {
            Index::Headers(_) => headers::validate(arguments),
            Index::Topic(_) => topic::validate(key, profile),
            _ => Ok(()),
        }
    }

    /// Whether there is this very binding.
    pub(crate) fn contains(
        &self,
        destination: Destination,
        key: &RoutingKey,
        arguments: &FieldTable,
    ) -> bool {
        let variants = self.known.get(&(destination, key.clone()));
        variants.is_some_and(|variants| variants.contains(arguments))
    }

    /// Adds a binding. One that is there already stays as it is.
    pub(crate) fn add(
        &mut self,
        destination: Destination,
        key: &RoutingKey,
        arguments: &FieldTable,
    ) {
        let variants = self.known.entry((destination, key.clone())).or_default();
        if variants.contains(arguments) {
            return;
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
        }
    }

    /// Removes a binding. Says whether others with the same destination and key are left.
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

    /// Each destination and key that is bound, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Destination, &RoutingKey)> {
        self.known
            .keys()
            .map(|(destination, key)| (*destination, key))
    }

    /// Every binding, in no order but that of bindings that differ in nothing but arguments.
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

    /// Appends the destinations of a message to `found`. A destination that several bindings
    /// lead to may be in it several times.
    pub(crate) fn route<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a str>,
        headers: &FieldTable,
        found: &mut Vec<Destination>,
    ) {
        match &mut self.index {
            Index::Direct(index) => keys.for_each(|key| index.route(key, found)),
            Index::Topic(index) => keys.for_each(|key| index.route(key, found)),
            Index::Fanout(all) => found.extend(all.iter()),
            Index::Headers(index) => index.route(headers, found),
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

/// The exchange kinds that a broker without plugins has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    Direct,
    Topic,
    Fanout,
    Headers,
}

impl Routing {
    /// None for a kind that only a plugin would bring.
    pub(crate) fn of(kind: &ExchangeKind) -> Option<Self> {
        Some(match kind {
            ExchangeKind::Direct => Self::Direct,
            ExchangeKind::Topic => Self::Topic,
            ExchangeKind::Fanout => Self::Fanout,
            ExchangeKind::Headers => Self::Headers,
            _ => return None,
        })
    }

    /// The kind's name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
        }
    }
}
