//! The delayed message exchange, which routes as another kind does, after the delay that a message
//! asks for ([the plugin](https://github.com/rabbitmq/rabbitmq-delayed-message-exchange)).

use std::collections::BTreeMap;
use std::sync::Arc;

use mooq_core::{ExchangeKind, FieldTable, FieldValue};

use super::Engine;
use super::bindings::Routing;
use super::ids::ExchangeId;
use super::message::Accepted;
use super::options::Options;
use super::reply_error::ReplyError;
use super::time::Time;

const DELAYED_TYPE: &str = "x-delayed-type";
const DELAY: &str = "x-delay";

/// Longest delay, in milliseconds: the longest that Erlang's timers run. A message that asks for
/// more is not delayed.
const MAX_DELAY: i64 = 4_294_967_295;

/// Messages that an exchange holds back, by the end of their delay and then in the order of their
/// arrival.
#[derive(Debug, Default)]
pub(crate) struct DelayedMessages {
    waiting: BTreeMap<(Time, u64), Accepted>,
    /// Number of messages held back so far, which orders them.
    count: u64,
}

impl DelayedMessages {
    fn push(&mut self, until: Time, accepted: Accepted) {
        self.count += 1;
        self.waiting.insert((until, self.count), accepted);
    }

    fn pop_due(&mut self, now: Time) -> Option<Accepted> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Returns the kind by whose rules a delayed message exchange routes.
pub(crate) fn routes_as(arguments: &FieldTable, options: &Options) -> Result<Routing, ReplyError> {
    let kind = arguments.get(DELAYED_TYPE).and_then(FieldValue::as_str);
    let kind = kind.and_then(|kind| ExchangeKind::try_from(kind).ok());
    match kind {
        None | Some(ExchangeKind::DelayedMessage) => Err(ReplyError::precondition_failed(
            "Invalid argument, 'x-delayed-type' must be an existing exchange type",
        )),
        Some(kind) => Routing::of(&kind, options)
            .ok_or_else(|| ReplyError::unknown_exchange_type(&kind, options.profile)),
    }
}

/// Returns the delay that a message asks for, in milliseconds, if it asks for one.
pub(crate) fn delay(headers: &FieldTable) -> Option<u64> {
    let millis = asked_delay(headers).filter(|millis| *millis <= MAX_DELAY)?;
    u64::try_from(millis).ok().filter(|millis| *millis > 0)
}

fn asked_delay(headers: &FieldTable) -> Option<i64> {
    match headers.get(DELAY)? {
        FieldValue::String(text) => text.parse().ok(),
        FieldValue::F32(value) => Some(*value as i64),
        FieldValue::F64(value) => Some(*value as i64),
        FieldValue::Timestamp(_) | FieldValue::Bool(_) => None,
        integer => integer.as_i64(),
    }
}

/// Negates the delay in the header of a message whose delay is over. The negative value shows
/// consumers that the message was delayed, and stops further delays.
fn released(mut accepted: Accepted) -> Accepted {
    if let Some(millis) = asked_delay(&accepted.message.properties.headers) {
        let opposite = i32::try_from(-millis).map_or(FieldValue::I64(-millis), FieldValue::I32);
        let message = Arc::make_mut(&mut accepted.message);
        if let Ok(name) = DELAY.try_into() {
            let properties = Arc::make_mut(&mut message.properties);
            properties.headers.insert(name, opposite);
        }
    }
    accepted
}

impl Engine {
    /// Holds a message back.
    pub(super) fn hold_until_due(&mut self, key: ExchangeId, millis: u64, accepted: Accepted) {
        let until = self.now.plus_millis(millis);
        let exchange = self.exchanges.get_mut(key);
        if let Some(delayed) = exchange.and_then(|exchange| exchange.delayed.as_mut()) {
            delayed.push(until, accepted);
            self.timers.set_exchange(until, key);
        }
    }

    /// Routes the messages of an exchange whose delays are over.
    pub(super) fn release_delayed(&mut self, key: ExchangeId, now: Time) {
        while let Some(exchange) = self.exchanges.get_mut(key)
            && let Some(accepted) = exchange.delayed.as_mut().and_then(|d| d.pop_due(now))
        {
            let vhost = exchange.vhost;
            let accepted = released(accepted);
            let Ok(queues) = self.route(vhost, key, &accepted) else {
                return;
            };
            for &queue in &queues {
                self.arrive(queue, accepted.clone(), None);
            }
            self.router.put_back(queues);
        }
    }
}
