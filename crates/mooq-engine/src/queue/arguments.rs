//! Arguments of a queue
//! ([optional arguments](https://www.rabbitmq.com/docs/queues#optional-arguments)).

use std::fmt;

use mooq_core::{ExchangeName, FieldTable, FieldValue, RoutingKey};

use super::delayed_retry::{DelayedRetry, RetrySettings};
use super::kind::{HA_FAILOVER, QUEUE_TYPE, QueueType};
use crate::arguments::{assert_args_equivalence, name_arg};
use crate::erlang::text::string_text;
use crate::profile::Profile;
use crate::queue::delivery_limit::DeliveryLimit;
use crate::reply_error::{ReplyError, Resource, type_name};

/// Options of a queue that its arguments set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct QueueArguments {
    pub(crate) kind: QueueType,
    /// Time for which the queue may be unused, in milliseconds.
    pub(crate) expires: Option<u64>,
    /// Time to live of a message, in milliseconds.
    pub(crate) message_ttl: Option<u64>,
    pub(crate) dead_letter_exchange: Option<ExchangeName>,
    pub(crate) dead_letter_routing_key: Option<RoutingKey>,
    pub(crate) dead_letter_strategy: DeadLetterStrategy,
    pub(crate) max_length: Option<u64>,
    pub(crate) max_length_bytes: Option<u64>,
    pub(crate) max_priority: u8,
    pub(crate) overflow: Overflow,
    pub(crate) single_active_consumer: bool,
    /// Number of times that a message may return to a quorum queue.
    pub(crate) delivery_limit: DeliveryLimit,
    /// Messages that wait when they return to a quorum queue.
    pub(crate) delayed_retry: Option<DelayedRetry>,
    /// Longest time that a delivery may stay unacked, in milliseconds. Before 4.3 only policies set
    /// it: channels then obey the argument in [`AsSet`], which is not checked.
    pub(crate) consumer_timeout: Option<u64>,
    pub(crate) as_set: AsSet,
}

/// Arguments as they were set, for what is decided by more than their effect.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct AsSet {
    pub(crate) has_overflow: bool,
    pub(crate) has_dead_letter_strategy: bool,
    /// The delivery limit, if it is an integer.
    pub(crate) delivery_limit: Option<i64>,
    pub(crate) retries: RetrySettings,
    /// The consumer timeout: `Some(None)` if it is not an integer.
    pub(crate) consumer_timeout: Option<Option<i64>>,
}

/// Dead-letter strategy of a queue ([at-least-once dead
/// lettering](https://www.rabbitmq.com/docs/quorum-queues#dead-lettering)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DeadLetterStrategy {
    /// The queue publishes its dead letters.
    #[default]
    AtMostOnce,
    /// The queue keeps its dead letters until every target has accepted them, and republishes them.
    AtLeastOnce,
}

impl DeadLetterStrategy {
    /// Returns the strategy of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "at-most-once" => Self::AtMostOnce,
            "at-least-once" => Self::AtLeastOnce,
            _ => return None,
        })
    }
}

/// Behaviour of a queue at its limits
/// ([queue length limits](https://www.rabbitmq.com/docs/maxlength)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The oldest message is dropped.
    #[default]
    DropHead,
    /// The new message is refused.
    RejectPublish,
    /// The new message is refused and goes to the dead-letter exchange.
    RejectPublishDlx,
}

impl Overflow {
    /// Returns the overflow behaviour of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "drop-head" => Self::DropHead,
            "reject-publish" => Self::RejectPublish,
            "reject-publish-dlx" => Self::RejectPublishDlx,
            _ => return None,
        })
    }

    /// Returns the overflow behaviour in a queue of this type: a quorum queue does not know
    /// `reject-publish-dlx`.
    pub(crate) fn in_queue(self, kind: QueueType) -> Self {
        match self {
            Self::RejectPublishDlx if kind == QueueType::Quorum => Self::DropHead,
            overflow => overflow,
        }
    }
}

/// Name of an argument of queues and of consumers.
const CONSUMER_TIMEOUT: &str = "x-consumer-timeout";

/// Ten years: RabbitMQ accepts no longer time.
const MAX_MILLIS: i64 = 315_360_000_000;

/// Adds the queue's type to the arguments of a declare, as RabbitMQ keeps and compares them.
pub(crate) fn with_queue_type(mut arguments: FieldTable) -> FieldTable {
    if arguments.get(QUEUE_TYPE).is_none()
        && let Ok(key) = QUEUE_TYPE.try_into()
    {
        arguments.insert(key, "classic");
    }
    arguments
}

/// Checks that a redeclare has the arguments that the queue has.
pub(crate) fn assert_equivalence(
    kind: QueueType,
    current: &FieldTable,
    received: &FieldTable,
    resource: Resource<'_>,
    profile: Profile,
) -> Result<(), ReplyError> {
    for key in kind.arguments(profile) {
        // A queue that names no type is classic, even if RabbitMQ does not complete the type.
        let both = [current, received];
        if key == QUEUE_TYPE && both.iter().all(|arguments| is_classic(arguments)) {
            continue;
        }
        assert_args_equivalence(current, received, resource, &[key], profile)?;
    }
    Ok(())
}

fn is_classic(arguments: &FieldTable) -> bool {
    let named = arguments.get(QUEUE_TYPE);
    named.is_none_or(|kind| kind.as_str() == Some("classic"))
}

impl QueueArguments {
    /// True if the queue has a limit on its messages or their bytes.
    pub(crate) fn has_limits(&self) -> bool {
        self.max_length.is_some() || self.max_length_bytes.is_some()
    }

    /// True if the queue's behaviour depends on the time: dead letters carry theirs, and some
    /// queues time their deliveries.
    pub(crate) fn depend_on_time(&self, profile: Profile) -> bool {
        self.expires.is_some()
            || self.message_ttl.is_some()
            || self.dead_letter_exchange.is_some()
            || self.delayed_retry.is_some()
            || (self.kind == QueueType::Quorum && !profile.channels_time_deliveries())
    }

    /// True if the queue keeps its dead letters until they have arrived. A queue that drops its
    /// oldest messages cannot, even if its arguments ask for it.
    pub(crate) fn keeps_dead_letters(&self) -> bool {
        self.kind == QueueType::Quorum
            && self.dead_letter_strategy == DeadLetterStrategy::AtLeastOnce
            && self.overflow == Overflow::RejectPublish
            && self.dead_letter_exchange.is_some()
    }

    /// Checks the arguments of a new queue.
    pub(crate) fn parse(
        arguments: &FieldTable,
        resource: Resource<'_>,
        profile: Profile,
    ) -> Result<Self, ReplyError> {
        let dead_letter_exchange = name_arg(arguments, "x-dead-letter-exchange", resource)?;
        let kind = QueueType::of(arguments, resource, profile)?;
        let arg = Args {
            kind,
            arguments,
            resource,
            profile,
        };
        let expires = arg.check("x-expires", |value| match int(value)? {
            0 => Err("{value_zero,0}".into()),
            millis => check_expiry(millis).map_err(|unfit| unfit.to_string()),
        })?;
        let message_ttl = arg.check("x-message-ttl", |value| {
            check_expiry(int(value)?).map_err(|unfit| unfit.to_string())
        })?;
        let dead_letter_routing_key = arg.check("x-dead-letter-routing-key", |value| {
            let key = text(value)?;
            dead_letter_exchange
                .map(|_| key.to_owned())
                .ok_or_else(|| "routing_key_but_no_dlx_defined".into())
        })?;
        let dead_letter_strategy = arg.check("x-dead-letter-strategy", |value| {
            DeadLetterStrategy::parse(text(value)?).ok_or_else(|| "invalid_dlx_strategy".into())
        })?;
        let max_length = arg.check("x-max-length", non_negative)?;
        let max_length_bytes = arg.check("x-max-length-bytes", non_negative)?;
        // Clients cannot see where a quorum queue stores messages.
        arg.check("x-max-in-memory-length", non_negative)?;
        arg.check("x-max-in-memory-bytes", non_negative)?;
        let max_priority = arg.check("x-max-priority", |value| {
            let levels = non_negative(value)?;
            u8::try_from(levels).map_err(|_| format!("{{max_value_exceeded,{levels}}}"))
        })?;
        let overflow = arg.check("x-overflow", |value| {
            Overflow::parse(text(value)?).ok_or_else(|| "invalid_overflow".into())
        })?;
        // Clients cannot see how a classic queue stores messages.
        if profile.checks_queue_mode() {
            arg.check("x-queue-mode", |value| match text(value)? {
                "default" | "lazy" => Ok(()),
                mode => Err(string_text(
                    &format!("unsupported queue mode '{mode}'"),
                    profile,
                )),
            })?;
        }
        arg.check("x-queue-version", |value| match non_negative(value)? {
            version if (profile.lowest_queue_version()..=2).contains(&version) => Ok(()),
            version => Err(format!("\"unsupported queue version '{version}'\"")),
        })?;
        let single_active_consumer = arg.check("x-single-active-consumer", flag)?;
        let consumer_timeout = arg.check(CONSUMER_TIMEOUT, non_negative)?;
        // Consumers have no node here that could disconnect.
        arg.check("x-consumer-disconnected-timeout", non_negative)?;
        arg.check("x-quorum-initial-group-size", |value| {
            match non_negative(value)? {
                0 => Err("{value_zero,0}".into()),
                _ => Ok(()),
            }
        })?;
        arg.check("x-queue-leader-locator", |value| match text(value)? {
            "client-local" | "balanced" => Ok(()),
            "random" | "least-leaders" | "min-masters" => Ok(()),
            _ => Err("invalid_queue_locator_arg".into()),
        })?;
        arg.refuse(|key| kind.leaves_argument_to_others(key, profile))?;
        // RabbitMQ does not check the last three.
        let limit = arguments.get("x-delivery-limit");
        let as_set = AsSet {
            has_overflow: overflow.is_some(),
            has_dead_letter_strategy: dead_letter_strategy.is_some(),
            delivery_limit: limit.and_then(FieldValue::as_i64),
            retries: kind.retry_settings(arguments, profile),
            consumer_timeout: arguments.get(CONSUMER_TIMEOUT).map(FieldValue::as_i64),
        };
        Ok(Self {
            kind,
            expires,
            message_ttl,
            dead_letter_exchange: dead_letter_exchange.and_then(|name| name.try_into().ok()),
            dead_letter_routing_key: dead_letter_routing_key.and_then(|key| key.try_into().ok()),
            dead_letter_strategy: dead_letter_strategy.unwrap_or_default(),
            max_length,
            max_length_bytes,
            max_priority: max_priority.unwrap_or(0),
            overflow: overflow.unwrap_or_default().in_queue(kind),
            single_active_consumer: single_active_consumer.unwrap_or(false),
            delivery_limit: match kind {
                QueueType::Classic => DeliveryLimit::None,
                QueueType::Quorum => DeliveryLimit::of(limit, profile),
            },
            delayed_retry: as_set.retries.effective(),
            consumer_timeout,
            as_set,
        })
    }
}

/// Options of a consumer that its arguments set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerArguments {
    /// Consumers of higher priority get all messages until they can take no more
    /// ([consumer priorities](https://www.rabbitmq.com/docs/consumer-priority)).
    pub(crate) priority: i64,
    /// Longest time that a delivery to the consumer may stay unacked, in milliseconds.
    pub(crate) timeout: Option<u64>,
}

/// Checks the arguments of a consumer.
pub(crate) fn consumer_arguments(
    kind: QueueType,
    arguments: &FieldTable,
    resource: Resource<'_>,
    profile: Profile,
) -> Result<ConsumerArguments, ReplyError> {
    let arg = Args {
        kind,
        arguments,
        resource,
        profile,
    };
    let priority = arg.parse("x-priority", int)?;
    arg.refuse(|key| kind.leaves_consumer_argument_to_others(key, profile))?;
    let mut timeout = None;
    if !profile.channels_time_deliveries() {
        timeout = arg.parse(CONSUMER_TIMEOUT, non_negative)?;
    }
    if profile.has_mirrors() {
        arg.parse(HA_FAILOVER, flag)?;
    }
    Ok(ConsumerArguments {
        priority: priority.unwrap_or(0),
        timeout,
    })
}

/// The arguments to check, and the queue or consumer they belong to.
struct Args<'a> {
    kind: QueueType,
    arguments: &'a FieldTable,
    resource: Resource<'a>,
    profile: Profile,
}

impl Args<'_> {
    /// Returns the argument `key` of a queue, if it is set and the queue's type knows it.
    fn check<'v, T>(
        &'v self,
        key: &str,
        parse: impl FnOnce(&'v FieldValue) -> Result<T, String>,
    ) -> Result<Option<T>, ReplyError> {
        if self.kind.knows_argument(key, self.profile) {
            self.parse(key, parse)
        } else {
            Ok(None)
        }
    }

    /// Returns the argument `key` as `parse` reads it, if it is set.
    fn parse<'v, T>(
        &'v self,
        key: &str,
        parse: impl FnOnce(&'v FieldValue) -> Result<T, String>,
    ) -> Result<Option<T>, ReplyError> {
        let value = self.arguments.get(key);
        value
            .map(|value| {
                parse(value).map_err(|why| ReplyError::invalid_arg(self.resource, key, why))
            })
            .transpose()
    }

    /// Checks that no argument is set that is only for queues of other types.
    fn refuse(&self, foreign: impl Fn(&str) -> bool) -> Result<(), ReplyError> {
        let mut keys = self.arguments.iter().map(|(key, _)| key.as_str());
        keys.find(|key| foreign(key)).map_or(Ok(()), |key| {
            Err(ReplyError::precondition_failed(format!(
                "invalid arg '{key}' for {} of queue type {}",
                self.resource,
                self.kind.module()
            )))
        })
    }
}

fn int(value: &FieldValue) -> Result<i64, String> {
    value
        .as_i64()
        .ok_or_else(|| format!("\"expected integer, got {}\"", type_name(value)))
}

fn non_negative(value: &FieldValue) -> Result<u64, String> {
    let number = int(value)?;
    u64::try_from(number).map_err(|_| format!("{{value_negative,{number}}}"))
}

fn flag(value: &FieldValue) -> Result<bool, String> {
    match value {
        FieldValue::Bool(on) => Ok(*on),
        other => Err(unacceptable_type(other)),
    }
}

fn text(value: &FieldValue) -> Result<&str, String> {
    value.as_str().ok_or_else(|| unacceptable_type(value))
}

fn unacceptable_type(value: &FieldValue) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

/// Checks that a time in milliseconds is one that RabbitMQ accepts.
pub(crate) fn check_expiry(millis: i64) -> Result<u64, UnfitTime> {
    let unfit = |problem| UnfitTime {
        problem,
        value: millis,
    };
    if millis > MAX_MILLIS {
        return Err(unfit(VALUE_TOO_LARGE));
    }
    u64::try_from(millis).map_err(|_| unfit(VALUE_NEGATIVE))
}

/// A time in milliseconds that RabbitMQ does not accept.
#[derive(Debug)]
pub(crate) struct UnfitTime {
    /// RabbitMQ's name for the problem.
    pub(crate) problem: &'static str,
    pub(crate) value: i64,
}

pub(crate) const VALUE_TOO_LARGE: &str = "value_too_large";
pub(crate) const VALUE_NEGATIVE: &str = "value_negative";

impl fmt::Display for UnfitTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{},{}}}", self.problem, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: Resource<'static> = Resource {
        kind: "queue",
        name: "q",
        vhost: "/",
    };

    fn parse<const N: usize>(arguments: [(&str, FieldValue); N]) -> Result<QueueArguments, String> {
        let mut table = FieldTable::new();
        for (key, value) in arguments {
            table.insert(key.try_into().unwrap(), value);
        }
        let method = crate::ids::MethodId::NONE;
        QueueArguments::parse(&table, Q, Profile::V4_0).map_err(|e| e.into_reason(method).text)
    }

    #[test]
    fn bad_values_are_refused_in_rabbitmqs_words() {
        let invalid = |key: &str, why: &str| {
            Err(format!(
                "PRECONDITION_FAILED - invalid arg '{key}' for queue 'q' in vhost '/': {why}"
            ))
        };
        for (key, value, why) in [
            ("x-message-ttl", FieldValue::from(-1), "{value_negative,-1}"),
            (
                "x-message-ttl",
                "1".into(),
                "\"expected integer, got longstr\"",
            ),
            (
                "x-message-ttl",
                315_360_000_001_i64.into(),
                "{value_too_large,315360000001}",
            ),
            ("x-expires", 0.into(), "{value_zero,0}"),
            ("x-expires", (-5).into(), "{value_negative,-5}"),
            (
                "x-dead-letter-routing-key",
                "k".into(),
                "routing_key_but_no_dlx_defined",
            ),
            (
                "x-dead-letter-routing-key",
                1.into(),
                "{unacceptable_type,signedint}",
            ),
            ("x-max-length", (-1).into(), "{value_negative,-1}"),
            ("x-max-priority", 256.into(), "{max_value_exceeded,256}"),
            ("x-overflow", "burst".into(), "invalid_overflow"),
            (
                "x-queue-mode",
                "eager".into(),
                "\"unsupported queue mode 'eager'\"",
            ),
            (
                "x-queue-type",
                "ring".into(),
                "\"unsupported queue type 'ring'\"",
            ),
            (
                "x-single-active-consumer",
                1.into(),
                "{unacceptable_type,signedint}",
            ),
        ] {
            assert_eq!(parse([(key, value)]), invalid(key, why));
        }
    }

    #[test]
    fn the_dead_letter_exchange_has_a_text_of_its_own() {
        assert_eq!(
            parse([("x-dead-letter-exchange", 1.into())]).unwrap_err(),
            "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in \
             queue 'q' in vhost '/'"
        );
    }

    #[test]
    fn another_types_argument_is_refused_and_an_unknown_one_is_not() {
        assert_eq!(
            parse([("x-delivery-limit", 3.into())]).unwrap_err(),
            "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of \
             queue type rabbit_classic_queue"
        );
        assert_eq!(
            parse([("x-colour", 3.into())]),
            Ok(QueueArguments::default())
        );
    }
}
