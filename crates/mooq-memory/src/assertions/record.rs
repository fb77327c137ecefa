//! What the sorts of records have in common.

use mooq_core::Message;

use super::text::{body, queues, quoted};
use crate::engine::{
    Log, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish, Settled,
};

/// Something that is recorded: a [publish](RecordedPublish), a [delivery](RecordedDelivery) or a
/// [dead letter](RecordedDeadLetter).
pub trait Recorded: sealed::Sealed + Clone + 'static {}

impl Recorded for RecordedPublish {}
impl Recorded for RecordedDelivery {}
impl Recorded for RecordedDeadLetter {}

pub(super) mod sealed {
    use mooq_core::Message;

    use crate::engine::Log;

    pub trait Sealed: Sized {
        /// What one is called, and what several are.
        const NAMES: [&'static str; 2];

        fn of(log: &Log) -> &[Self];

        fn message(&self) -> &Message;

        /// All of it in one line.
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
            other => outcome(other).to_owned(),
        };
        format!("{}, {outcome}", address_and_body(&self.message))
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

pub(super) fn consumer(delivery: &RecordedDelivery) -> String {
    match &delivery.consumer_tag {
        Some(tag) => quoted(tag),
        None => "whoever fetched it".to_owned(),
    }
}

pub(super) fn settled(settled: Option<Settled>) -> &'static str {
    match settled {
        None => "not settled",
        Some(Settled::AutoAcked) => "auto-acked",
        Some(Settled::Acked) => "acked",
        Some(Settled::Requeued) => "requeued",
        Some(Settled::Rejected) => "rejected",
        Some(Settled::ChannelClosed) => "returned by the channel's end",
        Some(Settled::ConnectionClosed) => "returned by the connection's end",
    }
}

pub(super) fn outcome(outcome: PublishOutcome) -> &'static str {
    match outcome {
        PublishOutcome::Routed => "routed",
        PublishOutcome::Unroutable => "unroutable",
        PublishOutcome::Returned => "returned to its publisher",
        PublishOutcome::Refused => "refused by a queue",
    }
}
