//! The trait that all kinds of records share.

use mooq_core::{Message, ShortString};

use super::text::{body, queues, quoted};
use mooq_engine::{
    Log, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish, Settled,
};

/// A recorded event: a [publish](RecordedPublish), a [delivery](RecordedDelivery) or a [dead
/// letter](RecordedDeadLetter).
pub trait Recorded: sealed::Sealed + Clone + 'static {}

impl Recorded for RecordedPublish {}
impl Recorded for RecordedDelivery {}
impl Recorded for RecordedDeadLetter {}

pub(super) mod sealed {
    use mooq_core::Message;

    use mooq_engine::Log;

    pub trait Sealed: Sized {
        /// Noun for one record, and noun for several.
        const NAMES: [&'static str; 2];

        fn of(log: &Log) -> &[Self];

        fn message(&self) -> &Message;

        /// The whole record in one line.
        fn summary(&self) -> String;
    }
}

impl sealed::Sealed for RecordedPublish {
    const NAMES: [&'static str; 2] = ["publish", "publishes"];

    fn of(log: &Log) -> &[Self] {
        log.publishes()
    }

    fn message(&self) -> &Message {
        &self.message
    }

    fn summary(&self) -> String {
        let outcome = match self.outcome {
            PublishOutcome::Routed if self.queues.is_empty() => "a direct reply".to_owned(),
            PublishOutcome::Routed => format!("routed to {}", queues(&self.queues)),
            other => other.as_str().to_owned(),
        };
        let by = match &self.connection {
            Some(name) => format!(", by {}", quoted(name)),
            None => String::new(),
        };
        format!("{}{by}, {outcome}", address_and_body(&self.message))
    }
}

impl sealed::Sealed for RecordedDelivery {
    const NAMES: [&'static str; 2] = ["delivery", "deliveries"];

    fn of(log: &Log) -> &[Self] {
        log.deliveries()
    }

    fn message(&self) -> &Message {
        &self.message
    }

    fn summary(&self) -> String {
        format!(
            "from queue {} to {}, {}, {}",
            quoted(&self.queue),
            consumer(self),
            address_and_body(&self.message),
            settled(self.settled)
        )
    }
}

impl sealed::Sealed for RecordedDeadLetter {
    const NAMES: [&'static str; 2] = ["dead letter", "dead letters"];

    fn of(log: &Log) -> &[Self] {
        log.dead_letters()
    }

    fn message(&self) -> &Message {
        &self.message
    }

    fn summary(&self) -> String {
        let whereto = match &self.exchange {
            Some(_) => format!("routed to {}", queues(&self.queues)),
            None => "dropped, for want of a dead-letter exchange".to_owned(),
        };
        format!(
            "from queue {}, {}, {}, {whereto}",
            quoted(&self.queue),
            self.reason.as_str(),
            address_and_body(&self.message)
        )
    }
}

fn address_and_body(message: &Message) -> String {
    format!(
        "exchange {}, routing key {}, body {}",
        quoted(&message.exchange),
        quoted(&message.routing_key),
        body(&message.body)
    )
}

/// The receiver of a delivery. Each connection may have a consumer of the same tag.
pub(super) fn consumer(delivery: &RecordedDelivery) -> String {
    let consumer = match &delivery.consumer_tag {
        Some(tag) => quoted(tag),
        None => "whoever fetched it".to_owned(),
    };
    match &delivery.connection {
        Some(name) => format!("{consumer} of {}", quoted(name)),
        None => consumer,
    }
}

/// The name of a connection in quotes, if it has one.
pub(super) fn connection(name: Option<&ShortString>) -> String {
    name.map_or_else(|| "a nameless one".to_owned(), |name| quoted(name))
}

pub(super) fn settled(settled: Option<Settled>) -> &'static str {
    settled.map_or("not settled", Settled::as_str)
}
