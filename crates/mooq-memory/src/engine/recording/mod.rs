//! Recordings of what is published, delivered and dead-lettered, for tests.
//!
//! Nothing is recorded, and nothing spent on it but the question, unless somebody wants it.

mod entry;
mod log;

use std::sync::Arc;

use mooq_core::{ConsumerTag, Message, QueueName};

pub use entry::{
    DeadLetterReason, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
    Settled,
};
pub use log::Log;

use super::Engine;
use super::acceptance::Accepted;
use super::arena::{Arena, Key};
use super::channel::{Channel, Fate};
use super::dead_letter::{DeadLetter, Reason};
use super::direct_reply::REPLY_TO;
use super::ledger::Unacked;
use super::queue::Queue;
use super::queue::ready::QueuedMessage;
use super::transit::Parcel;

/// A recording that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordingId(Key<Log>);

/// All recordings that go on.
#[derive(Debug)]
pub(crate) struct Recordings {
    logs: Arena<Log>,
    /// Whether there is any, which is asked for every message.
    any: bool,
}

/// A publish that is to be recorded.
pub(super) struct Publishing {
    message: Arc<Message>,
    /// Where it is routed to, and how many messages had arrived there before.
    queues: Vec<(Key<Queue>, u64)>,
    is_reply: bool,
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            logs: Arena::new(),
            any: false,
        }
    }
}

impl Recordings {
    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }

    fn for_each(&mut self, f: impl FnMut(&mut Log)) {
        self.logs.iter_mut().for_each(f);
    }

    /// Notes how deliveries of a channel were settled.
    pub(super) fn settled(&mut self, channel: Key<Channel>, settled: &[Unacked], fate: Fate) {
        if self.is_empty() {
            return;
        }
        let how = match fate {
            Fate::Acked => Settled::Acked,
            Fate::Requeued { .. } => Settled::Requeued,
            Fate::Rejected { .. } => Settled::Rejected,
        };
        self.for_each(|log| {
            for unacked in settled {
                log.settle(channel, unacked.delivery_tag, how);
            }
        });
    }

    /// Notes that all deliveries of a channel that ends go back.
    pub(super) fn ended(&mut self, channel: Key<Channel>, how: Settled) {
        if !self.is_empty() {
            self.for_each(|log| log.settle_all(channel, how));
        }
    }
}

impl Engine {
    /// Begins to record what is published, delivered and dead-lettered, up to `limit` of these in
    /// all. What comes when that is reached is counted and not kept.
    pub fn start_recording(&mut self, limit: usize) -> RecordingId {
        self.keeps_time = true;
        self.recordings.any = true;
        RecordingId(self.recordings.logs.insert(Log::new(limit)))
    }

    /// What was recorded so far; none if that recording has been stopped.
    #[must_use]
    pub fn recording(&self, id: RecordingId) -> Option<&Log> {
        self.recordings.logs.get(id.0)
    }

    /// Ends a recording, and forgets it.
    pub fn stop_recording(&mut self, id: RecordingId) {
        self.recordings.logs.remove(id.0);
        self.recordings.any = self.recordings.logs.iter().next().is_some();
    }

    /// What is to be known of a publish before it is carried out.
    pub(super) fn before_publish(&self, accepted: &Accepted, queues: &[Key<Queue>]) -> Publishing {
        let arrived = |key: &Key<Queue>| Some((*key, self.queues.get(*key)?.tally.arrived));
        Publishing {
            message: Arc::clone(&accepted.message),
            queues: queues.iter().filter_map(arrived).collect(),
            is_reply: !self.requesters(accepted).is_empty(),
        }
    }

    /// Records a publish. `taken` says whether every queue took it.
    pub(super) fn record_publish(&mut self, publishing: Publishing, mandatory: bool, taken: bool) {
        let outcome = match &*publishing.queues {
            _ if !taken => PublishOutcome::Refused,
            [] if publishing.is_reply && !mandatory => PublishOutcome::Routed,
            [] if mandatory => PublishOutcome::Returned,
            [] => PublishOutcome::Unroutable,
            _ => PublishOutcome::Routed,
        };
        let took = |(key, before): (Key<Queue>, u64)| {
            let queue = self.queues.get(key)?;
            (queue.tally.arrived > before).then(|| queue.name.clone())
        };
        let publish = RecordedPublish {
            at: self.now.since_start(),
            message: publishing.message,
            queues: publishing.queues.into_iter().filter_map(took).collect(),
            outcome,
        };
        self.recordings.for_each(|log| log.publish(&publish));
    }

    /// Records that a delivery arrives at its channel.
    pub(super) fn record_delivery(
        &mut self,
        key: Key<Channel>,
        queue: Key<Queue>,
        parcel: &Parcel,
    ) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let to = (key, channel.peek_delivery_tag());
        let tag = parcel.tag.clone();
        self.record_sent(queue, to, Some(tag), &parcel.queued, parcel.no_ack);
    }

    /// Records that a message is fetched.
    pub(super) fn record_fetch(
        &mut self,
        queue: Key<Queue>,
        to: (Key<Channel>, u64),
        queued: &QueuedMessage,
        no_ack: bool,
    ) {
        self.record_sent(queue, to, None, queued, no_ack);
    }

    fn record_sent(
        &mut self,
        queue: Key<Queue>,
        to: (Key<Channel>, u64),
        consumer_tag: Option<ConsumerTag>,
        queued: &QueuedMessage,
        no_ack: bool,
    ) {
        let Some(queue) = self.queues.get(queue) else {
            return;
        };
        let delivery = RecordedDelivery {
            at: self.now.since_start(),
            queue: queue.name.clone(),
            consumer_tag,
            message: Arc::clone(&queued.message),
            redelivered: queued.is_redelivered(),
            settled: no_ack.then_some(Settled::AutoAcked),
        };
        self.recordings.for_each(|log| log.delivery(&delivery, to));
    }

    /// Records a direct reply.
    pub(super) fn record_reply(&mut self, key: Key<Channel>, message: &Arc<Message>) {
        let channel = self.channels.get(key);
        let Some(consumer) = channel.and_then(|channel| channel.reply_consumer.as_ref()) else {
            return;
        };
        let delivery = RecordedDelivery {
            at: self.now.since_start(),
            queue: QueueName::try_from(REPLY_TO).unwrap_or_default(),
            consumer_tag: Some(consumer.tag.clone()),
            message: Arc::clone(message),
            redelivered: false,
            settled: Some(Settled::AutoAcked),
        };
        // A direct reply has no number of its own, and needs none.
        self.recordings
            .for_each(|log| log.delivery(&delivery, (key, 0)));
    }

    /// Records a dead letter that has been published, and the queues that took it.
    pub(super) fn record_dead_letter(
        &mut self,
        queue: QueueName,
        letter: &DeadLetter,
        reached: &[Key<Queue>],
    ) {
        if self.recordings.is_empty() {
            return;
        }
        let queues = reached.iter().filter_map(|key| self.queues.get(*key));
        let dead_letter = RecordedDeadLetter {
            at: self.now.since_start(),
            queue,
            reason: letter.reason,
            exchange: Some(letter.message.exchange.clone()),
            message: Arc::clone(&letter.message),
            queues: queues.map(|queue| queue.name.clone()).collect(),
        };
        self.recordings
            .for_each(|log| log.dead_letter(&dead_letter));
    }

    /// Records that a message is dropped that no dead-letter exchange is there for.
    pub(super) fn record_drop(&mut self, queue: QueueName, reason: Reason, message: &Message) {
        if self.recordings.is_empty() {
            return;
        }
        let dropped = RecordedDeadLetter {
            at: self.now.since_start(),
            queue,
            reason,
            exchange: None,
            message: Arc::new(message.clone()),
            queues: Vec::new(),
        };
        self.recordings.for_each(|log| log.dead_letter(&dropped));
    }
}
