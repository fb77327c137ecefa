//! Restoring the lost connection's state on a new one: first the topology, then each channel with
//! its consumers and waiting publishes. And channels that the broker closed alone.
//!
//! After a loss: `begin_restore` declares exchanges and what went with the connection, then the durable
//! queues side by side (`begin_parallel`), then bindings. `begin_reopening` opens all channels. Each
//! registers its consumers, one after the other and each once the broker has answered for its queue,
//! and is in use from `admit` on. `restored` takes the connection into use after the last of them.
//!
//! Each task is a [`Job`](job::Job), which makes one request after another. A job that fails makes
//! the connection useless. An error that concerns only one resource is reported as an event, and
//! the resource is skipped.

mod declaring;
mod job;
mod reopening;

use std::time::Instant;

use mooq_core::{Error, Result};

use crate::ids::JobId;
use crate::output::{Answer, Output};
use crate::phase::Phase;
use crate::purpose::Purpose;
use crate::session::Session;
use crate::shell::Shell;
use crate::timers::Timer;
pub(crate) use job::Restore;
use job::{Declare, Job, Stage, UNANSWERED};

impl<S: Shell> Session<S> {
    fn add_job(&mut self, job: Job<S>) -> JobId {
        let id = self.restore.last.advance();
        self.restore.jobs.insert(id, job);
        id
    }

    /// The link that resources are restored on.
    fn target(&self) -> Option<S::Link> {
        self.restore
            .link
            .clone()
            .or_else(|| self.phase.open().cloned())
    }

    /// Gives up all restorations, and the connection that is being prepared.
    pub(crate) fn stop_restoring(&mut self) {
        let jobs = std::mem::take(&mut self.restore.jobs);
        self.restore = Restore {
            last: self.restore.last,
            ..Restore::default()
        };
        for job in jobs.into_values() {
            self.drop_job(job);
        }
        let unwanted = self
            .purposes
            .iter()
            .filter(|(_, of)| of.job().is_some() || matches!(of, Purpose::Connect));
        let unwanted: Vec<_> = unwanted.map(|(id, _)| *id).collect();
        for id in unwanted {
            self.purposes.remove(&id);
            self.outbox.push(Output::Abort(id));
        }
        self.cancel_timers(|timer| timer.belongs_to_restoration());
    }

    fn drop_job(&mut self, job: Job<S>) {
        match job {
            Job::Declare(Declare {
                wire: Some(wire), ..
            }) => self.outbox.drop_wire(wire),
            Job::Declare(_) => {}
            Job::Reopen(reopen) => self.discard_candidate(reopen.channel),
        }
    }

    /// Returns true while the connection or a channel is being reopened, and nothing has made it
    /// wait for the broker's return.
    #[must_use]
    pub fn is_returning(&self) -> bool {
        let is_returning = |job: &Job<S>| match job {
            Job::Reopen(reopen) => !matches!(
                reopen.stage,
                Stage::Pausing
                    | Stage::Registering {
                        current: Some((_, _, true)),
                        ..
                    }
            ),
            Job::Declare(_) => false,
        };
        match self.phase {
            Phase::Open(_) => self.restore.jobs.values().any(is_returning),
            Phase::Reopening(_) => self.reconnect.is_prompt(),
            Phase::Closed(_) => false,
        }
    }

    /// Takes the answer to a job's request.
    pub(crate) fn job_answered(
        &mut self,
        job: JobId,
        answer: Result<Answer<S>>,
        is_over: bool,
        now: Instant,
    ) {
        match self.restore.jobs.get(&job) {
            Some(Job::Declare(_)) => self.declare_answered(job, answer, is_over, now),
            Some(Job::Reopen(_)) => self.reopen_answered(job, answer, is_over, now),
            None => self.drop_answer(answer),
        }
    }

    /// Ends a job with the reason why the connection cannot be used.
    fn job_failed(&mut self, job: JobId, err: Error, now: Instant) {
        if let Some(job) = self.restore.jobs.remove(&job) {
            self.drop_job(job);
        }
        match self.phase {
            Phase::Open(_) => self.link_is_useless(err, now),
            _ => self.restore_failed(err, now),
        }
    }

    /// Waits once more for the broker to make progress.
    fn made_progress(&mut self, now: Instant) {
        if self.restore.link.is_some() {
            self.cancel_timers(|timer| *timer == Timer::NoProgress);
            self.set_timer(now + UNANSWERED, Timer::NoProgress);
        }
    }

    /// Takes the connection into use without the resources that the broker is slow to restore.
    pub(crate) fn no_progress(&mut self, now: Instant) {
        if self.restore.link.is_none() || !self.restore.declared {
            return;
        }
        match self.is_opening() {
            true => self.made_progress(now),
            false => self.restored(now),
        }
    }

    /// Takes the connection into use once all channels are open with their consumers.
    pub(crate) fn check_restored(&mut self, now: Instant) {
        let mut jobs = self.restore.jobs.values();
        let is_reopening = jobs.any(|job| matches!(job, Job::Reopen(_)));
        if self.restore.link.is_some() && self.restore.declared && !is_reopening {
            self.restored(now);
        }
    }

    /// Returns true if a channel has not begun to register its consumers.
    fn is_opening(&self) -> bool {
        let mut jobs = self.restore.jobs.values();
        jobs.any(|job| matches!(job, Job::Reopen(reopen) if !reopen.has_begun))
    }
}
