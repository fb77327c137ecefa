//! Declaring the topology again.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use mooq_core::{
    BindingDestination, Error, ErrorKind, ErrorScope, QueueDeclare, QueueName, Result,
};

use super::job::{Declare, Job, Role, Step, UNANSWERED};
use crate::event::Event;
use crate::ids::{JobId, RequestId};
use crate::output::{Answer, Request};
use crate::purpose::Purpose;
use crate::reasons::{exceeded, is_channel_limit};
use crate::session::Session;
use crate::shell::Shell;
use crate::timers::{Timer, later};

/// Time that a queue may keep the next ones waiting, before those are declared side by side.
const PARALLEL_AFTER: Duration = Duration::from_millis(100);

/// Maximum number of queues that are declared side by side: each takes a channel, and there are
/// 2,047 by default.
const AT_ONCE: usize = 64;

/// Number of heartbeats after a loss for which resources of the lost connection may still be
/// locked: the broker drops a client that is silent for two.
const LOCKED_HEARTBEATS: u32 = 3;

/// Time that all lost channels together may take to hand on the events from before the loss.
const DRAINING: Duration = Duration::from_secs(1);

impl<S: Shell> Session<S> {
    /// Restores everything on the connection that has just been opened.
    pub(crate) fn begin_restore(&mut self, now: Instant) {
        let host = self.options.hosts.get(self.host);
        let locked = host.map(|host| host.heartbeat.saturating_mul(LOCKED_HEARTBEATS));
        self.restore.locked_until = locked.map(|locked| later(self.lost_at, locked));
        self.set_timer(later(now, DRAINING), Timer::ChannelsDrained);
        let mut declared = self.topology.everything();
        let topology = &self.topology;
        let durable = declared
            .queues
            .extract_if(.., |(_, declare)| topology.survives_restart(declare));
        let durable: Vec<_> = durable.map(|(_, declare)| declare).collect();
        let names: HashSet<_> = durable.iter().map(|declare| declare.name.clone()).collect();
        // Bound again when their queues are declared.
        declared.bindings.retain(|binding| {
            !matches!(&binding.destination, BindingDestination::Queue(queue) if names.contains(queue))
        });
        self.restore.left = durable.into();
        self.restore.unanswered = names;
        let exchanges = declared.exchanges.into_iter().map(Step::Exchange);
        let queues = declared.queues.into_iter();
        // Exclusive queues went with their connection.
        let queues = queues.map(|(name, declare)| Step::Queue {
            asks: declare.name.is_empty() && !declare.exclusive,
            name,
            declare,
        });
        let bindings = declared.bindings.into_iter().map(|b| Step::Bind(b, false));
        let steps = exchanges
            .chain(queues)
            .chain([Step::Parallel])
            .chain(bindings);
        let job = self.declare(Role::Everything, steps.collect());
        self.go_on_declaring(job, now);
    }

    pub(super) fn declare(&mut self, role: Role, steps: VecDeque<Step>) -> JobId {
        self.add_job(Job::Declare(Declare {
            role,
            steps,
            wire: None,
            asked: None,
            is_late: false,
        }))
    }

    pub(super) fn declaring(&mut self, job: JobId) -> Option<&mut Declare<S>> {
        match self.restore.jobs.get_mut(&job)? {
            Job::Declare(declare) => Some(declare),
            Job::Reopen(_) => None,
        }
    }

    pub(super) fn go_on_declaring(&mut self, id: JobId, now: Instant) {
        loop {
            let left = &mut self.restore.left;
            let Some(Job::Declare(job)) = self.restore.jobs.get_mut(&id) else {
                return;
            };
            let step = match job.steps.pop_front() {
                Some(step) => step,
                None => match (job.role, left.pop_front()) {
                    (Role::Queues, Some(declare)) => Step::DurableQueue(declare),
                    (_, declare) => {
                        left.extend(declare);
                        match job.wire.is_some() {
                            true => Step::Close,
                            false => return self.declared(id, now),
                        }
                    }
                },
            };
            match self.needed(step, now) {
                Some(Step::Parallel) => return self.begin_parallel(now),
                Some(step) => return self.ask_to_declare(id, step, now),
                None => {}
            }
        }
    }

    /// Returns the step if it is still to be done: other calls are made meanwhile.
    fn needed(&mut self, step: Step, now: Instant) -> Option<Step> {
        let is_needed = match &step {
            Step::Exchange(declare) => self.topology.has_exchange(&declare.name),
            Step::Queue { name, .. } => self.topology.has_queue(name),
            Step::DurableQueue(declare) if self.topology.has_queue(&declare.name) => true,
            Step::DurableQueue(declare) => {
                let name = declare.name.clone();
                self.queue_answered(&name, now);
                false
            }
            Step::Bind(binding, is_bound) => {
                let mut binding = binding.clone();
                // Queues may have got new names just now.
                if let BindingDestination::Queue(queue) = &mut binding.destination {
                    self.use_current_name(queue);
                }
                let is_bound = *is_bound;
                return (self.topology.is_bound(&binding) != is_bound)
                    .then_some(Step::Bind(binding, is_bound));
            }
            Step::Parallel | Step::Close => true,
        };
        is_needed.then_some(step)
    }

    fn ask_to_declare(&mut self, id: JobId, step: Step, now: Instant) {
        let limit = self.options.timeout;
        let Some(job) = self.declaring(id) else {
            return;
        };
        let Some(wire) = job.wire.clone() else {
            job.steps.push_front(step);
            let Some(link) = self.target() else {
                return;
            };
            let request = self.open_wire(link, Purpose::Job(id));
            return self.set_timer(later(now, limit), Timer::Request(request));
        };
        let request = match &step {
            Step::Exchange(declare) => Request::DeclareExchange(declare.clone()),
            Step::Queue {
                name, asks: true, ..
            } => Request::DeclareQueue(QueueDeclare {
                passive: true,
                ..QueueDeclare::new(name.clone())
            }),
            Step::Queue { declare, .. } | Step::DurableQueue(declare) => {
                Request::DeclareQueue(declare.clone())
            }
            Step::Bind(binding, false) => Request::Bind(binding.clone()),
            Step::Bind(binding, true) => Request::Unbind(binding.clone()),
            Step::Parallel | Step::Close => Request::Close,
        };
        let is_durable = matches!(step, Step::DurableQueue(_));
        let request = self.ask(&wire, request, Purpose::Job(id));
        if let Some(job) = self.declaring(id) {
            job.asked = Some((step, request, now));
            job.is_late = false;
        }
        match is_durable {
            // The broker takes a minute over a queue whose node is down.
            true => self.set_timer(later(now, UNANSWERED), Timer::LateQueue(id, request)),
            false => self.set_timer(later(now, limit), Timer::Request(request)),
        }
    }

    pub(super) fn declare_answered(
        &mut self,
        id: JobId,
        answer: Result<Answer<S>>,
        is_over: bool,
        now: Instant,
    ) {
        let limit = self.options.timeout;
        let Some(job) = self.declaring(id) else {
            return;
        };
        let Some((step, _, began)) = job.asked.take() else {
            // The channel to declare on.
            return match answer {
                Ok(Answer::Wire(wire)) => {
                    job.wire = Some(wire);
                    self.go_on_declaring(id, now);
                }
                Ok(_) => {}
                Err(err) if is_channel_limit(&err) => {
                    if let Some(step) = job.steps.pop_front() {
                        self.step_failed(step, err, now);
                    }
                    self.go_on_declaring(id, now);
                }
                Err(_) if is_over => self.job_failed(id, exceeded("opening a channel", limit), now),
                Err(err) => self.job_failed(id, err, now),
            };
        };
        let (wire, was_late) = (job.wire.take(), job.is_late);
        let answer = match answer {
            Ok(answer) => {
                job.wire = wire;
                Ok(answer)
            }
            Err(_) if matches!(step, Step::Close) => Ok(Answer::Done),
            // The channel is given up. If the whole connection hangs, no other channel opens.
            Err(_) if is_over => Err(exceeded("declaring again", limit)),
            Err(err) if err.scope() == ErrorScope::Channel => Err(err),
            Err(err) => return self.job_failed(id, err, now),
        };
        if let Step::DurableQueue(declare) = &step
            && was_late
        {
            self.outbox.tell(Event::Answered {
                what: format!("queue '{}'", declare.name),
                after: now.saturating_duration_since(began),
            });
        }
        if let Some(err) = self.step_answered(id, step, answer, now) {
            return self.job_failed(id, err, now);
        }
        self.go_on_declaring(id, now);
    }

    /// Takes the answer to a step. Returns an error if the whole attempt has to be made again.
    fn step_answered(
        &mut self,
        id: JobId,
        step: Step,
        answer: Result<Answer<S>>,
        now: Instant,
    ) -> Option<Error> {
        match (step, answer) {
            (Step::Bind(binding, is_bound), Ok(_)) => {
                if let Some(job) = self.declaring(id) {
                    // The user may have unbound it meanwhile.
                    job.steps.push_front(Step::Bind(binding, !is_bound));
                }
            }
            (Step::Queue { asks: true, .. }, Ok(_)) => {}
            (
                Step::Queue {
                    name,
                    declare,
                    asks: true,
                },
                Err(err),
            ) if err.kind() == ErrorKind::QueueNotFound => {
                if let Some(job) = self.declaring(id) {
                    let asks = false;
                    job.steps.push_front(Step::Queue {
                        name,
                        declare,
                        asks,
                    });
                }
            }
            (Step::Queue { name, .. }, Ok(Answer::Queue(declared))) if declared.name != name => {
                self.queue_renamed(name, declared.name);
            }
            (Step::Queue { asks: false, .. }, Err(err))
                if self.may_become_free(id, &err, false, now) =>
            {
                return Some(err);
            }
            (Step::DurableQueue(declare), answer) => {
                self.durable_queue_answered(id, &declare.name, answer, now);
            }
            (Step::Close, _) => {
                if let Some(wire) = self.declaring(id).and_then(|job| job.wire.take()) {
                    self.outbox.drop_wire(wire);
                }
            }
            (_, Ok(_)) => {}
            (step, Err(err)) => self.step_failed(step, err, now),
        }
        None
    }

    fn step_failed(&mut self, step: Step, err: Error, now: Instant) {
        let what = match &step {
            Step::Exchange(declare) => format!("exchange '{}'", declare.name),
            Step::Queue { name, .. } => format!("queue '{name}'"),
            Step::DurableQueue(declare) => format!("queue '{}'", declare.name),
            Step::Bind(binding, _) => format!("binding to exchange '{}'", binding.source),
            Step::Parallel | Step::Close => return,
        };
        self.outbox.not_restored(what, err);
        if let Step::DurableQueue(declare) = step {
            self.queue_answered(&declare.name, now);
        }
    }

    fn durable_queue_answered(
        &mut self,
        id: JobId,
        name: &QueueName,
        answer: Result<Answer<S>>,
        now: Instant,
    ) {
        self.restore.answered_at = Some(now);
        let kind = answer.as_ref().err().map(Error::kind);
        if let Err(err) = answer {
            self.outbox.not_restored(format!("queue '{name}'"), err);
        }
        if kind != Some(ErrorKind::QueueNotFound) {
            // Without the queue there is nothing to bind. Otherwise it may be there: RabbitMQ refuses
            // a queue whose node is down, or that has other arguments. The current bindings: the connection may be in use meanwhile.
            let bindings = self.topology.bindings_to(name).into_iter();
            let steps: Vec<_> = bindings.map(|binding| Step::Bind(binding, false)).collect();
            if let Some(job) = self.declaring(id) {
                job.steps.extend(steps);
            }
        }
        self.queue_answered(name, now);
    }

    /// Records that the broker has answered for a queue, in any way, or is no longer asked. The
    /// channels that waited for the answer continue.
    fn queue_answered(&mut self, name: &QueueName, now: Instant) {
        self.restore.unanswered.remove(name);
        self.resume_waiting(now);
    }

    fn queue_renamed(&mut self, from: QueueName, to: QueueName) {
        if self.topology.rename(&from, &to) {
            self.consumers.queue_renamed(&from, &to);
            self.outbox.tell(Event::QueueRenamed { from, to });
        }
    }

    /// Returns true if the resource that `err` refuses a job may become free: it is locked, or else
    /// `taken`. What is refused to a channel that was lost alone belongs to another client.
    pub(super) fn may_become_free(
        &self,
        job: JobId,
        err: &Error,
        taken: bool,
        now: Instant,
    ) -> bool {
        let taken = taken || err.kind() == ErrorKind::ResourceLocked;
        taken && !self.is_alone(job) && self.restore.locked_until.is_some_and(|until| now < until)
    }

    /// Returns true if a job is about a channel that was lost alone.
    fn is_alone(&self, job: JobId) -> bool {
        match self.restore.jobs.get(&job) {
            Some(Job::Reopen(reopen)) => reopen.alone.is_some(),
            Some(Job::Declare(Declare {
                role: Role::WithChannel(reopen),
                ..
            })) => self.is_alone(*reopen),
            _ => false,
        }
    }

    /// Handles the end of a job that declares.
    fn declared(&mut self, id: JobId, now: Instant) {
        let Some(Job::Declare(job)) = self.restore.jobs.remove(&id) else {
            return;
        };
        match job.role {
            Role::Everything => self.begin_reopening(now),
            Role::Queues => {
                self.declare_in_parallel(now);
                self.check_restored(now);
            }
            Role::WithChannel(reopen) => {
                self.restore.turn.retain(|job| *job != reopen);
                self.open_next_wire(reopen, now);
                if let Some(next) = self.restore.turn.front().copied() {
                    self.declare_with_channel(next, now);
                }
            }
        }
    }

    /// Begins to declare queues side by side.
    fn begin_parallel(&mut self, now: Instant) {
        self.restore.answered_at = Some(now);
        self.restore.waits_for_parallel = true;
        self.declare_in_parallel(now);
    }

    fn is_parallel(job: &Job<S>) -> bool {
        matches!(job, Job::Declare(declare) if declare.role == Role::Queues)
    }

    /// The job that waits until the queues are declared.
    fn main_job(&self) -> Option<JobId> {
        let mut jobs = self.restore.jobs.iter();
        let is_main =
            |job: &Job<S>| matches!(job, Job::Declare(declare) if declare.role == Role::Everything);
        jobs.find(|(_, job)| is_main(job)).map(|(id, _)| *id)
    }

    /// Declares more queues side by side, or continues without those that the broker is slow to
    /// declare.
    pub(crate) fn declare_in_parallel(&mut self, now: Instant) {
        let Some(main) = self.main_job().filter(|_| self.restore.waits_for_parallel) else {
            return;
        };
        let jobs = self.restore.jobs.values();
        let asking = jobs.filter(|job| Self::is_parallel(job)).count();
        let more = self.restore.left.len().min(asking.max(1));
        for _ in 0..more.min(AT_ONCE.saturating_sub(asking)) {
            let job = self.declare(Role::Queues, VecDeque::new());
            self.go_on_declaring(job, now);
        }
        if !self.restore.waits_for_parallel {
            // The last of them needed no answer.
            return;
        }
        let is_asking = self.restore.jobs.values().any(Self::is_parallel);
        let silent = self.restore.answered_at;
        let is_silent = silent.is_some_and(|at| now.saturating_duration_since(at) >= UNANSWERED);
        if is_asking && !is_silent {
            self.cancel_timers(|timer| *timer == Timer::Parallel);
            return self.set_timer(later(now, PARALLEL_AFTER), Timer::Parallel);
        }
        self.cancel_timers(|timer| *timer == Timer::Parallel);
        self.restore.waits_for_parallel = false;
        self.go_on_declaring(main, now);
    }

    /// Reports that the broker has been slow to answer for a queue.
    pub(crate) fn queue_is_late(&mut self, job: JobId, request: RequestId) {
        let Some(declare) = self.declaring(job) else {
            return;
        };
        if let Some((Step::DurableQueue(queue), id, _)) = &declare.asked
            && *id == request
        {
            let what = format!("queue '{}'", queue.name);
            declare.is_late = true;
            self.outbox.tell(Event::Unanswered { what });
        }
    }
}
