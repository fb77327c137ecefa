//! What a quorum queue does otherwise than a classic one
//! ([quorum queues](https://www.rabbitmq.com/docs/quorum-queues)).

use std::sync::Arc;

use mooq_core::{FieldTable, FieldValue, Message};

use super::gate::Gate;
use super::ready::Returns;
use crate::engine::arena::Key;
use crate::engine::consumer::Consumer;
use crate::engine::profile::Profile;

/// How many deliveries a consumer without a prefetch count may have outstanding.
pub(crate) const UNLIMITED_PREFETCH: u32 = 2000;

/// What a quorum queue has beyond what every queue has.
#[derive(Debug, Default)]
pub(crate) struct Quorum {
    /// How it refuses messages, while its arguments or a policy have it do so.
    pub(crate) gate: Gate,
    /// Consumers that are cancelled and still have deliveries to settle.
    pub(crate) lingering: Vec<Key<Consumer>>,
    /// How many messages are fetched and not settled.
    pub(crate) fetched: u32,
}

/// How often a message may come back before it is dead-lettered
/// ([poison message handling](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DeliveryLimit {
    /// For ever. What is requeued goes behind all others then.
    #[default]
    None,
    AtMost(u64),
}

impl DeliveryLimit {
    /// The limit that an argument sets. RabbitMQ does not check it: what is not a number is
    /// higher than every number, as Erlang compares them.
    pub(crate) fn of(argument: Option<&FieldValue>, profile: Profile) -> Self {
        match argument {
            None => profile.default_delivery_limit(),
            Some(value) => value.as_i64().map_or(Self::AtMost(u64::MAX), |limit| {
                u64::try_from(limit).map_or(profile.negative_delivery_limit(), Self::AtMost)
            }),
        }
    }

    /// Whether a message that came back so often is not to be delivered any more.
    pub(crate) fn is_exceeded(self, returns: Returns, profile: Profile) -> bool {
        let counted = if profile.limits_failed_deliveries_only() {
            returns.failed
        } else {
            returns.all
        };
        match self {
            Self::None => false,
            Self::AtMost(limit) => u64::from(counted) > limit,
        }
    }
}

/// A message as its next consumer gets it: the header `x-delivery-count` tells how often it came
/// back.
pub(crate) fn with_delivery_count(
    message: &Arc<Message>,
    returns: Returns,
    profile: Profile,
) -> Arc<Message> {
    // A dead letter of another quorum queue has only failed so far.
    let Returns { all, failed } = returns;
    let all = if all == 0 { failed } else { all };
    let mut message = Message::clone(message);
    let headers = &mut Arc::make_mut(&mut message.properties).headers;
    if profile.limits_failed_deliveries_only() {
        set(headers, "x-acquired-count", all);
        if failed > 0 {
            set(headers, "x-delivery-count", failed);
        }
    } else {
        set(headers, "x-delivery-count", all);
    }
    message.into()
}

fn set(headers: &mut FieldTable, key: &str, count: u32) {
    if let Ok(key) = key.try_into() {
        headers.insert(key, FieldValue::I64(count.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_limits_nothing_and_a_negative_one_is_none() {
        let limit = |value: FieldValue| DeliveryLimit::of(Some(&value), Profile::V4_0);
        assert_eq!(limit(5.into()), DeliveryLimit::AtMost(5));
        assert_eq!(limit((-1).into()), DeliveryLimit::None);
        assert_eq!(limit("5".into()), DeliveryLimit::AtMost(u64::MAX));
    }

    #[test]
    fn each_version_has_a_default_and_counts_in_its_own_way() {
        let default = |profile| DeliveryLimit::of(None, profile);
        assert_eq!(default(Profile::V3_10), DeliveryLimit::None);
        assert_eq!(default(Profile::V4_0), DeliveryLimit::AtMost(20));
        let returns = Returns { all: 2, failed: 1 };
        let limit = DeliveryLimit::AtMost(1);
        assert!(limit.is_exceeded(returns, Profile::V4_0));
        assert!(!limit.is_exceeded(returns, Profile::V4_3));
    }
}
