//! A timeline: the last events of a broker, for a test that fails.
//!
//! Unlike a log, a timeline keeps no message: it has the beginning of each body, and drops its
//! oldest entries when it is full.

use std::collections::VecDeque;
use std::time::Duration;

use mooq_core::{
    ConsumerTag, ExchangeName, Message, QueueName, RoutingKey, ShortString, VirtualHost,
};

use super::entry::{DeadLetterReason, Settled};
use crate::alarms::Alarm;
use crate::command::Method;
use crate::faults::{Fault, Scope};

/// An event at a broker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TimelineEntry {
    /// Time of the event since the broker was created, by tokio's clock.
    pub at: Duration,
    /// The client that causes the event or is sent it. None for events of the broker alone.
    pub client: Option<TimelineClient>,
    /// The event.
    pub event: TimelineEvent,
}

/// The client of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimelineClient {
    /// Number of the client's connection, counted from 1 since the broker was created; 0 if the
    /// connection was never opened.
    pub connection: u64,
    /// The client's name for the connection.
    pub name: Option<ShortString>,
    /// The channel; 0 for the connection as a whole.
    pub channel: u16,
}

/// An event at a broker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TimelineEvent {
    /// A client has logged in.
    ConnectionOpened {
        /// The user.
        user: String,
        /// The virtual host.
        vhost: VirtualHost,
    },
    /// A client's login was refused.
    LoginRefused {
        /// The broker's text.
        reason: String,
    },
    /// A connection is closed: by the broker with a reason, by its client without one.
    ConnectionClosed {
        /// The broker's code and text.
        reason: Option<String>,
    },
    /// A connection is lost, without a close.
    ConnectionLost,
    /// The broker has closed a channel.
    ChannelClosed {
        /// The broker's code and text.
        reason: String,
    },
    /// A request other than a publish, a settlement or a fetch.
    Requested(Box<Method>),
    /// A publish that the broker has accepted.
    Published {
        /// The message.
        message: MessageExcerpt,
        /// True if the message is returned when it reaches no queue.
        mandatory: bool,
        /// Number of the publish on a channel with confirms.
        sequence: Option<u64>,
        /// The queues that the message is routed to.
        queues: Vec<QueueName>,
        /// True if the message is a direct reply.
        is_reply: bool,
    },
    /// A message was returned to its publisher.
    Returned {
        /// The message.
        message: MessageExcerpt,
    },
    /// A publish was confirmed, or several.
    Confirmed {
        /// Number of the publish.
        sequence: u64,
        /// True for all unconfirmed publishes up to this one.
        multiple: bool,
    },
    /// A publish was nacked.
    Nacked {
        /// Number of the publish.
        sequence: u64,
    },
    /// A message was sent to a consumer, or fetched.
    Delivered {
        /// The queue.
        queue: QueueName,
        /// The consumer; none if the message was fetched.
        consumer_tag: Option<ConsumerTag>,
        /// Number of the delivery on its channel; 0 for a direct reply.
        delivery_tag: u64,
        /// True if the message was delivered before and requeued.
        redelivered: bool,
        /// True if the delivery is settled as it is sent.
        no_ack: bool,
        /// The message.
        message: MessageExcerpt,
    },
    /// A fetch found an empty queue.
    FoundEmpty {
        /// The queue.
        queue: QueueName,
        /// Number of fetches in a row with this result.
        times: u64,
    },
    /// A delivery was settled.
    Settled {
        /// The queue; none if the queue is deleted.
        queue: Option<QueueName>,
        /// Number of the delivery on its channel.
        delivery_tag: u64,
        /// The outcome.
        outcome: Settled,
        /// The message.
        message: MessageExcerpt,
    },
    /// The unacked deliveries of a channel go back to their queues, since the channel has ended.
    GivenBack {
        /// The queues, each with the number of deliveries from it.
        queues: Vec<(QueueName, usize)>,
    },
    /// A message has left a queue without being consumed.
    DeadLettered {
        /// The queue.
        queue: QueueName,
        /// The reason.
        reason: DeadLetterReason,
        /// The dead-letter exchange. None if the message was dropped for want of one.
        exchange: Option<ExchangeName>,
        /// The message as it is published to that exchange, or as it was in the queue.
        message: MessageExcerpt,
        /// The queues that the dead letter is routed to.
        queues: Vec<QueueName>,
    },
    /// The broker has cancelled a consumer.
    ConsumerCancelled {
        /// The consumer.
        consumer_tag: ConsumerTag,
    },
    /// A queue was deleted, whatever the reason.
    QueueDeleted {
        /// The queue.
        queue: QueueName,
        /// Number of messages that were ready in the queue.
        ready: usize,
    },
    /// The broker has stopped reading from a connection, because of an alarm.
    Blocked,
    /// The broker reads from a connection again.
    Unblocked,
    /// An alarm was raised.
    AlarmRaised(Alarm),
    /// An alarm was cleared.
    AlarmCleared(Alarm),
    /// A lasting fault has begun.
    FaultBegan {
        /// The fault.
        fault: Fault,
        /// The limits of the fault.
        scope: Scope,
    },
    /// A lasting fault has ended.
    FaultEnded {
        /// The fault.
        fault: Fault,
        /// Number of times that the fault has struck.
        strikes: u64,
    },
    /// A fault has an effect on a client.
    FaultStruck {
        /// The effect, as the rest of a sentence that begins with the fault.
        effect: &'static str,
    },
    /// A fault that happens once.
    FaultHappened {
        /// The effect, as the rest of a sentence that begins with the fault.
        effect: &'static str,
        /// The limits of the fault.
        scope: Scope,
    },
    /// The broker starts.
    Started,
    /// The broker stops: all connections are closed, and everything that is not durable is lost.
    Stopped,
}

/// A message without most of its body and properties.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageExcerpt {
    /// The exchange that the message was published to.
    pub exchange: ExchangeName,
    /// The routing key.
    pub routing_key: RoutingKey,
    /// The application's id of the message.
    pub message_id: Option<ShortString>,
    /// The beginning of the body: at most [`BODY_BYTES`](Self::BODY_BYTES).
    pub body: Box<[u8]>,
    /// Size of the whole body in bytes.
    pub size: usize,
}

impl MessageExcerpt {
    /// Largest number of a body's bytes that are kept.
    pub const BODY_BYTES: usize = 64;

    /// Returns the excerpt of a message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let kept = message.body.len().min(Self::BODY_BYTES);
        Self {
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            message_id: message.properties.message_id.clone(),
            body: message.body.get(..kept).unwrap_or_default().into(),
            size: message.body.len(),
        }
    }
}

/// The last events of a broker, in order, up to a limit.
#[derive(Debug)]
pub struct Timeline {
    limit: usize,
    entries: VecDeque<TimelineEntry>,
    left_out: u64,
    is_stopped: bool,
}

impl Timeline {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: VecDeque::new(),
            left_out: 0,
            is_stopped: false,
        }
    }

    /// The entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> &VecDeque<TimelineEntry> {
        &self.entries
    }

    /// Number of earlier entries, which were dropped for later ones.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn is_running(&self) -> bool {
        !self.is_stopped
    }

    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    pub(super) fn push(&mut self, entry: TimelineEntry) {
        if self.is_stopped || self.is_repeated(&entry) {
            return;
        }
        if self.entries.len() >= self.limit {
            self.left_out += 1;
            if self.entries.pop_front().is_none() {
                return; // The limit is 0.
            }
        }
        self.entries.push_back(entry);
    }

    /// Counts a fetch that finds the same empty queue as the fetch before it: a client that polls
    /// must not push everything else out.
    fn is_repeated(&mut self, entry: &TimelineEntry) -> bool {
        let TimelineEvent::FoundEmpty { queue, .. } = &entry.event else {
            return false;
        };
        match self.entries.back_mut() {
            Some(TimelineEntry {
                client,
                event: TimelineEvent::FoundEmpty { queue: last, times },
                ..
            }) if last == queue && *client == entry.client => {
                *times += 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_empty(queue: &str, at: u64) -> TimelineEntry {
        TimelineEntry {
            at: Duration::from_secs(at),
            client: None,
            event: TimelineEvent::FoundEmpty {
                queue: queue.try_into().unwrap(),
                times: 1,
            },
        }
    }

    #[test]
    fn timeline_keeps_its_last_entries_and_counts_the_others() {
        let mut timeline = Timeline::new(2);
        for (at, queue) in ["a", "b", "c"].into_iter().enumerate() {
            timeline.push(found_empty(queue, at as u64));
        }
        let seconds: Vec<_> = timeline.entries().iter().map(|e| e.at.as_secs()).collect();
        assert_eq!((seconds, timeline.left_out()), (vec![1, 2], 1));

        let mut none = Timeline::new(0);
        none.push(found_empty("a", 0));
        assert_eq!((none.entries().len(), none.left_out()), (0, 1));
    }

    #[test]
    fn timeline_counts_fetches_of_one_empty_queue_in_one_entry() {
        let mut timeline = Timeline::new(9);
        for queue in ["a", "a", "a", "b", "a"] {
            timeline.push(found_empty(queue, 0));
        }
        let times: Vec<_> = timeline
            .entries()
            .iter()
            .map(|entry| match &entry.event {
                TimelineEvent::FoundEmpty { queue, times } => (queue.as_str(), *times),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(times, [("a", 3), ("b", 1), ("a", 1)]);
    }

    #[test]
    fn stopped_timeline_takes_nothing_more() {
        let mut timeline = Timeline::new(9);
        timeline.push(found_empty("a", 0));
        timeline.stop();
        timeline.push(found_empty("b", 1));
        assert_eq!((timeline.entries().len(), timeline.left_out()), (1, 0));
    }
}
