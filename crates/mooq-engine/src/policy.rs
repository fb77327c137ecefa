//! Policies: an administrator's additions to the arguments of queues and exchanges, by a pattern
//! for their names ([parameters and policies](https://www.rabbitmq.com/docs/policies)).

use std::collections::BTreeMap;

use mooq_core::{Error, ErrorKind, ExchangeName, FieldTable, FieldValue, RoutingKey};
use regex_lite::Regex;

use super::apply_to::ApplyTo;
use super::erlang::term::text_or_value_after;
use super::profile::Profile;
use super::queue::argument_table::QueueArgument;
use super::queue::arguments::{DeadLetterStrategy, Overflow, QueueArguments};
use super::queue::delayed::{Delayed, RetrySettings};
use super::queue::delivery_limit::DeliveryLimit;
use super::queue::kind::QueueType;

/// Additions to the arguments of the queues and exchanges whose names match a pattern.
#[derive(Debug, Clone)]
pub struct Policy {
    pattern: Regex,
    /// The pattern and definition as they were given.
    source: Source,
    definition: Definition,
    apply_to: ApplyTo,
    priority: i64,
}

#[derive(Debug, Clone)]
struct Source {
    pattern: String,
    definition: FieldTable,
}

/// Settings that a policy adds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definition {
    expires: Option<u64>,
    message_ttl: Option<u64>,
    dead_letter_exchange: Option<ExchangeName>,
    dead_letter_routing_key: Option<RoutingKey>,
    dead_letter_strategy: Option<DeadLetterStrategy>,
    max_length: Option<u64>,
    max_length_bytes: Option<u64>,
    overflow: Option<Overflow>,
    alternate_exchange: Option<ExchangeName>,
    delivery_limit: Option<i64>,
    retries: RetrySettings,
    consumer_timeout: Option<u64>,
    /// Names of the settings.
    settings: Vec<String>,
    /// True if a setting is unknown to classic queues: the whole policy then does not apply to
    /// them.
    is_foreign_to_classic_queues: bool,
    /// True if a setting is unknown to quorum queues: the whole policy then does not apply to them.
    is_foreign_to_quorum_queues: bool,
}

/// The policies of a virtual host, by name.
#[derive(Debug, Default)]
pub(crate) struct Policies(BTreeMap<String, Policy>);

impl Policy {
    /// Creates a policy of priority 0 for all queues and exchanges whose names match the regular
    /// expression `pattern` somewhere. The definition is rabbitmqctl's, as a table: for example
    /// `max-length`, an integer, or `dead-letter-exchange`, a text.
    ///
    /// # Errors
    /// `InvalidArgument` if the pattern is not a regular expression, or if the definition is empty,
    /// has a setting that RabbitMQ does not know, or has an invalid value.
    pub fn new(pattern: &str, definition: &FieldTable) -> Result<Self, Error> {
        let source = Source {
            pattern: pattern.to_owned(),
            definition: definition.clone(),
        };
        let pattern = Regex::new(pattern).map_err(|e| {
            invalid(format!("'{pattern}' is not a regular expression")).with_source(e)
        })?;
        Ok(Self {
            pattern,
            source,
            definition: Definition::parse(definition)?,
            apply_to: ApplyTo::default(),
            priority: 0,
        })
    }

    /// Sets the kinds of resource that the policy applies to.
    #[must_use]
    pub fn apply_to(mut self, apply_to: ApplyTo) -> Self {
        self.apply_to = apply_to;
        self
    }

    /// Sets the policy's priority. Of the policies that match, only the one with the highest
    /// priority applies.
    #[must_use]
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Returns the regular expression that names have to match.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.source.pattern
    }

    /// Returns the policy's definition, as it was given.
    #[must_use]
    pub fn definition(&self) -> &FieldTable {
        &self.source.definition
    }

    /// Returns the kinds of resource that the policy applies to.
    #[must_use]
    pub fn applies_to(&self) -> ApplyTo {
        self.apply_to
    }

    /// Returns the policy's priority.
    #[must_use]
    pub fn priority_value(&self) -> i64 {
        self.priority
    }

    /// Checks that a version of RabbitMQ knows all of the policy's settings.
    pub(crate) fn check(&self, profile: Profile) -> Result<(), Error> {
        self.apply_to.check(profile)?;
        // Exchanges have a setting too, which every version knows.
        self.check_settings(|key| {
            QueueArgument::of_setting(key).is_none_or(|of| of.is_for_policies(profile))
        })
    }

    /// Checks that a version of RabbitMQ knows all of an operator policy's settings. An operator
    /// policy may set less.
    pub(crate) fn check_for_operators(&self, profile: Profile) -> Result<(), Error> {
        self.check(profile)?;
        self.check_settings(|key| {
            QueueArgument::of_setting(key).is_some_and(|of| of.is_for_operator_policies(profile))
        })
    }

    fn check_settings(&self, is_known: impl Fn(&str) -> bool) -> Result<(), Error> {
        let mut settings = self.definition.settings.iter();
        match settings.find(|key| !is_known(key)) {
            None => Ok(()),
            Some(key) => Err(unrecognised(key)),
        }
    }

    fn is_for_queue(&self, kind: QueueType, name: &str) -> bool {
        let is_foreign = match kind {
            QueueType::Classic => self.definition.is_foreign_to_classic_queues,
            QueueType::Quorum => self.definition.is_foreign_to_quorum_queues,
        };
        self.apply_to.includes_queue(kind) && !is_foreign && self.pattern.is_match(name)
    }

    fn is_for_exchange(&self, name: &str) -> bool {
        self.apply_to.includes_exchanges() && self.pattern.is_match(name)
    }
}

impl Policies {
    /// Adds a policy, or replaces the one of the same name.
    pub(crate) fn set(&mut self, name: String, policy: Policy) {
        self.0.insert(name, policy);
    }

    /// Removes a policy.
    pub(crate) fn clear(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Returns the policies by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.0.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// Returns the additions to the arguments of a queue.
    pub(crate) fn of_queue(&self, kind: QueueType, name: &str) -> Option<&Definition> {
        self.for_queue(kind, name)
            .map(|(_, policy)| &policy.definition)
    }

    /// Returns the additions to the arguments of an exchange.
    pub(crate) fn of_exchange(&self, name: &str) -> Option<&Definition> {
        self.for_exchange(name)
            .map(|(_, policy)| &policy.definition)
    }

    /// Returns the policy of a queue, and its name.
    pub(crate) fn for_queue(&self, kind: QueueType, name: &str) -> Option<(&str, &Policy)> {
        self.highest(|policy| policy.is_for_queue(kind, name))
    }

    /// Returns the policy of an exchange, and its name.
    pub(crate) fn for_exchange(&self, name: &str) -> Option<(&str, &Policy)> {
        self.highest(|policy| policy.is_for_exchange(name))
    }

    fn highest(&self, matches: impl Fn(&Policy) -> bool) -> Option<(&str, &Policy)> {
        let matching = self.iter().filter(|(_, policy)| matches(policy));
        // RabbitMQ does not say which of two policies with the same priority applies.
        matching.max_by_key(|(_, policy)| policy.priority)
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
                let value = text_or_value_after("", value, Profile::default());
                invalid(format!("{value} is not a valid {what}"))
            };
            let number = |lowest: u64, what: &str| {
                let number = value.as_i64().and_then(|number| u64::try_from(number).ok());
                let number = number.filter(|number| *number >= lowest);
                number.map(Some).ok_or_else(|| unfit(what))
            };
            let text = |what: &str| value.as_str().ok_or_else(|| unfit(what));
            let argument = QueueArgument::of_setting(key.as_str());
            if let Some(argument) = argument {
                definition.is_foreign_to_classic_queues |= argument.excludes_classic;
                definition.is_foreign_to_quorum_queues |= argument.excludes_quorum;
            }
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
                "consumer-timeout" => {
                    definition.consumer_timeout = number(0, "consumer timeout")?;
                }
                // Consumers have no node here that could disconnect.
                "consumer-disconnected-timeout" => {
                    number(0, "consumer disconnected timeout")?;
                }
                "delayed-retry-type" => {
                    let which = value.as_str().and_then(Delayed::parse);
                    let what = "delayed retry type. Must be one of: all, failed, returned, \
                                disabled";
                    definition.retries.which = Some(which.ok_or_else(|| unfit(what))?);
                }
                "delayed-retry-min" => {
                    let what = "delayed retry minimum delay. Must be a positive integer";
                    number(1, what)?;
                    definition.retries.min = value.as_i64();
                }
                "delayed-retry-max" => {
                    let what = "delayed retry maximum delay. Must be a positive integer";
                    number(1, what)?;
                    definition.retries.max = value.as_i64();
                }
                "delivery-limit" => {
                    let limit = value.as_i64().ok_or_else(|| unfit("delivery limit"))?;
                    definition.delivery_limit = Some(limit);
                }
                "dead-letter-strategy" => {
                    let strategy = value.as_str().and_then(DeadLetterStrategy::parse);
                    let strategy = strategy.ok_or_else(|| unfit("dead letter strategy"))?;
                    definition.dead_letter_strategy = Some(strategy);
                }
                // Clients cannot see the other settings.
                _ if argument.is_some() => {}
                other => return Err(unrecognised(other)),
            }
            definition.settings.push(key.as_str().to_owned());
        }
        definition.retries.check()?;
        Ok(definition)
    }

    /// Returns the alternate exchange that the policy adds to an exchange.
    pub(crate) fn alternate_exchange(&self) -> Option<&ExchangeName> {
        self.alternate_exchange.as_ref()
    }
}

impl RetrySettings {
    /// Checks that a policy's settings fit together.
    fn check(&self) -> Result<(), Error> {
        match *self {
            Self {
                which: Some(Some(which)),
                min: None,
                ..
            } => Err(invalid(format!(
                "delayed-retry-min is required when delayed-retry-type is {}",
                which.as_str()
            ))),
            Self {
                min: Some(min),
                max: Some(max),
                ..
            } if max < min => Err(invalid(format!(
                "delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the combined settings of an ordinary policy and an operator policy.
    fn merged(policy: Self, operators: Self) -> Self {
        let both = |one: Option<i64>, other: Option<i64>, choose: fn(i64, i64) -> i64| match (
            one, other,
        ) {
            (Some(one), Some(other)) => Some(choose(one, other)),
            (one, other) => one.or(other),
        };
        Self {
            which: operators.which.or(policy.which),
            min: both(policy.min, operators.min, i64::max),
            max: both(policy.max, operators.max, i64::min),
        }
    }

    /// Returns the combined settings of a queue's arguments and its policies: the type of a policy
    /// precedes that of an argument, and the shorter times apply.
    fn with_policies(self, policies: Self) -> Self {
        let shorter = |one: Option<i64>, other: Option<i64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            which: policies.which.or(self.which),
            min: shorter(self.min, policies.min),
            max: shorter(self.max, policies.max),
        }
    }
}

/// Options of a queue: its arguments, merged with an ordinary policy and an operator policy.
///
/// The smaller of two limits applies. Otherwise an argument precedes policies, and an operator
/// policy precedes an ordinary one. But a quorum queue takes its overflow, and before 4.0 its
/// lease, from a policy first.
pub(crate) fn effective(
    own: &QueueArguments,
    arguments: &FieldTable,
    policy: Option<&Definition>,
    operators: Option<&Definition>,
    profile: Profile,
) -> QueueArguments {
    let mut options = own.clone();
    let mut overflow = None;
    let mut strategy = None;
    let is_quorum = options.kind == QueueType::Quorum;
    if is_quorum && profile.quorum_lease_is_the_policys() {
        let mut policies = [operators, policy].into_iter().flatten();
        if policies.any(|added| added.expires.is_some()) {
            options.expires = None;
        }
    }
    let mut deliveries = arguments
        .get("x-delivery-limit")
        .and_then(FieldValue::as_i64);
    for added in [operators, policy].into_iter().flatten() {
        for (limit, added) in [
            (&mut options.expires, added.expires),
            (&mut options.message_ttl, added.message_ttl),
            (&mut options.max_length, added.max_length),
            (&mut options.max_length_bytes, added.max_length_bytes),
            (&mut options.consumer_timeout, added.consumer_timeout),
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
        strategy = strategy.or(added.dead_letter_strategy);
        deliveries = match (deliveries, added.delivery_limit) {
            // A negative limit means no limit, and gives way to any other limit.
            (Some(one), Some(other)) if one < 0 || other < 0 => Some(one.max(other)),
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    if is_quorum && let Some(limit) = deliveries {
        options.delivery_limit = DeliveryLimit::of(Some(&limit.into()), profile);
    }
    if is_quorum && profile.delays_retries() {
        let settings = |added: Option<&Definition>| added.map(|a| a.retries).unwrap_or_default();
        let policies = RetrySettings::merged(settings(policy), settings(operators));
        let own = options.kind.retry_settings(arguments, profile);
        options.delayed_retry = own.with_policies(policies).effective();
    }
    if let Some(overflow) = overflow
        && (is_quorum || arguments.get("x-overflow").is_none())
    {
        options.overflow = overflow.in_queue(options.kind);
    }
    if let Some(strategy) = strategy
        && arguments.get("x-dead-letter-strategy").is_none()
    {
        options.dead_letter_strategy = strategy;
    }
    options
}

fn unrecognised(setting: &str) -> Error {
    invalid(format!("'{setting}' is not a recognised policy setting"))
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
    fn invalid_policy_is_named_in_rabbitmqs_words() {
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

    #[test]
    fn policy_for_one_type_of_queues_leaves_the_others_alone() {
        let policy = Policy::new("", &table("max-length", 1.into())).unwrap();
        let policy = policy.apply_to("quorum_queues".parse().unwrap());
        assert!(policy.check(Profile::V4_0).is_ok());
        let err = policy.check(Profile::V3_10).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        let mut policies = Policies::default();
        policies.set("quorum".into(), policy);
        assert!(policies.of_queue(QueueType::Quorum, "q").is_some());
        assert!(policies.of_queue(QueueType::Classic, "q").is_none());
        assert!(policies.of_exchange("q").is_none());
        assert!("nothing".parse::<ApplyTo>().is_err());
    }
}
