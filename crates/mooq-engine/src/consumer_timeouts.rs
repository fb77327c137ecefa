//! Consumer timeouts: the time that a delivery may stay unacked
//! ([acknowledgement timeouts](https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout)).
//!
//! Before RabbitMQ 4.3 the channel enforces the timeout: at its tick, once a minute, the channel
//! closes if its oldest delivery is overdue. Since 4.3 quorum queues enforce the timeout, to the
//! millisecond. An overdue delivery is requeued, and the consumer's client gets a consumer
//! cancellation. The consumer then gets nothing more until it has settled all deliveries that were
//! taken from it.

use std::time::Duration;

use super::channel::Disposition;
use super::command::{Effect, Method};
use super::consumer::Status;
use super::ids::{ChannelId, ConsumerId, MethodId, QueueId};
use super::message::{Timed, Unacked};
use super::queue::Queue;
use super::recording::TimelineEvent;
use super::reply_error::ReplyError;
use super::time::Time;
use super::{Caller, Engine};
use mooq_core::{ChannelEvent, ConsumerTag};

/// Timeout of a quorum queue's consumers, in milliseconds, if none is set and the broker has none.
const LONGEST: u64 = 86_400_000;

/// Timestamps of deliveries and channel activity. Reading a clock costs as much as acknowledging a
/// message. To save clock reads, only the first methods of an interval get an exact timestamp;
/// later ones get the end of the interval.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// Number of methods that still get an exact timestamp in this interval.
    exact: u32,
    /// End of the interval, set once `exact` is used up. Later methods get this timestamp: late,
    /// and never early.
    end: Option<Time>,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            exact: Self::EXACT,
            end: None,
        }
    }
}

impl Stamps {
    const EXACT: u32 = 64;
    const MOMENT: u64 = 100;

    /// Returns true if the next method gets an exact timestamp.
    pub(crate) fn want_time(&self) -> bool {
        self.exact > 0
    }
}

impl Engine {
    /// Counts a method that got the time, with which its actions and deliveries are dated.
    #[inline]
    pub(super) fn use_stamp(&mut self, method: &Method) {
        if self.stamps.exact == 0
            || self.keeps_time
            || !matches!(method, Method::BasicPublish(_) | Method::BasicSettle(_))
        {
            return;
        }
        self.stamps.exact -= 1;
        if self.stamps.exact == 0 {
            let end = self.now.plus_millis(Stamps::MOMENT);
            self.stamps.end = Some(end);
            self.timers.set_stamps(end);
        }
    }

    /// Starts the next moment.
    pub(super) fn renew_stamps(&mut self) {
        self.stamps = Stamps::default();
    }

    /// Returns the time, as far as it is known.
    pub(super) fn stamp(&self) -> Time {
        match self.stamps.end {
            Some(end) if !self.keeps_time => self.now.max(end),
            _ => self.now,
        }
    }

    /// Starts the timeout of a delivery or of a fetched message.
    #[inline]
    pub(super) fn time_delivery(
        &mut self,
        channel: ChannelId,
        queue: QueueId,
        consumer: Option<ConsumerId>,
    ) -> Timed {
        if !self.options.profile.channels_time_deliveries() {
            return self.time_by_queue(queue, consumer);
        }
        let stamp = self.stamp();
        let tick = self.tick_interval();
        if let Some(open) = self.channels.get_mut(channel)
            && !open.ticks
        {
            open.ticks = true;
            self.timers.set_channel(stamp.plus_millis(tick), channel);
        }
        Timed::Since(stamp)
    }

    fn time_by_queue(&mut self, key: QueueId, consumer: Option<ConsumerId>) -> Timed {
        let now = self.now;
        let Some(queue) = self.queues.get_mut(key).filter(|queue| queue.is_quorum()) else {
            return Timed::Since(now);
        };
        let consumer = consumer.and_then(|consumer| self.consumers.get(consumer));
        let timeout = match consumer {
            Some(consumer) => consumer.timeout,
            None => timeout_of_consumers(queue, None, self.options.consumer_timeout),
        };
        let until = now.plus_millis(timeout);
        if let Some(quorum) = &mut queue.quorum
            && quorum.looks_for_overdue.is_none_or(|at| until < at)
        {
            quorum.looks_for_overdue = Some(until);
            self.timers.set(until, key);
        }
        Timed::Until(until)
    }

    /// Returns the timeout of a queue's new consumer, in milliseconds.
    pub(super) fn timeout_of_consumer(&self, queue: QueueId, asked: Option<u64>) -> u64 {
        let queue = self.queues.get(queue);
        queue.map_or(LONGEST, |queue| {
            timeout_of_consumers(queue, asked, self.options.consumer_timeout)
        })
    }

    /// Looks for an overdue delivery of a channel, and closes the channel if there is one.
    pub(super) fn tick_channel(&mut self, key: ChannelId, at: Time) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        // Only the oldest delivery is checked, regardless of the timeouts of other queues.
        let oldest = channel.unacked.iter().next();
        let Some(oldest) = oldest.filter(|_| !channel.has_ended()) else {
            channel.ticks = false;
            return;
        };
        let queue = self.queues.get(oldest.queue);
        let global = self.options.consumer_timeout.map(millis);
        let timeout = match queue {
            Some(queue) if self.options.profile.queues_set_consumer_timeouts() => {
                timeout_of_queue(queue, global)
            }
            _ => global,
        };
        if let (Timed::Since(since), Some(timeout)) = (oldest.timed, timeout)
            && at.as_millis() - since.as_millis() > timeout
        {
            self.close_over_timeout(key, timeout);
        } else {
            let next = at.plus_millis(self.tick_interval());
            self.timers.set_channel(next, key);
        }
    }

    /// The interval of a channel's ticks, in milliseconds.
    fn tick_interval(&self) -> u64 {
        let millis = self.options.channel_tick_interval.as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).max(1)
    }

    fn close_over_timeout(&mut self, key: ChannelId, millis: i64) {
        let Some(channel) = self
            .channels
            .get(key)
            .filter(|channel| !channel.has_ended())
        else {
            return;
        };
        let (connection, number) = (channel.connection, channel.number);
        let Some(vhost) = self.connections.get(connection).map(|c| c.vhost) else {
            return;
        };
        let caller = Caller {
            connection,
            number,
            channel: key,
            vhost,
        };
        let error = ReplyError::delivery_timed_out(number, millis);
        self.fail(connection, Some(caller), error, MethodId::NONE);
    }

    /// Requeues overdue deliveries of a queue that enforces the timeout itself.
    pub(super) fn take_back_overdue(&mut self, key: QueueId, at: Time) {
        let quorum = self.queues.get_mut(key).and_then(|q| q.quorum.as_mut());
        let Some(quorum) = quorum.filter(|q| q.looks_for_overdue.is_some_and(|due| due <= at))
        else {
            return;
        };
        quorum.looks_for_overdue = None;
        let mut overdue = self.mark_overdue(key, at);
        if overdue.is_empty() {
            return;
        }
        // Consumer by consumer, the oldest first, then the fetched messages.
        overdue.sort_by_cached_key(|(_, unacked)| {
            let consumer = unacked.consumer.and_then(|key| self.consumers.get(key));
            let age = consumer.map_or(u64::MAX, |consumer| consumer.number);
            (age, unacked.delivery_tag)
        });
        let mut told: Vec<(ChannelId, Option<ConsumerId>)> = Vec::new();
        for (channel, unacked) in overdue {
            if !told.contains(&(channel, unacked.consumer)) {
                told.push((channel, unacked.consumer));
            }
            self.take_back(key, channel, unacked);
        }
        for (channel, consumer) in &told {
            if let Some(consumer) = *consumer {
                self.let_another_be_active(key, consumer);
            }
            self.notify_overdue(*channel, *consumer);
        }
        self.deliver_returned(key);
    }

    /// Marks the overdue deliveries of a queue, and schedules the next check for the time at which
    /// the next delivery is due.
    fn mark_overdue(&mut self, key: QueueId, at: Time) -> Vec<(ChannelId, Unacked)> {
        let mut overdue = Vec::new();
        let mut next: Option<Time> = None;
        for (channel_key, channel) in &mut self.channels {
            for unacked in channel.unsettled_mut().filter(|u| u.queue == key) {
                match unacked.timed {
                    Timed::Until(until) if until <= at => {
                        overdue.push((channel_key, unacked.clone()));
                        unacked.timed = Timed::Out;
                    }
                    Timed::Until(until) => next = Some(next.map_or(until, |n| n.min(until))),
                    Timed::Since(_) | Timed::Out => {}
                }
            }
        }
        if let Some(next) = next {
            self.timers.set(next, key);
            if let Some(quorum) = self.queues.get_mut(key).and_then(|q| q.quorum.as_mut()) {
                quorum.looks_for_overdue = Some(next);
            }
        }
        overdue
    }

    fn take_back(&mut self, queue: QueueId, channel: ChannelId, unacked: Unacked) {
        let disposition = Disposition::Requeued { failed: false };
        self.record_settled(channel, std::slice::from_ref(&unacked), disposition);
        let fetched = usize::from(unacked.consumer.is_none());
        self.count_settled(queue, 1, fetched, disposition);
        if let Some(consumer) = unacked.consumer {
            self.give_credit(Some(consumer), 1, disposition);
            let status = self.consumers.get(consumer).map(|consumer| consumer.status);
            if status == Some(Status::Cancelled) {
                self.settled_by_quorum_consumer(queue, Some(consumer), disposition);
            } else {
                self.pass_over(queue, consumer);
            }
        }
        self.put_back(queue, vec![unacked], false);
    }

    /// Counts a delivery that was taken back from a consumer. The consumer gets nothing until it
    /// has settled that delivery.
    fn pass_over(&mut self, queue: QueueId, key: ConsumerId) {
        let (Some(consumer), Some(queue)) =
            (self.consumers.get_mut(key), self.queues.get_mut(queue))
        else {
            return;
        };
        consumer.overdue += 1;
        if consumer.blocked.is_none() {
            self.times_blocked += 1;
            consumer.blocked = Some(self.times_blocked);
            queue.consumers.block(key, consumer.priority);
        }
    }

    /// Makes another consumer the single active one, if this consumer is the single active one and
    /// has no unacked deliveries left.
    fn let_another_be_active(&mut self, queue_key: QueueId, key: ConsumerId) {
        let has_more = self.consumers.get(key).is_some_and(|c| c.unacked > 0);
        if let Some(queue) = self.queues.get_mut(queue_key)
            && queue.options.single_active_consumer
            && queue.consumers.active == Some(key)
            && !has_more
        {
            queue.consumers.active = None;
            self.activate_consumer(queue_key);
        }
    }

    /// Notifies a client that a delivery was overdue: the client gets a consumer cancellation,
    /// though the consumer stays. If no cancellation can be sent, the channel closes.
    fn notify_overdue(&mut self, key: ChannelId, consumer: Option<ConsumerId>) {
        self.touch_channel(key);
        let Some(channel) = self
            .channels
            .get(key)
            .filter(|channel| !channel.has_ended())
        else {
            return;
        };
        let connection = self.connections.get(channel.connection);
        let understands = connection.is_some_and(|c| c.capabilities.consumer_cancel_notify);
        let tag: Option<ConsumerTag> = consumer
            .filter(|_| understands)
            .and_then(|key| Some((key, self.consumers.get(key)?.tag.clone())))
            .filter(|(key, tag)| channel.consumers.get(tag) == Some(key))
            .map(|(_, tag)| tag);
        match tag {
            Some(tag) => {
                let (connection, number) = (channel.connection, channel.number);
                let consumer_tag = tag.clone();
                self.note(connection, number, || TimelineEvent::ConsumerCancelled {
                    consumer_tag,
                });
                self.effects.push_back(Effect::Channel {
                    connection,
                    channel: number,
                    event: ChannelEvent::ConsumerCancelled(tag),
                });
            }
            None => self.close_over_timeout(key, -1),
        }
    }

    /// Removes, from the deliveries that a client settles, those that their queue has already
    /// requeued. Settling these changes nothing, except that the consumer may get messages again
    /// once it has settled all of them.
    pub(super) fn drop_overdue(&mut self, taken: &mut Vec<Unacked>) {
        for unacked in taken.extract_if(.., |unacked| unacked.timed == Timed::Out) {
            let Some(key) = unacked.consumer else {
                continue;
            };
            let Some(consumer) = self.consumers.get_mut(key) else {
                continue;
            };
            consumer.overdue = consumer.overdue.saturating_sub(1);
            if consumer.overdue > 0 || consumer.status == Status::Cancelled {
                continue;
            }
            if consumer.credit != Some(0) {
                self.unblock(key);
            }
            self.activate_consumer(unacked.queue);
            self.deliver_ready(unacked.queue);
        }
    }
}

/// Returns the timeout that a queue's channels apply, in milliseconds, if any. RabbitMQ 4.0 does
/// not check the argument: a value that is not an integer is no timeout.
fn timeout_of_queue(queue: &Queue, global: Option<i64>) -> Option<i64> {
    let policy = queue.options.consumer_timeout.map(saturate);
    match (policy, queue.options.as_set.consumer_timeout) {
        (None, None) => global,
        (Some(policy), None | Some(None)) => Some(policy),
        (Some(policy), Some(Some(argument))) => Some(policy.min(argument)),
        (None, Some(argument)) => argument,
    }
}

/// Returns the timeout of a consumer that asks for `asked`, in milliseconds, where queues enforce
/// timeouts.
fn timeout_of_consumers(queue: &Queue, asked: Option<u64>, global: Option<Duration>) -> u64 {
    let global = global.map(|global| u64::try_from(millis(global)).unwrap_or(LONGEST));
    let set = asked.or(queue.options.consumer_timeout);
    set.or(global).unwrap_or(LONGEST)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn saturate(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}
