//! Choosing among what was recorded, and asserting how much of it there is.

use std::fmt::Write;

use bytes::Bytes;
use mooq_core::FieldValue;
use serde::Serialize;
use serde_json::Value;

use super::criterion::{Criterion, Finding};
use super::differences::differences;
use super::record::{Recorded, consumer, outcome, settled};
use super::report::{count_of, expectation, numbered, overflow, too_few, too_many};
use super::text::{body, indent, queues, quoted, shortened};
use crate::broker::Recording;
use crate::engine::{
    DeadLetterReason, Log, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
    Settled,
};

/// Those of a recording's publishes, deliveries or dead letters that fit what was said. Nothing is
/// looked at before an `assert_…`, [`list`](Self::list) or [`count`](Self::count).
///
/// A failed assertion panics, and says what was expected, what was recorded, and what comes
/// nearest and how it differs:
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
/// use mooq::{ConnectInMemory, DeadLetterReason, Delivery, FailurePolicy, InMemoryBroker, Settled};
///
/// let broker = InMemoryBroker::start();
/// let recording = broker.record(1_000);
///
/// // A service that rejects what it cannot use.
/// let conn = broker.connect().await?;
/// let chan = conn.create_channel().await?;
/// chan.declare_queue("refused").await?;
/// chan.register_consumer("numbers", "direct")
///     .queue("to-count")
///     .queue_argument("x-dead-letter-exchange", "")
///     .queue_argument("x-dead-letter-routing-key", "refused")
///     .callback(|number: Delivery<i32>| async move {
///         if number.msg < 0 { Err("it is negative") } else { Ok(()) }
///     })
///     .on_error(FailurePolicy::Reject)
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
    /// The publishes that the broker took.
    pub fn publishes(&self) -> Selection<'_, RecordedPublish> {
        Selection::new(self)
    }

    /// The messages that were sent to consumers, or fetched, and how they were settled.
    pub fn deliveries(&self) -> Selection<'_, RecordedDelivery> {
        Selection::new(self)
    }

    /// The messages that left a queue without being consumed. Those without a dead-letter
    /// exchange are among them: they were dropped.
    pub fn dead_letters(&self) -> Selection<'_, RecordedDeadLetter> {
        Selection::new(self)
    }
}

/// What any record can be asked for.
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

    /// Those published to this exchange; a dead letter is published to its dead-letter exchange.
    pub fn exchange(self, name: &str) -> Self {
        self.and_text("exchange", quoted(name), |r| quoted(&r.message().exchange))
    }

    /// Those published with this very routing key.
    pub fn routing_key(self, key: &str) -> Self {
        self.and_text("routing key", quoted(key), |r| {
            quoted(&r.message().routing_key)
        })
    }

    /// Those whose body is JSON and equals `value`. The order of keys does not matter.
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

    /// Those whose body is these very bytes.
    pub fn body(self, bytes: impl Into<Bytes>) -> Self {
        let expected = bytes.into();
        let shown = body(&expected);
        self.and(Criterion::new("body", shown, move |r: &R| {
            let found = &r.message().body;
            Finding::new(*found == expected, body(found))
        }))
    }

    /// Those with a header of this name and value.
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

    /// Those for which `f` is true; `what` says in a failure's message what that is.
    pub fn matching(self, what: &str, f: impl Fn(&R) -> bool + Send + Sync + 'static) -> Self {
        self.and(Criterion::new(what, "true", move |r: &R| {
            let fits = f(r);
            Finding::new(fits, fits.to_string())
        }))
    }

    /// How many fit.
    #[must_use]
    pub fn count(&self) -> usize {
        self.recording.look(|log| self.fitting(log).len())
    }

    /// Those that fit, in the order in which they were recorded.
    #[must_use]
    pub fn list(&self) -> Vec<R> {
        let copy = |(_, record): (usize, &R)| record.clone();
        self.recording
            .look(|log| self.fitting(log).into_iter().map(copy).collect())
    }

    /// Asserts that one fits, or more.
    ///
    /// # Panics
    /// If none does.
    #[track_caller]
    pub fn assert_at_least_once(&self) {
        let failure = self.recording.look(|log| {
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

    /// Asserts that exactly one fits.
    ///
    /// # Panics
    /// As [`assert_times`](Self::assert_times).
    #[track_caller]
    pub fn assert_once(&self) {
        self.assert_times(1);
    }

    /// Asserts that none fits.
    ///
    /// # Panics
    /// As [`assert_times`](Self::assert_times).
    #[track_caller]
    pub fn assert_never(&self) {
        self.assert_times(0);
    }

    /// Asserts that exactly `n` fit.
    ///
    /// # Panics
    /// If fewer do, or more; or if it cannot be known, since the recording was full.
    #[track_caller]
    pub fn assert_times(&self, n: usize) {
        let failure = self.recording.look(|log| {
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

    /// Asserts that the bodies of those that fit are these, as JSON, in this order, and no others.
    ///
    /// # Panics
    /// If they are not, or if it cannot be known, since the recording was full; if a value cannot
    /// be written as JSON.
    #[track_caller]
    pub fn assert_json_in_order<T: Serialize>(&self, values: &[T]) {
        let expected: Vec<_> = values.iter().map(as_json).collect();
        let failure = self.recording.look(|log| {
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

    /// Those that fit, with their numbers among all.
    fn fitting<'l>(&self, log: &'l Log) -> Vec<(usize, &'l R)> {
        let fits = |record: &R| self.criteria.iter().all(|c| c.look(record).fits);
        numbered(R::of(log))
            .filter(|(_, record)| fits(record))
            .collect()
    }
}

/// What a publish can be asked for besides.
impl Selection<'_, RecordedPublish> {
    /// Those that this queue got a copy of.
    pub fn routed_to(self, queue: &str) -> Self {
        let queue = queue.to_owned();
        self.and(Criterion::new(
            "routed to",
            quoted(&queue),
            move |r: &RecordedPublish| {
                let fits = r.queues.iter().any(|name| *name == *queue);
                Finding::new(fits, queues(&r.queues))
            },
        ))
    }

    /// Those of which this has become.
    pub fn outcome(self, expected: PublishOutcome) -> Self {
        self.and_text("outcome", outcome(expected), |r| {
            outcome(r.outcome).to_owned()
        })
    }
}

/// What a delivery can be asked for besides.
impl Selection<'_, RecordedDelivery> {
    /// Those from this queue; `amq.rabbitmq.reply-to` stands for direct replies.
    pub fn queue(self, name: &str) -> Self {
        self.and_text("queue", quoted(name), |r| quoted(&r.queue))
    }

    /// Those to the consumer with this tag.
    pub fn consumer(self, tag: &str) -> Self {
        self.and_text("consumer", quoted(tag), consumer)
    }

    /// Those of messages that had been delivered before, or had not.
    pub fn redelivered(self, redelivered: bool) -> Self {
        self.and_text("redelivered", redelivered.to_string(), |r| {
            r.redelivered.to_string()
        })
    }

    /// Those that were settled so.
    pub fn settled(self, how: Settled) -> Self {
        self.and_text("settled", settled(Some(how)), |r| {
            settled(r.settled).to_owned()
        })
    }

    /// Those that are not settled yet.
    pub fn unsettled(self) -> Self {
        self.and_text("settled", settled(None), |r| settled(r.settled).to_owned())
    }
}

/// What a dead letter can be asked for besides.
impl Selection<'_, RecordedDeadLetter> {
    /// Those that left this queue.
    pub fn queue(self, name: &str) -> Self {
        self.and_text("queue", quoted(name), |r| quoted(&r.queue))
    }

    /// Those that left it for this reason.
    pub fn reason(self, reason: DeadLetterReason) -> Self {
        self.and_text("reason", reason.as_str(), |r| r.reason.as_str().to_owned())
    }

    /// Those that reached this queue.
    pub fn routed_to(self, queue: &str) -> Self {
        let queue = queue.to_owned();
        self.and(Criterion::new(
            "routed to",
            quoted(&queue),
            move |r: &RecordedDeadLetter| {
                let fits = r.queues.iter().any(|name| *name == *queue);
                Finding::new(fits, queues(&r.queues))
            },
        ))
    }
}

#[track_caller]
fn as_json<T: Serialize + ?Sized>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(value) => value,
        Err(err) => panic!("the expected body cannot be written as JSON: {err}"),
    }
}

/// Fails outside of the broker's lock, which others may go on using.
#[track_caller]
fn report(failure: Option<String>) {
    if let Some(failure) = failure {
        panic!("{}", failure.trim_end());
    }
}
