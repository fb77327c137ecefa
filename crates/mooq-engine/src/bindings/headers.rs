//! The index of a headers exchange: binding arguments against the headers of messages
//! ([RabbitMQ's headers exchange](https://www.rabbitmq.com/docs/exchanges#headers)).
//!
//! A scan over all bindings would make each publish pay for every binding there is. So a binding
//! is filed under one of the headers it asks for (`all`) or under each of them (`any`), and a
//! publish looks only at the bindings filed under the headers that it has.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use mooq_core::{FieldTable, FieldValue};

use super::destinations::Destination;
use crate::erlang::term::{binary_after, value_after};
use crate::profile::Profile;
use crate::reply_error::{ReplyError, type_name};

#[derive(Debug)]
pub(crate) struct HeadersIndex {
    /// Profile by whose rules values are compared.
    profile: Profile,
    bindings: HashMap<BindingId, HeadersBinding, RandomState>,
    next_id: BindingId,
    /// Bindings by the hash of a header's key and value, or of its key alone if any value matches.
    /// Hashes of different headers may be equal: a binding found here is only a candidate.
    filed: HashMap<u64, Vec<BindingId>, RandomState>,
    /// Bindings that ask for nothing, and so match everything.
    unconditional: Vec<BindingId>,
    hasher: RandomState,
}

type BindingId = u64;

#[derive(Debug, PartialEq)]
struct HeadersBinding {
    matching: HeadersMatch,
    destination: Destination,
    arguments: FieldTable,
}

/// The argument `x-match`: the rule for how many of a binding's arguments a message must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeadersMatch {
    /// True if one argument suffices.
    any: bool,
    /// True if arguments that begin with `x-` count as well.
    with_x: bool,
}

impl HeadersMatch {
    fn of(arguments: &FieldTable) -> Self {
        let (any, with_x) = match arguments.get("x-match").and_then(text) {
            Some(b"any") => (true, false),
            Some(b"any-with-x") => (true, true),
            Some(b"all-with-x") => (false, true),
            _ => (false, false),
        };
        Self { any, with_x }
    }

    /// Returns true if an argument of this name is one to match.
    fn counts(self, key: &str) -> bool {
        if self.with_x {
            key != "x-match"
        } else {
            !key.starts_with("x-")
        }
    }
}

/// Checks the arguments of a binding to a headers exchange.
pub(crate) fn validate(arguments: &FieldTable, profile: Profile) -> Result<(), ReplyError> {
    match arguments.get("x-match") {
        None => Ok(()),
        Some(FieldValue::String(how)) => match how.as_str() {
            "all" | "any" | "all-with-x" | "any-with-x" => Ok(()),
            other => Err(ReplyError::precondition_failed(format!(
                "{}; expected all, any, all-with-x, or any-with-x",
                binary_after("Invalid x-match field value ", other, profile)
            ))),
        },
        Some(other) => {
            let before = format!("Invalid x-match field type {} (value ", type_name(other));
            Err(ReplyError::precondition_failed(format!(
                "{}); expected longstr",
                value_after(&before, other, profile)
            )))
        }
    }
}

impl HeadersIndex {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            profile,
            bindings: HashMap::default(),
            next_id: 0,
            filed: HashMap::default(),
            unconditional: Vec::new(),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn add(&mut self, arguments: &FieldTable, destination: Destination) {
        let binding = HeadersBinding {
            matching: HeadersMatch::of(arguments),
            destination,
            arguments: arguments.clone(),
        };
        let mut hashes: Vec<_> = self.hashes(&binding).collect();
        if binding.matching.any && hashes.is_empty() {
            return; // It never matches.
        }
        let id = self.next_id;
        self.next_id += 1;
        if !binding.matching.any {
            // Any one of the headers will do; the rarest so far makes the fewest candidates.
            let rarest = |hash: &u64| self.filed.get(hash).map_or(0, Vec::len);
            match hashes.iter().copied().min_by_key(rarest) {
                Some(hash) => hashes = vec![hash],
                None => self.unconditional.push(id),
            }
        }
        for hash in hashes {
            self.filed.entry(hash).or_default().push(id);
        }
        self.bindings.insert(id, binding);
    }

    pub(crate) fn remove(&mut self, arguments: &FieldTable, destination: Destination) {
        let sought = HeadersBinding {
            matching: HeadersMatch::of(arguments),
            destination,
            arguments: arguments.clone(),
        };
        let hashes: Vec<_> = self.hashes(&sought).collect();
        let filed = hashes
            .iter()
            .filter_map(|hash| self.filed.get(hash))
            .flatten();
        let found = filed
            .chain(&self.unconditional)
            .find(|id| self.bindings.get(*id) == Some(&sought));
        let Some(&id) = found else {
            return;
        };
        self.bindings.remove(&id);
        self.unconditional.retain(|other| *other != id);
        for hash in hashes {
            if let Some(ids) = self.filed.get_mut(&hash) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.filed.remove(&hash);
                }
            }
        }
    }

    /// Appends the destinations of a message with these headers to `found`. A destination may be
    /// appended several times.
    pub(crate) fn route(&self, headers: &FieldTable, found: &mut Vec<Destination>) {
        self.take_matching(&self.unconditional, headers, found);
        for (key, value) in headers {
            for hash in [
                self.hash(key, &FieldValue::Void),
                self.hash_of_header(key, value),
            ] {
                if let Some(ids) = self.filed.get(&hash) {
                    self.take_matching(ids, headers, found);
                }
            }
        }
    }

    fn take_matching(&self, ids: &[BindingId], headers: &FieldTable, found: &mut Vec<Destination>) {
        for id in ids {
            if let Some(binding) = self.bindings.get(id)
                && binding.matches(headers, self.profile)
            {
                found.push(binding.destination);
            }
        }
    }

    /// Returns the hashes under which a binding may be filed.
    fn hashes<'a>(&'a self, binding: &'a HeadersBinding) -> impl Iterator<Item = u64> + 'a {
        binding.wanted().map(|(key, value)| self.hash(key, value))
    }

    /// Returns the hash of an argument. Void stands for any value.
    fn hash(&self, key: &str, value: &FieldValue) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        hash_value(value, self.profile, &mut hasher);
        hasher.finish()
    }

    fn hash_of_header(&self, key: &str, value: &FieldValue) -> u64 {
        match routing_value(value, self.profile) {
            Some(seen) => self.hash(key, &seen),
            None => self.hash(key, value),
        }
    }
}

impl HeadersBinding {
    /// Returns the arguments to match.
    fn wanted(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        let counting = |(key, _): &(&mooq_core::ShortString, _)| self.matching.counts(key);
        self.arguments
            .iter()
            .filter(counting)
            .map(|(key, value)| (key.as_str(), value))
    }

    fn matches(&self, headers: &FieldTable, profile: Profile) -> bool {
        let has = |(key, wanted): (&str, &FieldValue)| match headers.get(key) {
            None => false,
            Some(_) if *wanted == FieldValue::Void => true,
            Some(value) => match routing_value(value, profile) {
                Some(seen) => same_value(wanted, &seen, profile),
                None => same_value(wanted, value, profile),
            },
        };
        if self.matching.any {
            self.wanted().any(has)
        } else {
            self.wanted().all(has)
        }
    }
}

/// Returns a header's value as RabbitMQ's routing sees it, if the two differ.
fn routing_value(value: &FieldValue, profile: Profile) -> Option<FieldValue> {
    match value {
        FieldValue::Timestamp(seconds) if profile.routes_by_milliseconds() => {
            let millis = seconds.saturating_mul(1000);
            Some(FieldValue::I64(i64::try_from(millis).unwrap_or(i64::MAX)))
        }
        _ => None,
    }
}

/// Compares two values as Erlang does. Widths and the difference between text and bytes belong to
/// the wire format and do not count. The difference between 1 and 1.0 counts in most versions.
fn same_value(a: &FieldValue, b: &FieldValue, profile: Profile) -> bool {
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (text(a), text(b)) {
        return a == b;
    }
    if profile.integers_match_floats()
        && let (Some(a), Some(b)) = (number(a), number(b))
    {
        return a.to_bits() == b.to_bits();
    }
    if let (Some(a), Some(b)) = (float(a), float(b)) {
        return a.to_bits() == b.to_bits();
    }
    a == b
}

/// Hashes a value. Values that are the same have equal hashes. Arrays all share one hash, as do
/// tables, since few bindings ask for one.
fn hash_value(value: &FieldValue, profile: Profile, hasher: &mut impl Hasher) {
    if profile.integers_match_floats()
        && let Some(number) = number(value)
    {
        number.to_bits().hash(hasher);
    } else if let Some(integer) = integer(value) {
        integer.hash(hasher);
    } else if let Some(text) = text(value) {
        text.hash(hasher);
    } else if let Some(float) = float(value) {
        float.to_bits().hash(hasher);
    } else {
        std::mem::discriminant(value).hash(hasher);
    }
}

fn integer(value: &FieldValue) -> Option<i64> {
    match value {
        FieldValue::Timestamp(seconds) => i64::try_from(*seconds).ok(),
        other => other.as_i64(),
    }
}

fn float(value: &FieldValue) -> Option<f64> {
    match value {
        FieldValue::F32(v) => Some((*v).into()),
        FieldValue::F64(v) => Some(*v),
        _ => None,
    }
}

/// Returns an integer or a float as a float. Integers beyond 2^53 are not all distinct then, but
/// two integers are compared as integers.
fn number(value: &FieldValue) -> Option<f64> {
    // Erlang's comparison does not distinguish the two zeros.
    let unsigned_zero = |number: f64| if number == 0.0 { 0.0 } else { number };
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let integer = integer(value).map(|integer| integer as f64);
    integer.or_else(|| float(value)).map(unsigned_zero)
}

fn text(value: &FieldValue) -> Option<&[u8]> {
    match value {
        FieldValue::String(v) => Some(v.as_bytes()),
        FieldValue::Bytes(v) => Some(v),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
