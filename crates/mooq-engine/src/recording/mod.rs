//! Recordings of what is published, delivered and dead-lettered, for tests: logs, which keep
//! messages, and timelines, which keep the last events of every kind.
//!
//! Without a recording nothing is recorded, and the only cost is a check.

mod entry;
mod log;
mod noting;
mod timeline;

use std::sync::Arc;

use mooq_core::{ConsumerTag, Message, QueueName, ShortString};
use slotmap::SlotMap;

pub use entry::{
    DeadLetterReason, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
    Settled,
};
pub use log::Log;
pub use timeline::{MessageExcerpt, Timeline, TimelineClient, TimelineEntry, TimelineEvent};

use super::channel::Disposition;
use super::dead_letters::dead_letter::{DeadLetter, Reason};
use super::direct_reply::REPLY_TO;
use super::in_transit::PendingDelivery;
use super::{Caller, Engine};
use crate::ids::{ChannelId, QueueId, RecordingId, TimelineId};
use crate::message::{Accepted, QueuedMessage, Unacked};

/// All running recordings.
#[derive(Debug)]
pub(crate) struct Recordings {
    logs: SlotMap<RecordingId, Log>,
    timelines: SlotMap<TimelineId, Timeline>,
    /// True if there is a log, which is checked for every message.
    any_log: bool,
    /// True if there is a timeline that has not been stopped, likewise.
    any_timeline: bool,
}

/// A publish to be recorded.
pub(super) struct Publishing {
    message: Arc<Message>,
    connection: Option<ShortString>,
    /// The queues that the publish is routed to, and the number of messages that had arrived in
    /// each before.
    queues: Vec<(QueueId, u64)>,
    is_reply: bool,
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            logs: SlotMap::with_key(),
            timelines: SlotMap::with_key(),
            any_log: false,
            any_timeline: false,
        }
    }
}

impl Recordings {
    /// True if nothing is recorded.
    pub(super) fn is_empty(&self) -> bool {
        !self.any_log && !self.any_timeline
    }

    /// True if there is a log.
    pub(super) fn keep_log(&self) -> bool {
        self.any_log
    }

    /// True if there is a timeline that takes events.
    pub(super) fn keep_timeline(&self) -> bool {
        self.any_timeline
    }

    fn for_each(&mut self, f: impl FnMut(&mut Log)) {
        self.logs.values_mut().for_each(f);
    }

    fn add_timeline(&mut self, timeline: Timeline) -> TimelineId {
        self.any_timeline = true;
        self.timelines.insert(timeline)
    }

    fn timeline(&self, id: TimelineId) -> Option<&Timeline> {
        self.timelines.get(id)
    }

    fn stop_timeline(&mut self, id: TimelineId) {
        if let Some(timeline) = self.timelines.get_mut(id) {
            timeline.stop();
        }
        self.any_timeline = self.timelines.values().any(Timeline::is_running);
    }

    fn remove_timeline(&mut self, id: TimelineId) {
        self.timelines.remove(id);
        self.any_timeline = self.timelines.values().any(Timeline::is_running);
    }

    fn push_note(&mut self, entry: TimelineEntry) {
        let mut timelines = self.timelines.values_mut().peekable();
        while let Some(timeline) = timelines.next() {
            if timelines.peek().is_none() {
                timeline.push(entry);
                return;
            }
            timeline.push(entry.clone());
        }
    }
}

impl Engine {
    /// Begins to record publishes, deliveries and dead letters, up to `limit` entries in all.
    /// Entries beyond the limit are counted and not kept.
    pub fn start_recording(&mut self, limit: usize) -> RecordingId {
        self.keeps_time = true;
        self.recordings.any_log = true;
        self.recordings.logs.insert(Log::new(limit))
    }

    /// Returns the entries recorded so far; none if that recording has been stopped.
    #[must_use]
    pub fn recording(&self, id: RecordingId) -> Option<&Log> {
        self.recordings.logs.get(id)
    }

    /// Stops a recording and discards its entries.
    pub fn stop_recording(&mut self, id: RecordingId) {
        self.recordings.logs.remove(id);
        self.recordings.any_log = self.recordings.logs.iter().next().is_some();
    }

    /// Returns the facts about a publish that are needed before it is carried out.
    pub(super) fn before_publish(
        &self,
        caller: Caller,
        accepted: &Accepted,
        queues: &[QueueId],
    ) -> Publishing {
        let arrived = |key: &QueueId| Some((*key, self.queues.get(*key)?.tally.arrived));
        Publishing {
            message: Arc::clone(&accepted.message),
            connection: self.connection_name(caller.channel),
            queues: queues.iter().filter_map(arrived).collect(),
            is_reply: !self.requesters(caller.vhost, accepted).is_empty(),
        }
    }

    /// Records a publish. `taken` is true if every queue accepted it.
    pub(super) fn record_publish(&mut self, publishing: Publishing, mandatory: bool, taken: bool) {
        let outcome = match &*publishing.queues {
            _ if !taken => PublishOutcome::Refused,
            [] if publishing.is_reply && !mandatory => PublishOutcome::Routed,
            [] if mandatory => PublishOutcome::Returned,
            [] => PublishOutcome::Unroutable,
            _ => PublishOutcome::Routed,
        };
        let took = |(key, before): (QueueId, u64)| {
            let queue = self.queues.get(key)?;
            (queue.tally.arrived > before).then(|| queue.name.clone())
        };
        let publish = RecordedPublish {
            at: self.now.since_start(),
            connection: publishing.connection,
            message: publishing.message,
            queues: publishing.queues.into_iter().filter_map(took).collect(),
            outcome,
        };
        self.recordings.for_each(|log| log.publish(&publish));
    }

    /// Records the arrival of a delivery at its channel.
    pub(super) fn record_delivery(
        &mut self,
        key: ChannelId,
        queue: QueueId,
        delivery: &PendingDelivery,
    ) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let to = (key, channel.peek_delivery_tag());
        let tag = delivery.tag.clone();
        self.record_sent(queue, to, Some(tag), &delivery.queued, delivery.no_ack);
    }

    /// Records the fetch of a message.
    pub(super) fn record_fetch(
        &mut self,
        queue: QueueId,
        to: (ChannelId, u64),
        queued: &QueuedMessage,
        no_ack: bool,
    ) {
        self.record_sent(queue, to, None, queued, no_ack);
    }

    fn record_sent(
        &mut self,
        queue: QueueId,
        to: (ChannelId, u64),
        consumer_tag: Option<ConsumerTag>,
        queued: &QueuedMessage,
        no_ack: bool,
    ) {
        let Some(queue) = self.queues.get(queue).map(|queue| queue.name.clone()) else {
            return;
        };
        if self.recordings.keep_timeline() {
            self.note_sent(queue.clone(), to, consumer_tag.clone(), queued, no_ack);
        }
        if !self.recordings.keep_log() {
            return;
        }
        let delivery = RecordedDelivery {
            at: self.now.since_start(),
            queue,
            connection: self.connection_name(to.0),
            consumer_tag,
            message: Arc::clone(&queued.message),
            redelivered: queued.is_redelivered(),
            settled: no_ack.then_some(Settled::AutoAcked),
        };
        self.recordings.for_each(|log| log.delivery(&delivery, to));
    }

    /// Returns the client's name for the connection of a channel.
    fn connection_name(&self, channel: ChannelId) -> Option<ShortString> {
        let channel = self.channels.get(channel)?;
        self.connection(channel.connection).ok()?.name.clone()
    }

    /// Records a direct reply.
    pub(super) fn record_reply(&mut self, key: ChannelId, message: &Arc<Message>) {
        let channel = self.channels.get(key);
        let Some(consumer) = channel.and_then(|channel| channel.reply_consumer.as_ref()) else {
            return;
        };
        let consumer_tag = consumer.tag.clone();
        let queue = QueueName::try_from(REPLY_TO).unwrap_or_default();
        if self.recordings.keep_timeline() {
            self.note_reply(queue.clone(), key, consumer_tag.clone(), message);
        }
        if !self.recordings.keep_log() {
            return;
        }
        let delivery = RecordedDelivery {
            at: self.now.since_start(),
            queue,
            connection: self.connection_name(key),
            consumer_tag: Some(consumer_tag),
            message: Arc::clone(message),
            redelivered: false,
            settled: Some(Settled::AutoAcked),
        };
        // A direct reply has no delivery tag of its own, and needs none.
        self.recordings
            .for_each(|log| log.delivery(&delivery, (key, 0)));
    }

    /// Records the outcome of a channel's deliveries.
    pub(super) fn record_settled(
        &mut self,
        channel: ChannelId,
        settled: &[Unacked],
        disposition: Disposition,
    ) {
        if self.recordings.is_empty() {
            return;
        }
        let how = match disposition {
            Disposition::Acked => Settled::Acked,
            Disposition::Requeued { .. } => Settled::Requeued,
            Disposition::Rejected { .. } => Settled::Rejected,
        };
        if self.recordings.keep_timeline() {
            self.note_settled(channel, settled, how);
        }
        self.recordings.for_each(|log| {
            for unacked in settled {
                log.settle(channel, unacked.delivery_tag, how);
            }
        });
    }

    /// Records that all deliveries of a channel that ends are requeued.
    pub(super) fn record_end(&mut self, channel: ChannelId, how: Settled) {
        if self.recordings.is_empty() {
            return;
        }
        if self.recordings.keep_timeline() {
            self.note_given_back(channel);
        }
        self.recordings.for_each(|log| log.settle_all(channel, how));
    }

    /// Records a published dead letter in the logs, with the queues that accepted it.
    pub(super) fn record_dead_letter(
        &mut self,
        queue: QueueName,
        letter: &DeadLetter,
        reached: &[QueueId],
    ) {
        if !self.recordings.keep_log() {
            return;
        }
        let queues = reached.iter().filter_map(|key| self.queues.get(*key));
        let queues = queues.map(|queue| queue.name.clone()).collect();
        self.log_dead_letter(queue, letter, queues);
    }

    /// Records a dead letter that its queue kept until it had arrived in these queues.
    pub(super) fn record_moved_dead_letter(
        &mut self,
        queue: QueueName,
        letter: &DeadLetter,
        queues: Vec<QueueName>,
    ) {
        if self.recordings.is_empty() {
            return;
        }
        self.note_moved_dead_letter(&queue, letter, queues.clone());
        if self.recordings.keep_log() {
            self.log_dead_letter(queue, letter, queues);
        }
    }

    fn log_dead_letter(&mut self, queue: QueueName, letter: &DeadLetter, queues: Vec<QueueName>) {
        let dead_letter = RecordedDeadLetter {
            at: self.now.since_start(),
            queue,
            reason: letter.reason,
            exchange: Some(letter.message.exchange.clone()),
            message: Arc::clone(&letter.message),
            queues,
        };
        self.recordings
            .for_each(|log| log.dead_letter(&dead_letter));
    }

    /// Records the drop of a message without a dead-letter exchange.
    pub(super) fn record_drop(&mut self, queue: QueueName, reason: Reason, message: &Message) {
        self.note_drop(&queue, reason, message);
        if !self.recordings.keep_log() {
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
