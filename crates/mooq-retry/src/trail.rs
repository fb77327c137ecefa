//! The headers of a retried message.

use std::sync::Arc;

use mooq_core::{FieldTable, FieldValue, Message, Properties, QueueName};

/// Number of failed attempts so far.
const ATTEMPTS: &str = "mooq-attempts";
/// The latest error.
const ERROR: &str = "mooq-error";
/// The queue that the attempts were made from.
const QUEUE: &str = "mooq-queue";
/// The exchange that the message was first published to.
const EXCHANGE: &str = "mooq-exchange";
/// The routing key that the message was first published with.
const ROUTING_KEY: &str = "mooq-routing-key";
/// The message's `expiration`, which its copy does not have.
const EXPIRATION: &str = "mooq-expiration";
/// The message's `user_id`, likewise.
const USER_ID: &str = "mooq-user-id";
/// The message's header `CC`, which a parked copy does not have.
const CC: &str = "mooq-cc";
/// The reason why a message is parked.
const PARKED: &str = "mooq-parked";

/// Headers of a broker's that belong to the queues that the message has been in. From RabbitMQ 4.0
/// on a broker ignores deaths that a client publishes: left out, they mean the same on every
/// version.
const OF_THE_BROKER: [&str; 7] = [
    "x-death",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-first-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-last-death-exchange",
];

/// Headers in which a quorum queue counts the deliveries of a message. The counts belong to that
/// queue, and the copy's next queue need not set them.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// Returns properties without the counts of the queue that the message was delivered from.
#[must_use]
pub fn without_counts(properties: &Arc<Properties>) -> Arc<Properties> {
    let mut properties = Arc::clone(properties);
    for count in COUNTS {
        if properties.headers.get(count).is_some() {
            Arc::make_mut(&mut properties).headers.remove(count);
        }
    }
    properties
}

/// Number of times that a message was dead-lettered from `queue`, by its header `x-death`.
#[must_use]
pub fn death_count(headers: &FieldTable, queue: &str) -> u64 {
    let Some(FieldValue::Array(deaths)) = headers.get("x-death") else {
        return 0;
    };
    let counts = deaths.iter().filter_map(|death| match death {
        FieldValue::Table(death) if death.get("queue")?.as_str() == Some(queue) => {
            death.get("count")?.as_i64()
        }
        _ => None,
    });
    // Any client may publish a message with such a header.
    let counts = counts.filter_map(|count| u64::try_from(count).ok());
    counts.fold(0, u64::saturating_add)
}

/// Number of times that a message was returned to its quorum queue, by its header
/// `x-delivery-count`.
#[must_use]
pub fn delivery_count(headers: &FieldTable) -> u64 {
    let count = headers.get(COUNTS[0]).and_then(FieldValue::as_i64);
    u64::try_from(count.unwrap_or(0)).unwrap_or(0)
}

/// The most bytes of an error that a header carries.
const ERROR_BYTES: usize = 1_000;

/// The history of a message, as its headers tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    /// Number of failed attempts before this delivery.
    pub attempts: u32,
    /// The latest error.
    pub error: Option<String>,
}

/// The marks that a copy of a message gets when it moves to another queue.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// Number of failed attempts so far.
    pub attempts: u32,
    /// The latest error. The first 1,000 bytes are kept.
    pub error: &'a str,
    /// The reason why the message is parked, if it is.
    pub parked: Option<&'a str>,
}

impl Trail {
    /// Reads the history of a message from `queue`, and puts back the exchange and the routing key
    /// that the message was first published with.
    ///
    /// Headers of another queue are ignored: there, the message is a new one. A message that was
    /// parked and has been moved back starts over.
    pub fn restore(message: &mut Arc<Message>, queue: &QueueName) -> Self {
        let headers = &message.properties.headers;
        let text = |key| headers.get(key).and_then(FieldValue::as_str);
        if text(QUEUE) != Some(queue.as_str()) {
            return Self::default();
        }
        let trail = match headers.get(PARKED) {
            Some(_) => Self::default(),
            None => Self {
                // Any client may publish a message with such a header.
                attempts: headers
                    .get(ATTEMPTS)
                    .and_then(FieldValue::as_i64)
                    .map_or(0, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX)),
                error: text(ERROR).map(str::to_owned),
            },
        };
        let exchange = text(EXCHANGE).and_then(|name| name.try_into().ok());
        let routing_key = text(ROUTING_KEY).and_then(|key| key.try_into().ok());
        let message = Arc::make_mut(message);
        if let Some(exchange) = exchange {
            message.exchange = exchange;
        }
        if let Some(routing_key) = routing_key {
            message.routing_key = routing_key;
        }
        trail
    }
}

impl Mark<'_> {
    /// Returns the properties of a copy of `message`, which was delivered from `queue`.
    #[must_use]
    pub fn put(&self, message: &Message, queue: &QueueName) -> Arc<Properties> {
        let mut properties = (*message.properties).clone();
        // Either would make the broker drop the copy early, or refuse it.
        let taken = [
            (EXPIRATION, properties.expiration.take()),
            (USER_ID, properties.user_id.take()),
        ];
        let headers = &mut properties.headers;
        for key in OF_THE_BROKER.into_iter().chain(COUNTS).chain([PARKED]) {
            headers.remove(key);
        }
        for (key, value) in taken {
            if let Some(value) = value {
                insert(headers, key, value.as_str());
            }
        }
        insert(headers, ATTEMPTS, i64::from(self.attempts));
        insert(headers, ERROR, shortened(self.error));
        insert(headers, QUEUE, queue.as_str());
        insert(headers, EXCHANGE, message.exchange.as_str());
        insert(headers, ROUTING_KEY, message.routing_key.as_str());
        if let Some(reason) = self.parked {
            insert(headers, PARKED, reason);
            // The default exchange would send copies to these queues as well.
            if let Some(cc) = headers.remove("CC") {
                insert(headers, CC, cc);
            }
        }
        Arc::new(properties)
    }
}

fn insert(headers: &mut FieldTable, key: &str, value: impl Into<FieldValue>) {
    if let Ok(key) = key.try_into() {
        headers.insert(key, value);
    }
}

fn shortened(error: &str) -> &str {
    let mut end = error.len().min(ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, FieldValue)]) -> Message {
        let mut properties = Properties::default();
        for (key, value) in headers {
            insert(&mut properties.headers, key, value.clone());
        }
        properties.expiration = Some("5000".try_into().unwrap());
        properties.user_id = Some("guest".try_into().unwrap());
        properties.message_id = Some("order-7".try_into().unwrap());
        Message {
            exchange: "shop".try_into().unwrap(),
            routing_key: "order.new".try_into().unwrap(),
            properties: Arc::new(properties),
            body: "three pencils".into(),
        }
    }

    fn queue() -> QueueName {
        "orders".try_into().unwrap()
    }

    fn moved(message: &Message, mark: Mark<'_>) -> Message {
        Message {
            exchange: "orders.retry".try_into().unwrap(),
            properties: mark.put(message, &queue()),
            ..message.clone()
        }
    }

    const ONCE: Mark<'_> = Mark {
        attempts: 1,
        error: "busy",
        parked: None,
    };

    #[test]
    fn trail_of_a_moved_message_is_read_back_with_exchange_and_key() {
        let mut back = Arc::new(moved(&message(&[]), ONCE));
        let trail = Trail::restore(&mut back, &queue());
        assert_eq!((trail.attempts, trail.error.as_deref()), (1, Some("busy")));
        assert_eq!((&*back.exchange, &*back.routing_key), ("shop", "order.new"));
        assert_eq!(back.properties.message_id.as_deref(), Some("order-7"));
        // Once more, and the first exchange is still known.
        let mut again = Arc::new(moved(
            &back,
            Mark {
                attempts: 2,
                ..ONCE
            },
        ));
        assert_eq!(Trail::restore(&mut again, &queue()).attempts, 2);
        assert_eq!(again.exchange, "shop");
    }

    #[test]
    fn trail_of_another_queue_or_of_a_parked_message_counts_nothing() {
        let copy = moved(&message(&[]), ONCE);
        let mut elsewhere = Arc::new(copy.clone());
        let other = "invoices".try_into().unwrap();
        assert_eq!(Trail::restore(&mut elsewhere, &other), Trail::default());
        assert_eq!(elsewhere.exchange, "orders.retry");

        let parked = Mark {
            parked: Some("failed"),
            ..ONCE
        };
        let mut replayed = Arc::new(moved(&copy, parked));
        assert_eq!(Trail::restore(&mut replayed, &queue()), Trail::default());
        // It may fail and be retried again.
        let again = moved(&replayed, ONCE);
        assert_eq!(Trail::restore(&mut Arc::new(again), &queue()).attempts, 1);
    }

    #[test]
    fn copy_has_no_property_that_would_end_or_refuse_it_and_keeps_their_values() {
        let first = message(&[("CC", FieldValue::Array(vec!["audit".into()]))]);
        let copy = moved(&first, ONCE);
        let properties = &copy.properties;
        assert_eq!(
            (&properties.expiration, &properties.user_id),
            (&None, &None)
        );
        let text = |key| properties.headers.get(key).and_then(FieldValue::as_str);
        assert_eq!(text("mooq-expiration"), Some("5000"));
        assert_eq!(text("mooq-user-id"), Some("guest"));
        assert!(properties.headers.get("CC").is_some());
        // The values outlive the next move.
        let parked = Mark {
            parked: Some("failed"),
            ..ONCE
        };
        let headers = &moved(&copy, parked).properties.headers;
        assert!(headers.get("mooq-expiration").is_some());
        assert!(headers.get("CC").is_none() && headers.get("mooq-cc").is_some());
    }

    #[test]
    fn copy_leaves_the_counts_of_its_queues_behind() {
        let counts = OF_THE_BROKER.into_iter().chain(COUNTS);
        let counts: Vec<_> = counts.map(|key| (key, FieldValue::from(3))).collect();
        let copy = moved(&message(&counts), ONCE);
        assert!(
            copy.properties
                .headers
                .iter()
                .all(|(key, _)| key.starts_with("mooq-"))
        );
    }

    #[test]
    fn attempts_are_read_whatever_stands_in_the_header() {
        for (value, attempts) in [
            (FieldValue::from(3), 3),
            (FieldValue::from(-3), 0),
            (FieldValue::from(i64::MAX), u32::MAX),
            (FieldValue::from("3"), 0),
            (FieldValue::Void, 0),
        ] {
            let headers = [("mooq-queue", "orders".into()), ("mooq-attempts", value)];
            let mut message = Arc::new(message(&headers));
            assert_eq!(Trail::restore(&mut message, &queue()).attempts, attempts);
        }
    }

    #[test]
    fn long_error_is_cut_between_characters() {
        let error = "ä".repeat(600);
        assert_eq!(shortened(&error).len(), 1_000);
        assert_eq!(shortened(&error[..]).chars().count(), 500);
        assert_eq!(shortened(&format!("x{error}")).len(), 999);
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn deaths_are_counted_whatever_stands_in_the_header() {
        let died = |queue: &str, count: FieldValue| {
            let table = FieldTable::new().with("queue", queue).unwrap();
            FieldValue::Table(table.with("count", count).unwrap())
        };
        let counted = |header: FieldValue| {
            let headers = FieldTable::new().with("x-death", header).unwrap();
            death_count(&headers, "q")
        };
        assert_eq!(death_count(&FieldTable::new(), "q"), 0);
        let often = FieldValue::I64(i64::MAX);
        for (deaths, count) in [
            (
                vec![
                    died("q", 2.into()),
                    died("other", 5.into()),
                    died("q", 1.into()),
                ],
                3,
            ),
            (
                vec![
                    died("q", (-1).into()),
                    died("q", "text".into()),
                    FieldValue::Void,
                ],
                0,
            ),
            (
                vec![
                    died("q", often.clone()),
                    died("q", often.clone()),
                    died("q", often),
                ],
                u64::MAX,
            ),
        ] {
            assert_eq!(counted(FieldValue::Array(deaths)), count);
        }
        assert_eq!(counted("no array".into()), 0);
    }
}
