//! Dead letters: messages that left their queue unconsumed
//! ([dead letter exchanges](https://www.rabbitmq.com/docs/dlx)).

use std::sync::Arc;

use mooq_core::{
    ExchangeName, FieldTable, FieldValue, Message, QueueName, RoutingKey, ShortString,
};

use super::x_death;
use crate::profile::Profile;

/// The broker's data about a message beyond what consumers see. Most messages have none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations {
    /// Keys that the message is routed by besides its own: from CC and BCC.
    pub(crate) more_keys: Vec<RoutingKey>,
    /// Those of `more_keys` that no consumer is to see.
    pub(crate) bcc: Vec<RoutingKey>,
    /// Number of the message's deliveries from quorum queues that have failed.
    pub(crate) failed_deliveries: u32,
    /// The message's deaths, one for each queue and reason, the latest first.
    deaths: Vec<Death>,
}

/// Reason for which a message left its queue without being consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A consumer rejected the message.
    Rejected,
    /// The message had waited for too long.
    Expired,
    /// The queue had too many messages.
    MaxLen,
    /// The message was requeued too often.
    DeliveryLimit,
}

impl Reason {
    /// Returns the reason as it stands in the header `x-death`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLen => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

#[derive(Debug, Clone)]
struct Death {
    queue: QueueName,
    reason: Reason,
    count: i64,
    /// Time of the first such death, in seconds since the Unix epoch.
    time: u64,
    exchange: ExchangeName,
    routing_keys: Vec<RoutingKey>,
    /// The message's expiration, which the message loses by dying.
    original_expiration: Option<ShortString>,
}

/// A message about to leave its queue unconsumed.
#[derive(Debug)]
pub(crate) struct Dying<'a> {
    pub(crate) message: &'a Message,
    pub(crate) annotations: Option<&'a Annotations>,
    pub(crate) queue: &'a QueueName,
    pub(crate) reason: Reason,
    /// Time of the death, in seconds since the Unix epoch.
    pub(crate) time: u64,
}

/// A message about to be published again to a dead-letter exchange.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) message: Arc<Message>,
    pub(crate) annotations: Arc<Annotations>,
    pub(crate) reason: Reason,
    profile: Profile,
}

impl DeadLetter {
    /// Turns a dying message into a dead letter for an exchange. The routing key is `routing_key`,
    /// or else the message's own.
    pub(crate) fn new(
        dying: &Dying<'_>,
        exchange: &ExchangeName,
        routing_key: Option<&RoutingKey>,
        profile: Profile,
    ) -> Self {
        let message = dying.message;
        let mut annotations = dying.annotations.cloned().unwrap_or_default();
        let mut properties = (*message.properties).clone();
        properties.expiration = None;
        let headers = &mut properties.headers;
        if profile.deaths_are_in_the_header() {
            let death = Death::new(dying, annotations.seen_keys(message));
            x_death::record(headers, death.as_table());
        } else {
            annotations.record_death(dying);
            annotations.write_deaths(dying, headers);
        }

        let routing_key = match routing_key {
            Some(key) => {
                annotations.more_keys.clear();
                if profile.drops_cc_with_dead_letter_key() {
                    headers.remove("CC");
                }
                key.clone()
            }
            None => message.routing_key.clone(),
        };
        Self {
            message: Arc::new(Message {
                exchange: exchange.clone(),
                routing_key,
                properties: properties.into(),
                body: message.body.clone(),
            }),
            annotations: annotations.into(),
            reason: dying.reason,
            profile,
        }
    }

    /// Returns true if delivery to `queue` would close a dead-letter cycle: the message died in
    /// that queue before, and no consumer has rejected it since.
    pub(crate) fn is_cycle(&self, queue: &QueueName) -> bool {
        if self.reason == Reason::Rejected {
            return false;
        }
        if self.profile.deaths_are_in_the_header() {
            return x_death::is_cycle(&self.message.properties.headers, queue);
        }
        let deaths = &self.annotations.deaths;
        let Some(at) = deaths.iter().position(|death| death.queue == *queue) else {
            return false;
        };
        deaths
            .iter()
            .take(at + 1)
            .all(|death| death.reason != Reason::Rejected)
    }
}

impl Annotations {
    /// Creates the annotations of a message that is routed by more keys than its own.
    pub(crate) fn new(more_keys: Vec<RoutingKey>, bcc: Vec<RoutingKey>) -> Self {
        Self {
            more_keys,
            bcc,
            failed_deliveries: 0,
            deaths: Vec::new(),
        }
    }

    fn record_death(&mut self, dying: &Dying<'_>) {
        let known = self
            .deaths
            .iter()
            .position(|death| death.queue == *dying.queue && death.reason == dying.reason);
        let death = match known {
            Some(at) => {
                let mut death = self.deaths.remove(at);
                death.count += 1;
                death
            }
            None => Death::new(dying, self.seen_keys(dying.message)),
        };
        self.deaths.insert(0, death);
    }

    /// Writes the deaths into a message's headers, regardless of what its publisher wrote there.
    fn write_deaths(&self, dying: &Dying<'_>, headers: &mut FieldTable) {
        set(headers, "x-death", self.deaths_as_header());
        let mut said = vec!["x-last-death"];
        let is_first = matches!(self.deaths.as_slice(), [only] if only.count == 1);
        if is_first {
            said.push("x-first-death");
        }
        for prefix in said {
            let reason = dying.reason.as_str();
            set(headers, &format!("{prefix}-reason"), reason.into());
            let queue = dying.queue.as_str();
            set(headers, &format!("{prefix}-queue"), queue.into());
            let exchange = dying.message.exchange.as_str();
            set(headers, &format!("{prefix}-exchange"), exchange.into());
        }
    }

    /// Returns the keys that a message was routed by, without those that no consumer is to see.
    fn seen_keys(&self, message: &Message) -> Vec<RoutingKey> {
        let mut keys = vec![message.routing_key.clone()];
        keys.extend(self.more_keys.iter().cloned());
        for hidden in &self.bcc {
            if let Some(at) = keys.iter().position(|key| key == hidden) {
                keys.remove(at);
            }
        }
        keys
    }

    fn deaths_as_header(&self) -> FieldValue {
        self.deaths
            .iter()
            .map(|death| FieldValue::from(death.as_table()))
            .collect::<Vec<_>>()
            .into()
    }
}

impl Death {
    fn new(dying: &Dying<'_>, routing_keys: Vec<RoutingKey>) -> Self {
        Self {
            queue: dying.queue.clone(),
            reason: dying.reason,
            count: 1,
            time: dying.time,
            exchange: dying.message.exchange.clone(),
            routing_keys,
            original_expiration: dying.message.properties.expiration.clone(),
        }
    }

    fn as_table(&self) -> FieldTable {
        let mut table = FieldTable::new();
        set(&mut table, "count", self.count.into());
        set(&mut table, "reason", self.reason.as_str().into());
        set(&mut table, "queue", self.queue.as_str().into());
        set(&mut table, "time", FieldValue::Timestamp(self.time));
        set(&mut table, "exchange", self.exchange.as_str().into());
        let keys = self.routing_keys.iter().map(|key| key.as_str().into());
        set(
            &mut table,
            "routing-keys",
            keys.collect::<Vec<FieldValue>>().into(),
        );
        if let Some(expiration) = &self.original_expiration {
            set(
                &mut table,
                "original-expiration",
                expiration.as_str().into(),
            );
        }
        table
    }
}

/// Sets one of the broker's own headers, whose names are all short enough.
fn set(table: &mut FieldTable, key: &str, value: FieldValue) {
    if let Ok(key) = key.try_into() {
        table.insert(key, value);
    }
}
