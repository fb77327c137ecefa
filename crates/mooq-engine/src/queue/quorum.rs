//! Rules of quorum queues that classic queues do not have
//! ([quorum queues](https://www.rabbitmq.com/docs/quorum-queues)).

use std::sync::Arc;

use mooq_core::{FieldTable, FieldValue, Message};

use super::delayed_retry::DelayedReturns;
use super::reject_publish::RejectPublish;
use crate::ids::ConsumerId;
use crate::message::Returns;
use crate::profile::Profile;
use crate::queue::delivery_limit::DeliveryLimit;
use crate::queue::kept_dead_letters::KeptDeadLetters;
use crate::time::Time;

/// Number of unacked deliveries that a consumer without a prefetch count may have.
pub(crate) const UNLIMITED_PREFETCH: u32 = 2000;

/// State that only a quorum queue has.
#[derive(Debug, Default)]
pub(crate) struct Quorum {
    /// Publishers that `reject-publish`, set by an argument or a policy, has stopped.
    pub(crate) reject_publish: RejectPublish,
    /// Cancelled consumers that still have unacked deliveries.
    pub(crate) cancelled: Vec<ConsumerId>,
    /// Number of messages that were fetched and are unacked.
    pub(crate) fetched: u32,
    /// Time of the next check for overdue deliveries.
    pub(crate) looks_for_overdue: Option<Time>,
    /// Messages that returned and wait before they are ready again.
    pub(crate) delayed: DelayedReturns,
    /// Dead letters that stay until they have arrived elsewhere.
    pub(crate) dead_letters: KeptDeadLetters,
}

impl DeliveryLimit {
    /// Returns the limit that an argument sets. RabbitMQ does not check the argument: a value that
    /// is not a number is higher than every number, as Erlang compares them.
    pub(crate) fn of(argument: Option<&FieldValue>, profile: Profile) -> Self {
        match argument {
            None => profile.default_delivery_limit(),
            Some(value) => value.as_i64().map_or(Self::AtMost(u64::MAX), |limit| {
                u64::try_from(limit).map_or(profile.negative_delivery_limit(), Self::AtMost)
            }),
        }
    }

    /// True if a message with these returns may not be delivered again.
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

/// Returns the message as its next consumer gets it: the header `x-delivery-count` is the number of
/// times that the message returned.
pub(crate) fn with_delivery_count(
    message: &Arc<Message>,
    returns: Returns,
    profile: Profile,
) -> Arc<Message> {
    // A dead letter of another quorum queue has only failed deliveries so far.
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
    fn delivery_limit_that_is_no_number_or_negative_limits_nothing() {
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
