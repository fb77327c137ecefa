//! The index of a consistent hash exchange
//! ([the plugin](https://github.com/rabbitmq/rabbitmq-server/tree/main/deps/rabbitmq_consistent_hash_exchange)):
//! a row of buckets, in which each destination has as many buckets as its weight says, and the hash
//! that puts a message into one of the buckets.

use mooq_core::{FieldTable, FieldValue, Message};

use super::destinations::Destination;
use crate::erlang::exs1024::Exs1024;
use crate::erlang::phash2::{Term, phash2};
use crate::erlang::term::{binary_after, term, typed};
use crate::message::Accepted;
use crate::profile::Profile;
use crate::reply_error::ReplyError;

#[derive(Debug)]
pub(crate) struct ConsistentHashIndex {
    profile: Profile,
    hash_on: HashOn,
    /// Destinations with the number of buckets that each has, in the order in which they came.
    arcs: Vec<(Destination, u64)>,
}

/// The part of a message that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HashOn {
    RoutingKey,
    Header(String),
    CorrelationId,
    MessageId,
    Timestamp,
}

impl HashOn {
    /// Reads the part to hash from an exchange's arguments.
    fn of(arguments: &FieldTable) -> Result<Self, ReplyError> {
        // Arguments of another type crash the plugin.
        let text = |name| match arguments.get(name) {
            None => Ok(None),
            Some(FieldValue::String(text)) => Ok(Some(text)),
            Some(_) => Err(ReplyError::crash()),
        };
        match (text("hash-header")?, text("hash-property")?) {
            (None, None) => Ok(Self::RoutingKey),
            (Some(header), None) => Ok(Self::Header(header.clone())),
            (None, Some(property)) => match property.as_str() {
                "correlation_id" => Ok(Self::CorrelationId),
                "message_id" => Ok(Self::MessageId),
                "timestamp" => Ok(Self::Timestamp),
                other => Err(ReplyError::precondition_failed(format!(
                    "Unsupported property: {other}"
                ))),
            },
            (Some(_), Some(_)) => Err(ReplyError::precondition_failed(
                "hash-header and hash-property are mutually exclusive",
            )),
        }
    }
}

/// Checks the arguments of a new exchange.
pub(crate) fn validate_arguments(arguments: &FieldTable) -> Result<(), ReplyError> {
    HashOn::of(arguments).map(|_| ())
}

/// Checks the key of a binding, which is a weight.
pub(crate) fn validate(key: &str, profile: Profile) -> Result<(), ReplyError> {
    let Some(weight) = weight(key) else {
        return Err(ReplyError::precondition_failed(binary_after(
            "The binding key must be an integer: ",
            key,
            profile,
        )));
    };
    match profile.max_hash_weight() {
        _ if weight == 0 => Err(ReplyError::precondition_failed(
            "The binding key must be greater than 0",
        )),
        Some(max) if weight > max => Err(ReplyError::precondition_failed(format!(
            "The binding key must not exceed {max}"
        ))),
        _ => Ok(()),
    }
}

/// Returns the weight that a key stands for: 0 if the key is negative, none if the key is not an
/// integer.
fn weight(key: &str) -> Option<u64> {
    let digits = key.strip_prefix(['+', '-']).unwrap_or(key);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if key.starts_with('-') {
        return Some(0);
    }
    // A weight beyond the range of `u64` is as good as all buckets.
    Some(digits.parse().unwrap_or(u64::MAX))
}

impl ConsistentHashIndex {
    /// Creates the index of an exchange whose arguments were validated.
    pub(crate) fn new(arguments: &FieldTable, profile: Profile) -> Self {
        Self {
            profile,
            hash_on: HashOn::of(arguments).unwrap_or(HashOn::RoutingKey),
            arcs: Vec::new(),
        }
    }

    /// Adds a destination. A destination that is there already keeps its weight.
    pub(crate) fn add(&mut self, destination: Destination, key: &str) {
        if self.arcs.iter().all(|(other, _)| *other != destination) {
            self.arcs.push((destination, weight(key).unwrap_or(1)));
        }
    }

    /// Removes a destination, which goes with the first of its bindings to be removed.
    pub(crate) fn remove(&mut self, destination: Destination) {
        self.arcs.retain(|(other, _)| *other != destination);
    }

    pub(crate) fn clear(&mut self) {
        self.arcs.clear();
    }

    pub(crate) fn route(&self, accepted: &Accepted) -> Option<Destination> {
        let buckets = self
            .arcs
            .iter()
            .fold(0, |n: u64, arc| n.saturating_add(arc.1));
        let mut bucket = match buckets {
            0 => return None,
            1 => 0,
            _ => jump(self.hash(accepted), buckets),
        };
        for (destination, weight) in &self.arcs {
            if bucket < *weight {
                return Some(*destination);
            }
            bucket -= weight;
        }
        None
    }

    fn hash(&self, accepted: &Accepted) -> i128 {
        let message: &Message = &accepted.message;
        let properties = &message.properties;
        let seconds;
        let term = match &self.hash_on {
            HashOn::RoutingKey => Some(Term::Binary(message.routing_key.as_bytes())),
            HashOn::CorrelationId => properties.correlation_id.as_deref().map(text),
            HashOn::MessageId => properties.message_id.as_deref().map(text),
            HashOn::Timestamp => {
                seconds = properties.timestamp.map(|seconds| seconds.to_string());
                seconds.as_deref().map(text)
            }
            HashOn::Header(header) => {
                let value = properties.headers.get(header);
                if self.profile.hashes_types_of_headers() {
                    value.map(typed)
                } else {
                    return value.map_or_else(hash_of_nothing, hash_of_header);
                }
            }
        };
        term.map_or_else(hash_of_nothing, |term| phash2(&term).into())
    }
}

fn text(text: &str) -> Term<'_> {
    Term::Binary(text.as_bytes())
}

/// Returns the hash of an absent value. All messages without the value go to the same place.
fn hash_of_nothing() -> i128 {
    phash2(&Term::Atom("undefined")).into()
}

/// Returns the hash of a header by its value alone. An integer is its own hash. Of several values,
/// the first one counts.
fn hash_of_header(value: &FieldValue) -> i128 {
    match term(value) {
        Term::Integer(seconds) if matches!(value, FieldValue::Timestamp(_)) => seconds * 1000,
        Term::Integer(value) => value,
        Term::List(values) => match values.first() {
            Some(first) => phash2(first).into(),
            None => phash2(&Term::List(values)).into(),
        },
        term => phash2(&term).into(),
    }
}

/// Returns the bucket of a hash, by the jump consistent hash of Lamping and Veach
/// ([paper](https://arxiv.org/abs/1406.2294)), with Erlang's generator for its random numbers.
fn jump(hash: i128, buckets: u64) -> u64 {
    let mut random = Exs1024::new(hash);
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        // Too large a quotient becomes the largest number, which is as good.
        next = ((bucket + 1) as f64 / random.uniform()) as u64;
    }
    bucket
}
