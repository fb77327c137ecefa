//! Events as they come into the timelines. Without a timeline, each of these is a check.

use mooq_core::{CloseReason, ConsumerTag, Message, QueueName, ShortString};

use super::entry::{DeadLetterReason, Settled};
use super::timeline::{MessageExcerpt, Timeline, TimelineClient, TimelineEntry, TimelineEvent};
use crate::alarms::Alarm;
use crate::command::{Method, Reply};
use crate::dead_letters::dead_letter::DeadLetter;
use crate::faults::{Fault, Scope};
use crate::ids::{ChannelId, ConnectionId, QueueId, TimelineId};
use crate::message::{Accepted, QueuedMessage, Unacked};
use crate::reply_error::ReplyError;
use crate::time::Time;
use crate::{Caller, Engine};

/// A request whose outcome is part of its entry.
pub(crate) struct AwaitedNote(Option<Method>);

impl Engine {
    /// Begins to keep the last `limit` events.
    pub fn start_timeline(&mut self, limit: usize) -> TimelineId {
        self.keeps_time = true;
        self.recordings.add_timeline(Timeline::new(limit))
    }

    /// Returns a timeline; none once it has been removed.
    #[must_use]
    pub fn timeline(&self, id: TimelineId) -> Option<&Timeline> {
        self.recordings.timeline(id)
    }

    /// Stops a timeline, which keeps the entries that it has.
    pub fn stop_timeline(&mut self, id: TimelineId) {
        self.recordings.stop_timeline(id);
    }

    /// Removes a timeline with its entries.
    pub fn remove_timeline(&mut self, id: TimelineId) {
        self.recordings.remove_timeline(id);
    }

    /// Notes that the broker starts.
    pub fn note_start(&mut self, now: Time) {
        self.advance(now);
        self.note_of_broker(|| TimelineEvent::Started);
    }

    /// Notes an event of a connection, or of one of its channels.
    pub(crate) fn note(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        event: impl FnOnce() -> TimelineEvent,
    ) {
        if !self.recordings.keep_timeline() {
            return;
        }
        let open = self.connections.get(connection);
        let client = open.map(|open| TimelineClient {
            connection: open.number,
            name: open.name.clone(),
            channel,
        });
        self.push_note(client, event());
    }

    /// Notes an event of the broker alone.
    pub(crate) fn note_of_broker(&mut self, event: impl FnOnce() -> TimelineEvent) {
        if self.recordings.keep_timeline() {
            self.push_note(None, event());
        }
    }

    fn note_on(&mut self, channel: ChannelId, event: TimelineEvent) {
        if let Some(open) = self.channels.get(channel) {
            let (connection, number) = (open.connection, open.number);
            self.note(connection, number, || event);
        }
    }

    fn push_note(&mut self, client: Option<TimelineClient>, event: TimelineEvent) {
        let at = self.now.since_start();
        self.recordings
            .push_note(TimelineEntry { at, client, event });
    }

    pub(crate) fn note_opened(&mut self, id: ConnectionId) {
        if !self.recordings.keep_timeline() {
            return;
        }
        let Some(open) = self.connections.get(id) else {
            return;
        };
        let user = open.username.clone();
        let vhost = self.vhosts.get(open.vhost);
        let vhost = vhost.map_or_else(Default::default, |vhost| vhost.name.clone());
        self.note(id, 0, || TimelineEvent::ConnectionOpened { user, vhost });
    }

    pub(crate) fn note_refused_login(&mut self, name: Option<&str>, reason: &CloseReason) {
        if !self.recordings.keep_timeline() {
            return;
        }
        let client = TimelineClient {
            connection: 0,
            name: name.and_then(|name| ShortString::try_from(name).ok()),
            channel: 0,
        };
        let reason = told(reason);
        self.push_note(Some(client), TimelineEvent::LoginRefused { reason });
    }

    /// Notes a request before it is carried out, unless its outcome is part of the entry.
    pub(crate) fn note_request(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        method: &Method,
    ) -> AwaitedNote {
        if !self.recordings.keep_timeline() {
            return AwaitedNote(None);
        }
        match method {
            Method::QueueDeclare(_) | Method::BasicGet { .. } => {
                return AwaitedNote(Some(method.clone()));
            }
            Method::ChannelOpen
            | Method::ChannelClose
            | Method::ExchangeDeclare(_)
            | Method::ExchangeDelete { .. }
            | Method::Bind(_)
            | Method::Unbind(_)
            | Method::QueuePurge { .. }
            | Method::QueueDelete { .. }
            | Method::BasicQos { .. }
            | Method::BasicConsume(_)
            | Method::BasicCancel { .. }
            | Method::BasicRecover { .. }
            | Method::TxSelect
            | Method::TxCommit
            | Method::TxRollback => {
                let method = Box::new(method.clone());
                self.note(connection, channel, || TimelineEvent::Requested(method));
            }
            // Publishes, settlements and the ends of connections have entries of their own, and the
            // others change nothing that a test could look for.
            Method::ConnectionClose
            | Method::UpdateSecret
            | Method::Refuse { .. }
            | Method::AccessRequest
            | Method::ChannelCloseOk
            | Method::ChannelFlow { .. }
            | Method::BasicPublish(_)
            | Method::PublishTooLarge { .. }
            | Method::BasicSettle(_)
            | Method::ConfirmSelect => {}
        }
        AwaitedNote(None)
    }

    /// Notes a request whose outcome is known now.
    pub(crate) fn note_outcome(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        noted: AwaitedNote,
        outcome: &Result<Option<Reply>, ReplyError>,
    ) {
        let event = match (noted.0, outcome) {
            (Some(Method::QueueDeclare(mut declare)), outcome) => {
                if let Ok(Some(Reply::QueueDeclared(declared))) = outcome {
                    declare.name = declared.name.clone();
                }
                TimelineEvent::Requested(Box::new(Method::QueueDeclare(declare)))
            }
            (Some(Method::BasicGet { queue, .. }), Ok(Some(Reply::Fetched(None)))) => {
                TimelineEvent::FoundEmpty { queue, times: 1 }
            }
            _ => return,
        };
        self.note(connection, channel, || event);
    }

    /// Notes that the broker closes a channel, or a connection if `channel` is 0.
    pub(crate) fn note_close(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        reason: &CloseReason,
    ) {
        self.note(connection, channel, || match channel {
            0 => TimelineEvent::ConnectionClosed {
                reason: Some(told(reason)),
            },
            _ => TimelineEvent::ChannelClosed {
                reason: told(reason),
            },
        });
    }

    /// Notes a publish, before it arrives anywhere.
    pub(crate) fn note_publish(
        &mut self,
        caller: Caller,
        accepted: &Accepted,
        mandatory: bool,
        sequence: Option<u64>,
        queues: &[QueueId],
    ) {
        if !self.recordings.keep_timeline() {
            return;
        }
        let event = TimelineEvent::Published {
            message: MessageExcerpt::of(&accepted.message),
            mandatory,
            sequence,
            queues: self.names_of(queues),
            is_reply: !self.requesters(caller.vhost, accepted).is_empty(),
        };
        self.note_on(caller.channel, event);
    }

    pub(super) fn note_sent(
        &mut self,
        queue: QueueName,
        (channel, delivery_tag): (ChannelId, u64),
        consumer_tag: Option<ConsumerTag>,
        queued: &QueuedMessage,
        no_ack: bool,
    ) {
        let event = TimelineEvent::Delivered {
            queue,
            consumer_tag,
            delivery_tag,
            redelivered: queued.is_redelivered(),
            no_ack,
            message: MessageExcerpt::of(&queued.message),
        };
        self.note_on(channel, event);
    }

    pub(super) fn note_reply(
        &mut self,
        queue: QueueName,
        channel: ChannelId,
        consumer_tag: ConsumerTag,
        message: &Message,
    ) {
        let event = TimelineEvent::Delivered {
            queue,
            consumer_tag: Some(consumer_tag),
            delivery_tag: 0,
            redelivered: false,
            no_ack: true,
            message: MessageExcerpt::of(message),
        };
        self.note_on(channel, event);
    }

    pub(super) fn note_settled(
        &mut self,
        channel: ChannelId,
        settled: &[Unacked],
        outcome: Settled,
    ) {
        for unacked in settled {
            let queue = self.queues.get(unacked.queue);
            let event = TimelineEvent::Settled {
                queue: queue.map(|queue| queue.name.clone()),
                delivery_tag: unacked.delivery_tag,
                outcome,
                message: MessageExcerpt::of(&unacked.queued.message),
            };
            self.note_on(channel, event);
        }
    }

    /// Notes the deliveries that a channel gives back as it ends.
    pub(super) fn note_given_back(&mut self, key: ChannelId) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let mut queues: Vec<(QueueName, usize)> = Vec::new();
        for unacked in channel.unacked.iter() {
            let Some(queue) = self.queues.get(unacked.queue) else {
                continue;
            };
            match queues.iter_mut().find(|(name, _)| *name == queue.name) {
                Some((_, count)) => *count += 1,
                None => queues.push((queue.name.clone(), 1)),
            }
        }
        if !queues.is_empty() {
            self.note_on(key, TimelineEvent::GivenBack { queues });
        }
    }

    /// Notes a dead letter on its way to these queues.
    pub(crate) fn note_dead_letter(
        &mut self,
        queue: &QueueName,
        letter: &DeadLetter,
        queues: &[QueueId],
    ) {
        if self.recordings.keep_timeline() {
            let queues = self.names_of(queues);
            self.note_moved_dead_letter(queue, letter, queues);
        }
    }

    pub(super) fn note_moved_dead_letter(
        &mut self,
        queue: &QueueName,
        letter: &DeadLetter,
        queues: Vec<QueueName>,
    ) {
        self.note_of_broker(|| TimelineEvent::DeadLettered {
            queue: queue.clone(),
            reason: letter.reason,
            exchange: Some(letter.message.exchange.clone()),
            message: MessageExcerpt::of(&letter.message),
            queues,
        });
    }

    pub(super) fn note_drop(
        &mut self,
        queue: &QueueName,
        reason: DeadLetterReason,
        message: &Message,
    ) {
        self.note_of_broker(|| TimelineEvent::DeadLettered {
            queue: queue.clone(),
            reason,
            exchange: None,
            message: MessageExcerpt::of(message),
            queues: Vec::new(),
        });
    }

    /// Notes a fault that happens once, before its effects.
    pub(crate) fn note_fault(&mut self, effect: &'static str, scope: &Scope) {
        self.note_of_broker(|| TimelineEvent::FaultHappened {
            effect,
            scope: scope.clone(),
        });
    }

    pub(crate) fn note_fault_begin(&mut self, fault: &Fault, scope: &Scope) {
        self.note_of_broker(|| TimelineEvent::FaultBegan {
            fault: fault.clone(),
            scope: scope.clone(),
        });
    }

    pub(crate) fn note_fault_end(&mut self, fault: &Fault, strikes: u64) {
        self.note_of_broker(|| TimelineEvent::FaultEnded {
            fault: fault.clone(),
            strikes,
        });
    }

    pub(crate) fn note_alarm(&mut self, alarm: Alarm, is_raised: bool) {
        self.note_of_broker(|| match is_raised {
            true => TimelineEvent::AlarmRaised(alarm),
            false => TimelineEvent::AlarmCleared(alarm),
        });
    }

    pub(crate) fn note_blocked(&mut self, connection: ConnectionId, is_blocked: bool) {
        self.note(connection, 0, || match is_blocked {
            true => TimelineEvent::Blocked,
            false => TimelineEvent::Unblocked,
        });
    }

    fn names_of(&self, queues: &[QueueId]) -> Vec<QueueName> {
        let queues = queues.iter().filter_map(|key| self.queues.get(*key));
        queues.map(|queue| queue.name.clone()).collect()
    }
}

fn told(reason: &CloseReason) -> String {
    format!("{} {}", reason.code, reason.text)
}
