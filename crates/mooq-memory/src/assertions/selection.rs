//! Selection of records, and assertions on their number.

use std::fmt::Write;

use bytes::Bytes;
use glob_match::glob_match;
use mooq_core::FieldValue;
use serde::Serialize;
use serde_json::Value;

use super::criterion::{Criterion, Finding};
use super::differences::differences;
use super::record::{Recorded, connection, consumer, settled};
use super::report::{count_of, expectation, numbered, overflow, too_few, too_many};
use super::text::{body, indent, queues, quoted, shortened};
use crate::broker::Recording;
use mooq_engine::{
    DeadLetterReason, Log, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
    Settled,
};

/// Selection of the publishes, deliveries or dead letters of a recording that meet all criteria.
/// The recording is not read before an `assert_…`, [`list`](Self::list) or [`count`](Self::count).
///
/// Names and routing keys are given as [globs](https://docs.rs/glob-match), as for
/// `InMemoryBroker::queues` and faults: `notify.*` matches every name that begins with `notify.`.
///
/// A failed assertion panics with a message that shows the expected records, the actual ones, the
/// nearest of these and its differences:
///
/// ```text
/// expected exactly 1 publish with
///     exchange: "invoices"
///     body: {"cents":750,"order":7}
/// found no publish among 2 recorded; the nearest other is publish 2:
///     exchange: "invoices"
///     body: {"cents":700,"order":7} (differs)
///         at /cents: 700 instead of 750
/// recorded publishes:
///     1: exchange "orders", routing key "placed", body {"pieces":3}, routed to "to-bill"
///     2: exchange "invoices", routing key "fr", body {"cents":700,"order":7}, unroutable
/// ```
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mooq::memory::{DeadLetterReason, InMemoryBroker, Settled};
/// use mooq::{Delivery, Retry};
///
/// let broker = InMemoryBroker::start();
/// let recording = broker.record(1_000);
///
/// // A service that rejects what it cannot use.
/// let conn = mooq::connect(&broker).await?;
/// let chan = conn.create_channel().await?;
/// chan.declare_queue("refused").await?;
/// chan.register_consumer("numbers", "direct")
///     .queue("to-count")
///     .dead_letter("", "refused")
///     .callback(|number: Delivery<i32>| async move {
///         if number.msg < 0 { Err("it is negative") } else { Ok(()) }
///     })
///     .retry(Retry::never().then_reject())
///     .await?;
/// for number in [1, -2] {
///     chan.publish("numbers", &number).await?;
/// }
/// conn.process_events().until_idle().await?;
///
/// recording.publishes().exchange("numbers").assert_json_in_order(&[1, -2]);
/// recording.publishes().json(&1).routed_to("to-count").assert_once();
/// recording.publishes().exchange("refunds").assert_never();
/// recording.deliveries().queue("to-count").json(&1).settled(Settled::Acked).assert_once();
/// recording.dead_letters()
///     .queue("to-count")
///     .reason(DeadLetterReason::Rejected)
///     .routed_to("refused")
///     .assert_once();
/// # Ok::<(), mooq::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "nothing is asserted until an assert method is called"]
pub struct Selection<'a, R> {
    recording: &'a Recording,
    criteria: Vec<Criterion<R>>,
}

impl Recording {
    /// Selects publishes that the broker took.
    pub fn publishes(&self) -> Selection<'_, RecordedPublish> {
        Selection::new(self)
    }

    /// Selects messages that were sent to consumers, or fetched, together with their outcomes.
    pub fn deliveries(&self) -> Selection<'_, RecordedDelivery> {
        Selection::new(self)
    }

    /// Selects messages that left a queue without being consumed. This includes messages that were
    /// dropped because there was no dead-letter exchange.
    pub fn dead_letters(&self) -> Selection<'_, RecordedDeadLetter> {
        Selection::new(self)
    }
}

/// Criteria and assertions for every kind of record.
impl<'a, R: Recorded> Selection<'a, R> {
    fn new(recording: &'a Recording) -> Self {
        let criteria = Vec::new();
        Self {
            recording,
            criteria,
        }
    }

    fn and(mut self, criterion: Criterion<R>) -> Self {
        self.criteria.push(criterion);
        self
    }

    fn and_text(
        self,
        label: &str,
        expected: impl Into<String>,
        actual: impl Fn(&R) -> String + Send + Sync + 'static,
    ) -> Self {
        self.and(Criterion::text(label, expected, actual))
    }

    /// Selects records with a name, returned by `name`, that matches this glob.
    fn and_glob(
        self,
        label: &str,
        glob: &str,
        name: impl Fn(&R) -> String + Send + Sync + 'static,
    ) -> Self {
        let (glob, shown) = (glob.to_owned(), quoted(glob));
        self.and(Criterion::new(label, shown, move |r: &R| {
            let name = name(r);
            Finding::new(is_named(&name, &glob), quoted(&name))
        }))
    }

    /// Selects records that have a name, and whose name matches this glob. `shown` returns the
    /// name's text for the message of a failure.
    fn and_named(
        self,
        label: &str,
        glob: &str,
        name: impl Fn(&R) -> Option<&str> + Send + Sync + 'static,
        shown: impl Fn(&R) -> String + Send + Sync + 'static,
    ) -> Self {
        let (glob, expected) = (glob.to_owned(), quoted(glob));
        self.and(Criterion::new(label, expected, move |r: &R| {
            let fits = name(r).is_some_and(|name| is_named(name, &glob));
            Finding::new(fits, shown(r))
        }))
    }

    /// Selects records published to an exchange whose name matches this glob; a dead letter is
    /// published to its dead-letter exchange.
    pub fn exchange(self, glob: &str) -> Self {
        self.and_glob("exchange", glob, |r| r.message().exchange.to_string())
    }

    /// Selects records published with a routing key that matches this glob.
    pub fn routing_key(self, glob: &str) -> Self {
        self.and_glob("routing key", glob, |r| r.message().routing_key.to_string())
    }

    /// Selects records whose body is JSON and equals `value`. The order of keys does not matter.
    ///
    /// # Panics
    /// If `value` cannot be written as JSON.
    #[track_caller]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let expected = as_json(value);
        let shown = shortened(&expected.to_string());
        self.and(Criterion::new("body", shown, move |r: &R| {
            let found = &r.message().body;
            let Ok(value) = serde_json::from_slice::<Value>(found) else {
                return Finding::new(false, format!("{}, which is not JSON", body(found)));
            };
            Finding {
                fits: value == expected,
                actual: shortened(&value.to_string()),
                differences: differences(&expected, &value),
            }
        }))
    }

    /// Selects records whose body consists of exactly these bytes.
    pub fn body(self, bytes: impl Into<Bytes>) -> Self {
        let expected = bytes.into();
        let shown = body(&expected);
        self.and(Criterion::new("body", shown, move |r: &R| {
            let found = &r.message().body;
            Finding::new(*found == expected, body(found))
        }))
    }

    /// Selects records with a header of this name and value.
    pub fn header(self, name: &str, value: impl Into<FieldValue>) -> Self {
        let (name, value) = (name.to_owned(), value.into());
        let label = format!("header {}", quoted(&name));
        let shown = format!("{value:?}");
        self.and(Criterion::new(label, shown, move |r: &R| {
            match r.message().properties.headers.get(&name) {
                Some(found) => Finding::new(*found == value, format!("{found:?}")),
                None => Finding::new(false, "none"),
            }
        }))
    }

    /// Selects records for which `f` returns true; `what` names this criterion in the message of a
    /// failure.
    pub fn matching(self, what: &str, f: impl Fn(&R) -> bool + Send + Sync + 'static) -> Self {
        self.and(Criterion::new(what, "true", move |r: &R| {
            let fits = f(r);
            Finding::new(fits, fits.to_string())
        }))
    }

    /// Number of matching records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.recording.with_log(|log| self.fitting(log).len())
    }

    /// Matching records, in the order in which they were recorded.
    #[must_use]
    pub fn list(&self) -> Vec<R> {
        let copy = |(_, record): (usize, &R)| record.clone();
        self.recording
            .with_log(|log| self.fitting(log).into_iter().map(copy).collect())
    }

    /// Asserts that at least one record matches.
    ///
    /// # Panics
    /// If no record matches.
    #[track_caller]
    pub fn assert_at_least_once(&self) {
        let failure = self.recording.with_log(|log| {
            let fitting = self.fitting(log);
            fitting.is_empty().then(|| {
                let [one, _] = R::NAMES;
                let head = format!("expected at least 1 {one}");
                expectation(&head, &self.criteria)
                    + &too_few(&self.criteria, &fitting, R::of(log))
                    + &overflow(log)
            })
        });
        report(failure);
    }

    /// Asserts that exactly one record matches.
    ///
    /// # Panics
    /// As [`assert_times`](Self::assert_times).
    #[track_caller]
    pub fn assert_once(&self) {
        self.assert_times(1);
    }

    /// Asserts that no record matches.
    ///
    /// # Panics
    /// As [`assert_times`](Self::assert_times).
    #[track_caller]
    pub fn assert_never(&self) {
        self.assert_times(0);
    }

    /// Asserts that exactly `n` records match.
    ///
    /// # Panics
    /// If fewer or more records match, or if the number is unknown because the recording was full.
    #[track_caller]
    pub fn assert_times(&self, n: usize) {
        let failure = self.recording.with_log(|log| {
            let (fitting, records) = (self.fitting(log), R::of(log));
            if fitting.len() == n && log.missed() == 0 {
                return None;
            }
            let head = match n {
                0 => format!("expected {}", count_of::<R>(0)),
                n => format!("expected exactly {}", count_of::<R>(n)),
            };
            let found = if fitting.len() < n {
                too_few(&self.criteria, &fitting, records)
            } else {
                too_many(&fitting, records.len())
            };
            Some(expectation(&head, &self.criteria) + &found + &overflow(log))
        });
        report(failure);
    }

    /// Asserts that the bodies of the matching records are exactly these values, as JSON, in this
    /// order.
    ///
    /// # Panics
    /// If the bodies differ, or if they are unknown because the recording was full; if a value
    /// cannot be written as JSON.
    #[track_caller]
    pub fn assert_json_in_order<T: Serialize>(&self, values: &[T]) {
        let expected: Vec<_> = values.iter().map(as_json).collect();
        let failure = self.recording.with_log(|log| {
            let fitting = self.fitting(log);
            let found: Vec<_> = fitting
                .iter()
                .map(|(_, record)| &record.message().body)
                .collect();
            let fits = |(at, expected): (usize, &Value)| {
                let found = found
                    .get(at)
                    .map(|body| serde_json::from_slice::<Value>(body));
                matches!(found, Some(Ok(found)) if found == *expected)
            };
            let same = expected.iter().enumerate().take_while(|e| fits(*e)).count();
            let all_fit = same == expected.len() && same == found.len();
            if all_fit && log.missed() == 0 {
                return None;
            }
            let [_, several] = R::NAMES;
            let head = format!("expected exactly these {several} in this order");
            let mut text = expectation(&head, &self.criteria);
            text += "bodies:\n";
            for (at, value) in numbered(&expected) {
                text += &indent(1, &format!("{at}: {}", shortened(&value.to_string())));
            }
            let _ = write!(text, "found {}", count_of::<R>(found.len()));
            if !all_fit {
                let _ = write!(text, ", which differ from number {} on", same + 1);
            }
            text += ":\n";
            for (at, found) in numbered(&found) {
                text += &indent(1, &format!("{at}: {}", body(found)));
            }
            Some(text + &overflow(log))
        });
        report(failure);
    }

    /// Matching records, with their numbers among all records.
    fn fitting<'l>(&self, log: &'l Log) -> Vec<(usize, &'l R)> {
        let fits = |record: &R| self.criteria.iter().all(|c| c.check(record).fits);
        numbered(R::of(log))
            .filter(|(_, record)| fits(record))
            .collect()
    }
}

/// Further criteria for publishes.
impl Selection<'_, RecordedPublish> {
    /// Selects publishes that were routed to a queue whose name matches this glob.
    pub fn routed_to(self, queue: &str) -> Self {
        let queue = queue.to_owned();
        self.and(Criterion::new(
            "routed to",
            quoted(&queue),
            move |r: &RecordedPublish| {
                let fits = r.queues.iter().any(|name| is_named(name, &queue));
                Finding::new(fits, queues(&r.queues))
            },
        ))
    }

    /// Selects publishes of a connection whose name (`ConnectOptions::name`) matches this glob.
    pub fn connection(self, glob: &str) -> Self {
        let name = |r: &RecordedPublish| connection(r.connection.as_ref());
        self.and_named("connection", glob, |r| r.connection.as_deref(), name)
    }

    /// Selects publishes with this outcome.
    pub fn outcome(self, expected: PublishOutcome) -> Self {
        self.and_text("outcome", expected.as_str(), |r| {
            r.outcome.as_str().to_owned()
        })
    }
}

/// Further criteria for deliveries.
impl Selection<'_, RecordedDelivery> {
    /// Selects deliveries from a queue whose name matches this glob; `amq.rabbitmq.reply-to` stands
    /// for direct replies.
    pub fn queue(self, glob: &str) -> Self {
        self.and_glob("queue", glob, |r| r.queue.to_string())
    }

    /// Selects deliveries to a connection whose name (`ConnectOptions::name`) matches this glob.
    pub fn connection(self, glob: &str) -> Self {
        let name = |r: &RecordedDelivery| connection(r.connection.as_ref());
        self.and_named("connection", glob, |r| r.connection.as_deref(), name)
    }

    /// Selects deliveries to a consumer whose tag matches this glob.
    pub fn consumer(self, glob: &str) -> Self {
        self.and_named("consumer", glob, |r| r.consumer_tag.as_deref(), consumer)
    }

    /// Selects deliveries that are redelivered, or are not.
    pub fn redelivered(self, redelivered: bool) -> Self {
        self.and_text("redelivered", redelivered.to_string(), |r| {
            r.redelivered.to_string()
        })
    }

    /// Selects deliveries with this outcome.
    pub fn settled(self, how: Settled) -> Self {
        self.and_text("settled", settled(Some(how)), |r| {
            settled(r.settled).to_owned()
        })
    }

    /// Selects deliveries that are not settled yet.
    pub fn unsettled(self) -> Self {
        self.and_text("settled", settled(None), |r| settled(r.settled).to_owned())
    }
}

/// Further criteria for dead letters.
impl Selection<'_, RecordedDeadLetter> {
    /// Selects dead letters that left a queue whose name matches this glob.
    pub fn queue(self, glob: &str) -> Self {
        self.and_glob("queue", glob, |r| r.queue.to_string())
    }

    /// Selects dead letters with this reason.
    pub fn reason(self, reason: DeadLetterReason) -> Self {
        self.and_text("reason", reason.as_str(), |r| r.reason.as_str().to_owned())
    }

    /// Selects dead letters that reached a queue whose name matches this glob.
    pub fn routed_to(self, queue: &str) -> Self {
        let queue = queue.to_owned();
        self.and(Criterion::new(
            "routed to",
            quoted(&queue),
            move |r: &RecordedDeadLetter| {
                let fits = r.queues.iter().any(|name| is_named(name, &queue));
                Finding::new(fits, queues(&r.queues))
            },
        ))
    }
}

/// Returns true if `name` equals `glob` literally, or matches it.
fn is_named(name: &str, glob: &str) -> bool {
    name == glob || glob_match(glob, name)
}

#[track_caller]
fn as_json<T: Serialize + ?Sized>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(value) => value,
        Err(err) => panic!("the expected body cannot be written as JSON: {err}"),
    }
}

/// Panics outside of the broker's lock, so that other tasks can go on using the broker.
#[track_caller]
fn report(failure: Option<String>) {
    if let Some(failure) = failure {
        panic!("{}", failure.trim_end());
    }
}
