//! Policies: what an administrator adds to the arguments of queues and exchanges, by a pattern
//! for their names ([parameters and policies](https://www.rabbitmq.com/docs/policies)).

use std::collections::BTreeMap;

use mooq_core::{Error, ErrorKind, ExchangeName, FieldTable, FieldValue, RoutingKey};
use regex_lite::Regex;

use super::profile::Profile;
use super::queue::arguments::{Overflow, QueueArguments};
use super::queue::kind::QueueType;
use super::queue::quorum::DeliveryLimit;

/// What a policy applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    All,
    /// Queues.
    Queues,
    /// Exchanges.
    Exchanges,
}

/// Additions to the arguments of the queues and exchanges whose names match a pattern.
#[derive(Debug, Clone)]
pub struct Policy {
    pattern: Regex,
    definition: Definition,
    apply_to: ApplyTo,
    priority: i64,
}

/// What a policy adds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definition {
    expires: Option<u64>,
    message_ttl: Option<u64>,
    dead_letter_exchange: Option<ExchangeName>,
    dead_letter_routing_key: Option<RoutingKey>,
    max_length: Option<u64>,
    max_length_bytes: Option<u64>,
    overflow: Option<Overflow>,
    alternate_exchange: Option<ExchangeName>,
    delivery_limit: Option<i64>,
    /// It has something that classic queues do not know: then nothing of it applies to them.
    is_foreign_to_classic_queues: bool,
    /// The same for quorum queues.
    is_foreign_to_quorum_queues: bool,
}

/// The policies of a virtual host, by name.
#[derive(Debug, Default)]
pub(crate) struct Policies(BTreeMap<String, Policy>);

impl Policy {
    /// A policy for all queues and exchanges whose names match the regular expression `pattern`
    /// somewhere, of priority 0. The definition is rabbitmqctl's, as a table: for example
    /// `max-length`, an integer, or `dead-letter-exchange`, a text.
    ///
    /// # Errors
    /// `InvalidArgument` if the pattern is not a regular expression, or if the definition is
    /// empty, has a setting that RabbitMQ does not know, or a value that does not fit.
    pub fn new(pattern: &str, definition: &FieldTable) -> Result<Self, Error> {
        let pattern = Regex::new(pattern).map_err(|e| {
            invalid(format!("'{pattern}' is not a regular expression")).with_source(e)
        })?;
        Ok(Self {
            pattern,
            definition: Definition::parse(definition)?,
            apply_to: ApplyTo::default(),
            priority: 0,
        })
    }

    /// What it applies to.
    #[must_use]
    pub fn apply_to(mut self, apply_to: ApplyTo) -> Self {
        self.apply_to = apply_to;
        self
    }

    /// Of the policies that match, only the one with the highest priority counts.
    #[must_use]
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    fn is_for_queue(&self, kind: QueueType, name: &str) -> bool {
        let is_foreign = match kind {
            QueueType::Classic => self.definition.is_foreign_to_classic_queues,
            QueueType::Quorum => self.definition.is_foreign_to_quorum_queues,
        };
        self.apply_to != ApplyTo::Exchanges && !is_foreign && self.pattern.is_match(name)
    }

    fn is_for_exchange(&self, name: &str) -> bool {
        self.apply_to != ApplyTo::Queues && self.pattern.is_match(name)
    }
}

impl Policies {
    /// Sets a policy, in place of one of the same name.
    pub(crate) fn set(&mut self, name: String, policy: Policy) {
        self.0.insert(name, policy);
    }

    /// Removes a policy.
    pub(crate) fn clear(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// What is added to the arguments of a queue.
    pub(crate) fn of_queue(&self, kind: QueueType, name: &str) -> Option<&Definition> {
        self.highest(|policy| policy.is_for_queue(kind, name))
    }

    /// What is added to the arguments of an exchange.
    pub(crate) fn of_exchange(&self, name: &str) -> Option<&Definition> {
        self.highest(|policy| policy.is_for_exchange(name))
    }

    fn highest(&self, matches: impl Fn(&Policy) -> bool) -> Option<&Definition> {
        let matching = self.0.values().filter(|policy| matches(policy));
        // RabbitMQ says nothing of two with the same priority.
        let highest = matching.max_by_key(|policy| policy.priority)?;
        Some(&highest.definition)
    }
}

impl Definition {
    fn parse(table: &FieldTable) -> Result<Self, Error> {
        if table.is_empty() {
            return Err(invalid("no policy provided"));
        }
        let mut definition = Self::default();
        for (key, value) in table {
            let unfit = |what: &str| {
                let value = super::reply_error::value_text(value);
                invalid(format!("{value} is not a valid {what}"))
            };
            let number = |lowest: u64, what: &str| {
                let number = value.as_i64().and_then(|number| u64::try_from(number).ok());
                let number = number.filter(|number| *number >= lowest);
                number.map(Some).ok_or_else(|| unfit(what))
            };
            let text = |what: &str| value.as_str().ok_or_else(|| unfit(what));
            match key.as_str() {
                "expires" => definition.expires = number(1, "queue expiry")?,
                "message-ttl" => definition.message_ttl = number(0, "message TTL")?,
                "max-length" => definition.max_length = number(0, "maximum length")?,
                "max-length-bytes" => {
                    definition.max_length_bytes = number(0, "maximum length in bytes")?;
                }
                "dead-letter-exchange" => {
                    let name = text("dead letter exchange name")?;
                    definition.dead_letter_exchange = Some(name.try_into()?);
                }
                "dead-letter-routing-key" => {
                    let key = text("dead letter routing key")?;
                    definition.dead_letter_routing_key = Some(key.try_into()?);
                }
                "alternate-exchange" => {
                    let name = text("alternate exchange name")?;
                    definition.alternate_exchange = Some(name.try_into()?);
                }
                "overflow" => {
                    let overflow = value.as_str().and_then(Overflow::parse);
                    definition.overflow = Some(overflow.ok_or_else(|| unfit("overflow value"))?);
                }
                // What no client can see.
                "queue-version" | "queue-leader-locator" | "consumer-timeout" => {}
                "queue-mode" => definition.is_foreign_to_quorum_queues = true,
                "delivery-limit" => {
                    let limit = value.as_i64().ok_or_else(|| unfit("delivery limit"))?;
                    definition.delivery_limit = Some(limit);
                    definition.is_foreign_to_classic_queues = true;
                }
                "dead-letter-strategy"
                | "max-in-memory-bytes"
                | "max-in-memory-length"
                | "target-group-size" => definition.is_foreign_to_classic_queues = true,
                "initial-cluster-size" | "max-age" | "stream-max-segment-size-bytes" => {
                    definition.is_foreign_to_classic_queues = true;
                    definition.is_foreign_to_quorum_queues = true;
                }
                other => {
                    let message = format!("'{other}' is not a recognised policy setting");
                    return Err(invalid(message));
                }
            }
        }
        Ok(definition)
    }

    /// The alternate exchange that it adds to an exchange.
    pub(crate) fn alternate_exchange(&self) -> Option<&ExchangeName> {
        self.alternate_exchange.as_ref()
    }
}

/// What a queue is to do: what its arguments ask for, and what an ordinary policy and one of the
/// operators' add. Of limits the smaller one holds. For the rest arguments come before policies,
/// and operators' before ordinary ones.
pub(crate) fn effective(
    own: &QueueArguments,
    arguments: &FieldTable,
    policy: Option<&Definition>,
    operators: Option<&Definition>,
    profile: Profile,
) -> QueueArguments {
    let mut options = own.clone();
    let mut overflow = None;
    let mut deliveries = arguments
        .get("x-delivery-limit")
        .and_then(FieldValue::as_i64);
    for added in [operators, policy].into_iter().flatten() {
        for (limit, added) in [
            (&mut options.expires, added.expires),
            (&mut options.message_ttl, added.message_ttl),
            (&mut options.max_length, added.max_length),
            (&mut options.max_length_bytes, added.max_length_bytes),
        ] {
            *limit = match (*limit, added) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if options.dead_letter_exchange.is_none() {
            options
                .dead_letter_exchange
                .clone_from(&added.dead_letter_exchange);
        }
        if options.dead_letter_routing_key.is_none() {
            options
                .dead_letter_routing_key
                .clone_from(&added.dead_letter_routing_key);
        }
        overflow = overflow.or(added.overflow);
        deliveries = match (deliveries, added.delivery_limit) {
            // A negative one is none at all, which gives way to any.
            (Some(one), Some(other)) if one < 0 || other < 0 => Some(one.max(other)),
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    if options.kind == QueueType::Quorum
        && let Some(limit) = deliveries
    {
        options.delivery_limit = DeliveryLimit::of(Some(&limit.into()), profile);
    }
    if let Some(overflow) = overflow
        && arguments.get("x-overflow").is_none()
    {
        options.overflow = overflow.in_queue(options.kind);
    }
    options
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(key: &str, value: FieldValue) -> FieldTable {
        FieldTable::from_iter([(key.try_into().unwrap(), value)])
    }

    #[test]
    fn what_rabbitmq_would_not_take_is_named_in_its_words() {
        for (key, value, expected) in [
            ("message-ttl", (-1).into(), "-1 is not a valid message TTL"),
            ("expires", 0.into(), "0 is not a valid queue expiry"),
            ("max-length", "9".into(), "9 is not a valid maximum length"),
            (
                "overflow",
                "burst".into(),
                "burst is not a valid overflow value",
            ),
            (
                "colour",
                "red".into(),
                "'colour' is not a recognised policy setting",
            ),
        ] {
            let err = Policy::new(".*", &table(key, value)).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidArgument);
            assert_eq!(err.to_string(), expected);
        }
        let err = Policy::new("[", &table("max-length", 1.into())).unwrap_err();
        assert_eq!(err.to_string(), "'[' is not a regular expression");
    }

    #[test]
    fn the_highest_priority_that_applies_counts_alone() {
        let mut policies = Policies::default();
        let mut set = |name: &str, key: &str, priority, apply_to| {
            let policy = Policy::new("^orders", &table(key, 1.into())).unwrap();
            policies.set(name.into(), policy.priority(priority).apply_to(apply_to));
        };
        set("low", "max-length", 1, ApplyTo::All);
        set("high", "message-ttl", 2, ApplyTo::Queues);
        set("exchanges", "max-length", 3, ApplyTo::Exchanges);
        set("quorum", "delivery-limit", 4, ApplyTo::Queues);
        let found = policies.of_queue(QueueType::Classic, "orders-new").unwrap();
        assert_eq!((found.message_ttl, found.max_length), (Some(1), None));
        let found = policies.of_queue(QueueType::Quorum, "orders-new").unwrap();
        assert_eq!(found.delivery_limit, Some(1));
        assert!(
            policies
                .of_queue(QueueType::Classic, "new-orders")
                .is_none()
        );
    }
}
