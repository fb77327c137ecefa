//! Differences between an exchange or a queue as it should be and as it is.

use std::collections::BTreeSet;
use std::fmt;

use mooq_core::json::value_to;
use mooq_core::{Error, FieldTable};
use serde::Serialize;

use super::observed::FoundQueue;
use crate::value::exchange::Exchange;
use crate::value::queue::Queue;

/// An option or an argument of an exchange, a queue or a policy that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The option's or the argument's name, for example `durable` or `x-max-length`.
    pub what: String,
    /// The value of the topology, as text; `none` if it has none.
    pub wanted: String,
    /// The broker's value, as text; `none` if it has none.
    pub found: String,
}

impl Change {
    pub(crate) fn new(what: &str, wanted: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self {
            what: what.to_owned(),
            wanted: wanted.to_string(),
            found: found.to_string(),
        }
    }

    /// Reads the broker's error for a declare of something that is there with other options. It
    /// names the first difference alone. None if the declare was refused for another reason.
    pub(crate) fn told_by(err: &Error) -> Option<Self> {
        let text = &err.reason()?.text;
        let (_, rest) = text.split_once("inequivalent arg '")?;
        let (what, rest) = rest.split_once('\'')?;
        // A reply text has at most 255 bytes: with a long name, the values are cut off.
        let values = rest.rsplit_once(": received ");
        let values = values.and_then(|(_, values)| values.split_once(" but current is "));
        let (wanted, found) = values.unwrap_or(("?", "?"));
        Some(Self::new(what, plain(wanted), plain(found)))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [wanted, found] = [&self.wanted, &self.found].map(|value| match value.as_str() {
            "" => "''",
            value => value,
        });
        write!(f, "{} is {found} and not {wanted}", self.what)
    }
}

/// A value out of RabbitMQ's words: `the value '10' of type 'long'`, or `'true'`.
fn plain(told: &str) -> &str {
    let value = told.strip_prefix("the value ").unwrap_or(told);
    let value = value
        .split_once("' of type '")
        .map_or(value, |(value, _)| value);
    value.trim_matches('\'')
}

/// The differences of an exchange.
pub(crate) fn exchange_changes(wanted: &Exchange, found: &Exchange) -> Vec<Change> {
    let mut changes = Vec::new();
    if wanted.kind().as_str() != found.kind().as_str() {
        changes.push(Change::new("type", wanted.kind(), found.kind()));
    }
    for (what, wanted, found) in [
        ("durable", wanted.is_durable(), found.is_durable()),
        (
            "auto_delete",
            wanted.is_auto_delete(),
            found.is_auto_delete(),
        ),
        ("internal", wanted.is_internal(), found.is_internal()),
    ] {
        if wanted != found {
            changes.push(Change::new(what, wanted, found));
        }
    }
    table_changes(wanted.arguments(), found.arguments(), &[], &mut changes);
    changes
}

const QUEUE_TYPE: &str = "x-queue-type";

/// The differences of a queue.
pub(crate) fn queue_changes(wanted: &Queue, found: &FoundQueue) -> Vec<Change> {
    let mut changes = Vec::new();
    // Without a type, the virtual host's default was right when the queue was declared. RabbitMQ
    // adds it to the arguments of some queues.
    if let Some(kind) = wanted.kind()
        && kind != found.kind
    {
        changes.push(Change::new(QUEUE_TYPE, kind, &found.kind));
    }
    for (what, wanted, is) in [
        ("durable", wanted.is_durable(), found.queue.is_durable()),
        ("exclusive", false, found.exclusive),
        (
            "auto_delete",
            wanted.is_auto_delete(),
            found.queue.is_auto_delete(),
        ),
    ] {
        if wanted != is {
            changes.push(Change::new(what, wanted, is));
        }
    }
    let (wanted, found) = (wanted.arguments(), found.queue.arguments());
    table_changes(wanted, found, &[QUEUE_TYPE], &mut changes);
    changes
}

/// Adds the differences of two tables. As JSON, numbers of all widths are the same.
pub(crate) fn table_changes(
    wanted: &FieldTable,
    found: &FieldTable,
    but: &[&str],
    changes: &mut Vec<Change>,
) {
    let keys = wanted.iter().chain(found).map(|(key, _)| key.as_str());
    let keys: BTreeSet<_> = keys.filter(|key| !but.contains(key)).collect();
    for key in keys {
        let [wanted, found] = [wanted, found].map(|table| table.get(key).map(value_to));
        if wanted != found {
            let [wanted, found] = [wanted, found].map(|value| match value {
                None => "none".to_owned(),
                Some(serde_json::Value::String(text)) => text,
                Some(value) => value.to_string(),
            });
            changes.push(Change::new(key, wanted, found));
        }
    }
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use mooq_core::CloseReason;

    use super::*;
    use crate::broker::observed::Counts;

    fn told(text: &str) -> Option<Change> {
        Change::told_by(&Error::channel_closed(CloseReason {
            code: 406,
            text: text.to_owned(),
            class_id: 50,
            method_id: 10,
        }))
    }

    #[test]
    fn change_is_read_from_rabbitmqs_words() {
        for (text, expected) in [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': \
                 received the value '10' of type 'long' but current is none",
                Change::new("x-max-length", 10, "none"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'a: received b' in \
                 vhost '/': received 'topic' but current is 'direct'",
                Change::new("type", "topic", "direct"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'a very long na",
                Change::new("durable", "?", "?"),
            ),
        ] {
            assert_eq!(told(text), Some(expected));
        }
        let other = "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/'";
        assert_eq!(told(other), None);
    }

    fn found(queue: Queue, kind: &str) -> FoundQueue {
        FoundQueue {
            queue,
            exclusive: false,
            kind: kind.to_owned(),
            bytes: 0,
            counts: Counts::default(),
        }
    }

    #[test]
    fn queue_type_that_is_left_open_is_no_difference() {
        let typed = found(Queue::new("q").quorum(), "quorum");
        assert_eq!(queue_changes(&Queue::new("q"), &typed), []);
        let classic = Queue::new("q").argument("x-queue-type", "classic");
        assert_eq!(queue_changes(&classic, &found("q".into(), "classic")), []);
        let expected = [Change::new("x-queue-type", "classic", "quorum")];
        assert_eq!(queue_changes(&classic, &typed), expected);
    }

    #[test]
    fn every_difference_is_told_with_both_values() {
        let wanted = Queue::new("q")
            .auto_delete()
            .max_length(5)
            .argument("x-a", "5");
        let is = Queue::new("q")
            .transient()
            .argument("x-a", 5)
            .argument("x-b", true);
        let expected = [
            Change::new("durable", true, false),
            Change::new("auto_delete", true, false),
            Change::new("x-a", "5", 5),
            Change::new("x-b", "none", true),
            Change::new("x-max-length", 5, "none"),
        ];
        let changes = queue_changes(&wanted, &found(is, "classic"));
        assert_eq!(changes, expected);
        assert_eq!(changes[4].to_string(), "x-max-length is none and not 5");

        let wanted = Exchange::new("e", "topic")
            .internal()
            .alternate_exchange("a");
        let expected = [
            Change::new("type", "topic", "fanout"),
            Change::new("internal", true, false),
            Change::new("alternate-exchange", "a", "none"),
        ];
        assert_eq!(
            exchange_changes(&wanted, &Exchange::new("e", "fanout")),
            expected
        );
    }
}
