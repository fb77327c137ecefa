//! Opening channels again, with their consumers.

use std::time::{Duration, Instant};

use mooq_core::{Consume, Error, ErrorKind, ErrorScope, QueueName, Result};

use super::job::{Job, Reopen, Role, Stage, Step, UNANSWERED};
use crate::event::Event;
use crate::ids::{ChannelId, ConsumerId, JobId};
use crate::output::{Answer, Output, Request};
use crate::phase::Phase;
use crate::purpose::{Purpose, Registering};
use crate::reasons::{closed_without_event, exceeded, is_channel_limit};
use crate::session::Session;
use crate::shell::{Link, PortCell, Shell, Wire};
use crate::timers::{Timer, later};

/// Number of times a new channel is tried that the broker closes at once, for no known reason.
const TRIES: usize = 3;

/// Pauses between attempts to register a consumer whose place is taken, and to open a channel when
/// as many are open as the broker allows.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl<S: Shell> Session<S> {
    fn reopening(&mut self, job: JobId) -> Option<&mut Reopen<S>> {
        match self.restore.jobs.get_mut(&job)? {
            Job::Reopen(reopen) => Some(reopen),
            Job::Declare(_) => None,
        }
    }

    /// The job that reopens a channel.
    fn reopening_of(&self, channel: ChannelId) -> Option<JobId> {
        let mut jobs = self.restore.jobs.iter();
        let is_it = |job: &Job<S>| matches!(job, Job::Reopen(reopen) if reopen.channel == channel);
        jobs.find(|(_, job)| is_it(job)).map(|(id, _)| *id)
    }

    /// Begins to reopen all channels, once the topology is there.
    pub(super) fn begin_reopening(&mut self, now: Instant) {
        self.restore.declared = true;
        let channels: Vec<_> = self.channels.keys().copied().collect();
        for channel in channels {
            self.reopen(channel, None, now);
        }
        if self.restore.drained {
            self.drained(now);
        }
        self.made_progress(now);
        self.check_restored(now);
    }

    /// Begins to reopen a channel.
    fn reopen(&mut self, id: ChannelId, alone: Option<Error>, now: Instant) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        if !channel.is_known || self.reopening_of(id).is_some() {
            return;
        }
        let stage = match channel.port.with(|port| port.phase().clone()) {
            Phase::Open(_) => Stage::AwaitingClose,
            Phase::Reopening(_) => Stage::Declaring,
            Phase::Closed(_) => return,
        };
        let is_lost = matches!(stage, Stage::Declaring);
        let is_alone = alone.is_some();
        let job = self.add_job(Job::Reopen(Reopen {
            channel: id,
            alone,
            stage,
            tries: TRIES + self.consumers.restorable(id).len(),
            pause: SHORTEST_PAUSE,
            reported: false,
            has_begun: false,
        }));
        if is_lost && is_alone {
            self.restore.turn.push_back(job);
            if self.restore.turn.len() == 1 {
                self.declare_with_channel(job, now);
            }
        } else if is_lost {
            self.open_next_wire(job, now);
        }
    }

    /// Declares what was deleted with the consumers of a broken channel, when it is its turn.
    pub(super) fn declare_with_channel(&mut self, job: JobId, now: Instant) {
        let mut jobs = self.restore.jobs.values();
        if jobs.any(|other| matches!(other, Job::Declare(it) if it.role == Role::WithChannel(job)))
        {
            return;
        }
        let Some(channel) = self.reopening(job).map(|reopen| reopen.channel) else {
            self.restore.turn.retain(|other| *other != job);
            return;
        };
        let consumers = self.consumers.restorable(channel).into_iter();
        let queues = consumers.filter_map(|id| self.queue_of(id));
        let queues = queues.filter(|queue| self.topology.is_auto_delete(queue));
        let queues: Vec<_> = queues.cloned().collect();
        self.declare_for(job, &queues, now);
    }

    /// Declares queues that were deleted with their last consumers, with what went with them, and
    /// goes on with `job` then.
    fn declare_for(&mut self, job: JobId, queues: &[QueueName], now: Instant) {
        let declared = self.topology.gone_with(queues);
        let exchanges = declared.exchanges.into_iter().map(Step::Exchange);
        let queues = declared.queues.into_iter();
        let queues = queues.map(|(name, declare)| Step::Queue {
            asks: declare.name.is_empty(),
            name,
            declare,
        });
        let bindings = declared.bindings.into_iter().map(|b| Step::Bind(b, false));
        let steps = exchanges.chain(queues).chain(bindings).collect();
        let declaring = self.declare(Role::WithChannel(job), steps);
        self.go_on_declaring(declaring, now);
    }

    /// Handles that a channel is lost.
    pub(crate) fn channel_lost(&mut self, id: ChannelId, reason: &Error, now: Instant) {
        if let Some(job) = self.reopening_of(id) {
            // Its end has been waited for.
            return self.open_next_wire(job, now);
        }
        let restoring = self.restore.link.is_some() && self.restore.declared;
        if restoring || self.usable_link().is_some() {
            self.reopen(id, Some(reason.clone()), now);
        }
    }

    /// Stops reopening a channel, which is closed for good.
    pub(crate) fn stop_reopening(&mut self, id: ChannelId) {
        if let Some(job) = self.reopening_of(id) {
            self.restore.jobs.remove(&job);
            self.restore.turn.retain(|other| *other != job);
            // The answers to its requests are ignored. It may have been the last job.
            self.set_timer_due(Timer::MayBeRestored);
        }
    }

    /// Handles that a consumer of the channel is not to be registered again.
    pub(crate) fn consumer_forgotten(&mut self, channel: ChannelId) {
        let Some(job) = self.reopening_of(channel) else {
            return;
        };
        let Some(reopen) = self.reopening(job) else {
            return;
        };
        // The wire that is being prepared may know the consumer, so there has to be another one.
        if matches!(reopen.stage, Stage::Registering { .. }) {
            reopen.stage = Stage::Pausing;
            self.abort_requests_of(job);
            self.cancel_timers(|timer| matches!(timer, Timer::LateConsumer(of, _) if *of == job));
            self.discard_candidate(channel);
            // Does not wait for the answers to its requests.
            self.set_timer_due(Timer::Pause(job));
        }
    }

    fn abort_requests_of(&mut self, job: JobId) {
        let requests = self.purposes.iter();
        let own = requests.filter(|(_, purpose)| purpose.job() == Some(job));
        let own: Vec<_> = own.map(|(id, _)| *id).collect();
        for id in own {
            self.purposes.remove(&id);
            self.outbox.push(Output::Abort(id));
        }
    }

    /// Handles that the lost channels have had time to tell of their end.
    pub(crate) fn drained(&mut self, now: Instant) {
        self.restore.drained = true;
        let losing = self.restore.jobs.values().filter_map(|job| match job {
            Job::Reopen(reopen) if matches!(reopen.stage, Stage::AwaitingClose) => {
                Some(reopen.channel)
            }
            _ => None,
        });
        for channel in losing.collect::<Vec<_>>() {
            self.lose_channel(channel, &closed_without_event(), now);
        }
    }

    pub(super) fn open_next_wire(&mut self, job: JobId, now: Instant) {
        let limit = self.options.timeout;
        let Some(link) = self.target() else {
            return;
        };
        if let Some(reopen) = self.reopening(job) {
            reopen.stage = Stage::Opening;
            let request = self.open_wire(link, Purpose::Job(job));
            self.set_timer(later(now, limit), Timer::Request(request));
        }
    }

    pub(super) fn reopen_answered(
        &mut self,
        id: JobId,
        answer: Result<Answer<S>>,
        is_over: bool,
        now: Instant,
    ) {
        let limit = self.options.timeout;
        let is_gone = self.target().is_none_or(|link| link.closed().is_some());
        let answer = match (answer, self.reopening(id).map(|reopen| &reopen.stage)) {
            (Err(_), Some(Stage::Opening)) if is_over => Err(exceeded("opening a channel", limit)),
            (Err(_), Some(Stage::Selecting(_))) if is_over => {
                Err(exceeded("confirm.select", limit))
            }
            (answer, _) => answer,
        };
        let Some(reopen) = self.reopening(id) else {
            return;
        };
        let channel = reopen.channel;
        match (&mut reopen.stage, answer) {
            (Stage::Opening, Ok(Answer::Wire(wire))) => {
                reopen.stage = Stage::Selecting(wire.clone());
                self.wires.insert(wire.id(), channel);
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.candidate = Some(wire.clone());
                }
                let request = self.ask(&wire, Request::ConfirmSelect, Purpose::Job(id));
                self.set_timer(later(now, limit), Timer::Request(request));
            }
            (Stage::Selecting(wire), Ok(_)) => {
                let wire = wire.clone();
                self.begin_registering(id, wire, now);
            }
            (_, Err(err)) if is_channel_limit(&err) && !is_gone => {
                self.no_wire(id, err, now);
            }
            (_, Err(err)) => self.retry_or_fail(id, err, now),
            (_, Ok(_)) => {}
        }
    }

    /// Handles that as many channels are open as the broker allows.
    fn no_wire(&mut self, id: JobId, err: Error, now: Instant) {
        let Some(reopen) = self.reopening(id) else {
            return;
        };
        let reported = std::mem::replace(&mut reopen.reported, true);
        if !reported {
            let what = "a channel, which waits for others to be closed".into();
            self.outbox.not_restored(what, err);
        }
        self.pause(id, now);
    }

    fn pause(&mut self, id: JobId, now: Instant) {
        let Some(reopen) = self.reopening(id) else {
            return;
        };
        reopen.stage = Stage::Pausing;
        let pause = reopen.pause;
        reopen.pause = (2 * pause).min(LONGEST_PAUSE);
        self.set_timer(later(now, pause), Timer::Pause(id));
        self.has_begun(id, now);
    }

    pub(crate) fn pause_over(&mut self, id: JobId, now: Instant) {
        let job = self.reopening(id);
        if job.is_some_and(|job| matches!(job.stage, Stage::Pausing)) {
            self.open_next_wire(id, now);
        }
    }

    /// Counts an attempt that failed, and makes another one if there is one left.
    fn retry_or_fail(&mut self, id: JobId, err: Error, now: Instant) {
        let is_gone = self.target().is_none_or(|link| link.closed().is_some());
        let Some(reopen) = self.reopening(id) else {
            return;
        };
        reopen.tries -= 1;
        let (channel, is_last) = (reopen.channel, reopen.tries == 0);
        self.discard_candidate(channel);
        if err.scope() != ErrorScope::Channel || is_gone || is_last {
            return self.job_failed(id, err, now);
        }
        self.open_next_wire(id, now);
    }

    fn begin_registering(&mut self, id: JobId, wire: S::Wire, now: Instant) {
        let Some(channel) = self.reopening(id).map(|reopen| reopen.channel) else {
            return;
        };
        let left = self.consumers.restorable(channel).into();
        if let Some(reopen) = self.reopening(id) {
            reopen.stage = Stage::Registering {
                wire,
                left,
                current: None,
            };
        }
        self.register_next_again(id, now);
        self.has_begun(id, now);
    }

    /// Records that a channel has begun to register its consumers, or to wait.
    fn has_begun(&mut self, id: JobId, now: Instant) {
        let job = self.reopening(id);
        let is_first = job.is_some_and(|job| !std::mem::replace(&mut job.has_begun, true));
        if is_first {
            self.made_progress(now);
        }
    }

    /// Registers the next consumer of a channel that is reopened, or lets its users have the
    /// channel.
    fn register_next_again(&mut self, id: JobId, now: Instant) {
        let Some(Stage::Registering {
            wire,
            left,
            current,
        }) = self.reopening(id).map(|reopen| &mut reopen.stage)
        else {
            return;
        };
        let wire = wire.clone();
        if current.is_none() {
            let Some(next) = left.pop_front() else {
                return self.admit(id, &wire, now);
            };
            *current = Some((next, now, false));
            self.set_timer(later(now, UNANSWERED), Timer::LateConsumer(id, next));
            if let Some(consumer) = self.consumers.get_mut(next) {
                // Deliveries of a wire that was lost before it was in use must not be taken for
                // the new one's.
                consumer.drop_waiting(&mut self.outbox);
                if let Some(record) = &consumer.record {
                    consumer.queue.clone_from(&record.consume.queue);
                }
                consumer.wire = wire.clone();
            }
        }
        self.ask_to_register(id, &wire, now);
    }

    fn ask_to_register(&mut self, id: JobId, wire: &S::Wire, now: Instant) {
        let Some(Stage::Registering {
            current: Some((consumer, ..)),
            ..
        }) = self.reopening(id).map(|reopen| &reopen.stage)
        else {
            return;
        };
        let consumer = *consumer;
        let record = self
            .consumers
            .get(consumer)
            .and_then(|one| one.record.clone());
        let Some(record) = record else {
            return self.consumer_registered_again(id, now);
        };
        // Resumed when the broker has answered for the queue.
        if !self.restore.unanswered.contains(&record.consume.queue) {
            self.ask_prefetch(Registering::Again(id), wire, record.prefetch);
        }
    }

    /// Goes on with the channels that have waited for a queue.
    pub(super) fn resume_waiting(&mut self, now: Instant) {
        let waiting = self.restore.jobs.iter().filter_map(|(id, job)| match job {
            Job::Reopen(Reopen {
                stage: Stage::Registering { wire, .. },
                ..
            }) => Some((*id, wire.clone())),
            _ => None,
        });
        for (id, wire) in waiting.collect::<Vec<_>>() {
            let mut purposes = self.purposes.values();
            if !purposes.any(|purpose| purpose.job() == Some(id)) {
                self.ask_to_register(id, &wire, now);
            }
        }
    }

    /// The consumer that a job registers, and what to ask the broker for. Goes on with the next
    /// consumer if this one has ended.
    pub(crate) fn consumer_of(&mut self, id: JobId, now: Instant) -> Option<(ConsumerId, Consume)> {
        let consumer = self.current_consumer(id)?;
        let record = self.consumers.get(consumer)?.record.as_ref();
        let Some(record) = record else {
            self.consumer_registered_again(id, now);
            return None;
        };
        Some((consumer, record.consume.clone()))
    }

    fn current_consumer(&mut self, id: JobId) -> Option<ConsumerId> {
        match &self.reopening(id)?.stage {
            Stage::Registering {
                current: Some((consumer, ..)),
                ..
            } => Some(*consumer),
            _ => None,
        }
    }

    /// Handles that the broker has refused a consumer, or has closed the wire.
    pub(crate) fn register_failed(&mut self, id: JobId, err: Error, now: Instant) {
        let Some(consumer) = self.current_consumer(id) else {
            return;
        };
        let Some(channel) = self.reopening(id).map(|reopen| reopen.channel) else {
            return;
        };
        self.told_if_late(id, now);
        if err.scope() == ErrorScope::Operation {
            // The channel goes on, without this consumer.
            self.not_registered_again(consumer, err);
            return self.consumer_registered_again(id, now);
        }
        let refused = err.scope() == ErrorScope::Channel;
        let record = self
            .consumers
            .get(consumer)
            .and_then(|one| one.record.as_ref());
        let is_exclusive = record.is_some_and(|record| record.consume.exclusive);
        let queue = record.map(|record| record.consume.queue.clone());
        let is_taken = err.kind() == ErrorKind::AccessRefused && is_exclusive;
        if refused && self.may_become_free(id, &err, is_taken, now) {
            let what = "a consumer's place may still be the lost connection's";
            self.outbox.note(what, err);
            self.discard_candidate(channel);
            return self.pause(id, now);
        }
        let is_missing = err.kind() == ErrorKind::QueueNotFound;
        if let Some(queue) =
            queue.filter(|queue| refused && is_missing && self.topology.is_auto_delete(queue))
        {
            // The broker learned only now that the consumer's last registration had ended.
            return self.declare_once_more(id, queue, err, now);
        }
        if refused {
            self.not_registered_again(consumer, err.clone());
        }
        self.retry_or_fail(id, err, now);
    }

    /// Declares an auto-delete queue once more, and goes on then.
    fn declare_once_more(&mut self, id: JobId, queue: QueueName, err: Error, now: Instant) {
        let Some(reopen) = self.reopening(id) else {
            return;
        };
        if reopen.tries <= 1 {
            return self.retry_or_fail(id, err, now);
        }
        reopen.tries -= 1;
        reopen.stage = Stage::Declaring;
        let channel = reopen.channel;
        self.discard_candidate(channel);
        self.declare_for(id, &[queue], now);
    }

    pub(crate) fn consumer_registered_again(&mut self, id: JobId, now: Instant) {
        self.told_if_late(id, now);
        if let Some(Stage::Registering { current, .. }) =
            self.reopening(id).map(|reopen| &mut reopen.stage)
        {
            *current = None;
        }
        self.register_next_again(id, now);
    }

    /// Reports that the broker has answered for a consumer, if the consumer was reported as
    /// unanswered.
    fn told_if_late(&mut self, id: JobId, now: Instant) {
        let Some(Stage::Registering {
            current: Some((consumer, began, is_late)),
            ..
        }) = self.reopening(id).map(|reopen| &reopen.stage)
        else {
            return;
        };
        let (consumer, began, is_late) = (*consumer, *began, *is_late);
        self.cancel_timers(|timer| *timer == Timer::LateConsumer(id, consumer));
        if is_late {
            let what = self.consumer_described(consumer);
            let after = now.saturating_duration_since(began);
            self.outbox.tell(Event::Answered { what, after });
        }
    }

    fn consumer_described(&self, id: ConsumerId) -> String {
        let consumer = self.consumers.get(id);
        let tag = consumer.map(|one| one.tag.to_string()).unwrap_or_default();
        let queue = consumer
            .map(|one| one.queue.to_string())
            .unwrap_or_default();
        format!("consumer '{tag}' of queue '{queue}'")
    }

    pub(crate) fn consumer_is_late(&mut self, job: JobId, consumer: ConsumerId) {
        if let Some(Stage::Registering {
            current: Some((current, _, is_late)),
            ..
        }) = self.reopening(job).map(|reopen| &mut reopen.stage)
            && *current == consumer
        {
            *is_late = true;
            let what = self.consumer_described(consumer);
            self.outbox.tell(Event::Unanswered { what });
        }
    }

    /// Lets the users have a channel, after the publishes that waited for it.
    fn admit(&mut self, id: JobId, wire: &S::Wire, now: Instant) {
        let Some(reopen) = self.reopening(id) else {
            return;
        };
        let (channel, alone) = (reopen.channel, reopen.alone.clone());
        let Some(state) = self.channels.get_mut(&channel) else {
            return;
        };
        let mut woken = Vec::new();
        let opened = state.port.with(|port| port.open(wire, now, &mut woken));
        self.outbox.wake_all(woken);
        self.arm_publishes(channel);
        if let Err(err) = opened {
            return self.retry_or_fail(id, err, now);
        }
        if let Some(state) = self.channels.get_mut(&channel) {
            state.candidate = None;
        }
        self.restore.jobs.remove(&id);
        if let Some(reason) = alone {
            self.outbox.tell(Event::ChannelReopened(reason));
        }
        self.make_waiting_requests(channel);
        self.drop_unused(channel);
        self.made_progress(now);
        self.check_restored(now);
    }
}
