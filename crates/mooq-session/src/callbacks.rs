//! Which callbacks to call next.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::task::Waker;
use std::time::Instant;

use foldhash::fast::RandomState;
use mooq_core::{Error, ErrorKind, Result};

use crate::consumers::{Consumer, Consumers, Handed, Retry, Sink};
use crate::ids::{ChannelId, ConsumerId};
use crate::output::{Outbox, Output, Reply};
use crate::shell::{Shell, Wire};

/// Number of messages that are remembered whose channel was lost while their callbacks ran.
const REMEMBERED: usize = 1_000;

/// The callbacks of a connection: which have work, and how many run.
pub(crate) struct Callbacks<S: Shell> {
    /// Consumers that may have a delivery waiting and room to start it, each once. Sorted, since
    /// they are called in the order of their registration.
    ready: Vec<ConsumerId>,
    /// Times at which consumers have a delivery to retry.
    due: BTreeSet<(Instant, ConsumerId)>,
    /// Fingerprints of messages whose channel was lost while their callbacks ran, and how often.
    lost: HashMap<u64, u32, RandomState>,
    /// Errors of consumers that the broker ended, for the runner to return.
    failures: VecDeque<Error>,
    /// Set once the connection is closed: an error unless it was closed from this side.
    end: Option<Result<()>>,
    /// There is a runner.
    processing: bool,
    /// Number of running callbacks, including those of consumers that were removed.
    running: usize,
    waker: Option<Waker>,
    /// Callers that wait until no callback runs or is to start.
    idle: Vec<S::Caller>,
    /// Channels of consumers that have ended, and been drained.
    emptied: Vec<ChannelId>,
}

impl<S: Shell> Default for Callbacks<S> {
    fn default() -> Self {
        Self {
            ready: Vec::new(),
            due: BTreeSet::new(),
            lost: HashMap::default(),
            failures: VecDeque::new(),
            end: None,
            processing: false,
            running: 0,
            waker: None,
            idle: Vec::new(),
            emptied: Vec::new(),
        }
    }
}

/// State of processing.
#[derive(Debug)]
pub enum RunnerStatus {
    /// Callbacks can be called.
    Good,
    /// The broker has ended a consumer, and its error has not been returned yet.
    Failed,
    /// The connection is closed: the result with which processing ends.
    Over(Result<()>),
}

/// A callback to call.
pub struct Start<S: Shell> {
    /// Its consumer.
    pub consumer: ConsumerId,
    /// The callback.
    pub callback: S::Callback,
    /// The delivery to call it with.
    pub handed: Handed<S::Wire>,
}

impl<S: Shell> fmt::Debug for Start<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}

/// A callback that has ended.
#[derive(Debug)]
pub struct Finished<W> {
    /// Its consumer.
    pub consumer: ConsumerId,
    /// Its delivery, if it is to be tried again.
    pub retry: Option<Retry<W>>,
}

/// Time that the runner should wait.
#[derive(Debug)]
pub enum Waiting {
    /// None: there is something new.
    Not,
    /// Until the runner is woken, or until this time.
    Until(Option<Instant>),
}

impl<S: Shell> Callbacks<S> {
    /// Allows one runner at a time, so that callbacks start in order.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.processing {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                "process_events() is running on this connection already",
            ));
        }
        self.processing = true;
        Ok(())
    }

    /// Ends the runner, whose running callbacks have been dropped.
    pub(crate) fn stop(&mut self, consumers: &mut Consumers<S>, outbox: &mut Outbox<S>) {
        for id in consumers.with_callback() {
            if let Some(callback) = callback(consumers.get_mut(id)) {
                callback.running = 0;
            }
            self.insert(id);
        }
        self.processing = false;
        self.running = 0;
        self.reply_if_idle(consumers, outbox);
    }

    /// Marks that a consumer has work.
    pub(crate) fn ready(&mut self, id: ConsumerId, outbox: &mut Outbox<S>) {
        self.insert(id);
        self.wake(outbox);
    }

    fn insert(&mut self, id: ConsumerId) {
        if let Err(at) = self.ready.binary_search(&id) {
            self.ready.insert(at, id);
        }
    }

    pub(crate) fn wake(&mut self, outbox: &mut Outbox<S>) {
        if let Some(waker) = self.waker.take() {
            outbox.push(Output::Wake(waker));
        }
    }

    /// Records the error of a consumer that the broker ended.
    pub(crate) fn failed(&mut self, err: Error) {
        self.failures.push_back(err);
    }

    /// Ends processing: the connection is closed.
    pub(crate) fn close(
        &mut self,
        end: Result<()>,
        consumers: &Consumers<S>,
        outbox: &mut Outbox<S>,
    ) {
        self.end.get_or_insert(end);
        self.reply_if_idle(consumers, outbox);
        self.wake(outbox);
    }

    /// Records the callbacks that have `finished`, and returns the state of processing. If
    /// processing continues and `may_start` is set, takes one delivery from each consumer that has
    /// one and has capacity for it, in the order of registration.
    pub(crate) fn sweep(
        &mut self,
        consumers: &mut Consumers<S>,
        now: &dyn Fn() -> Instant,
        finished: &mut Vec<Finished<S::Wire>>,
        may_start: bool,
        starts: &mut Vec<Start<S>>,
        outbox: &mut Outbox<S>,
    ) -> RunnerStatus {
        for finished in finished.drain(..) {
            self.finish(consumers, finished, outbox);
        }
        while let Some((due, id)) = self.due.first().copied() {
            if due > now() {
                break;
            }
            self.due.pop_first();
            self.insert(id);
        }
        // The end of the connection is the reason for everything that ended with it.
        let runner_status = match &self.end {
            Some(end) => RunnerStatus::Over(end.clone()),
            None if self.failures.is_empty() => RunnerStatus::Good,
            None => RunnerStatus::Failed,
        };
        if may_start && matches!(runner_status, RunnerStatus::Good) {
            self.start(consumers, now, starts, outbox);
        }
        runner_status
    }

    fn finish(
        &mut self,
        consumers: &mut Consumers<S>,
        finished: Finished<S::Wire>,
        outbox: &mut Outbox<S>,
    ) {
        let Finished {
            consumer: id,
            retry,
        } = finished;
        if let Some(wire) = retry.as_ref().and_then(|retry| retry.handed.wire.as_ref()) {
            wire.take_back();
        }
        self.running -= 1;
        match consumers.get_mut(id) {
            Some(consumer) => {
                let wire = consumer.wire.clone();
                let Some(callback) = callback(Some(consumer)) else {
                    return;
                };
                let had_no_room = callback.running >= callback.concurrency;
                callback.running -= 1;
                match retry {
                    Some(retry) if retry.handed.wire.as_ref() == Some(&wire) && !wire.is_lost() => {
                        self.due.insert((retry.due, id));
                        callback.retries.push(retry);
                    }
                    // From before a loss: it comes again.
                    Some(retry) => outbox.drop_delivers([retry.handed.deliver].into()),
                    None => {}
                }
                // Otherwise the consumer is ready as soon as it has a delivery.
                if had_no_room || callback.ending || !callback.retries.is_empty() {
                    self.insert(id);
                }
            }
            None => {
                if let Some(retry) = retry {
                    outbox.give_back(retry.handed);
                }
            }
        }
        self.reply_if_idle(consumers, outbox);
    }

    /// Takes the deliveries whose callbacks are to start now.
    fn start(
        &mut self,
        consumers: &mut Consumers<S>,
        now: &dyn Fn() -> Instant,
        starts: &mut Vec<Start<S>>,
        outbox: &mut Outbox<S>,
    ) {
        let mut gone = Vec::new();
        let running = &mut self.running;
        self.ready.retain(|&id| {
            let Some(consumer) = consumers.get_mut(id) else {
                return false;
            };
            match next(consumer, now) {
                Next::Call(handed, more) => {
                    let Some(callback) = callback(Some(consumer)) else {
                        return false;
                    };
                    callback.running += 1;
                    *running += 1;
                    starts.push(Start {
                        consumer: id,
                        callback: callback.callback.clone(),
                        handed,
                    });
                    more
                }
                Next::Nothing => false,
                Next::Ended => {
                    gone.push(id);
                    false
                }
            }
        });
        if gone.is_empty() {
            return;
        }
        for id in gone {
            if let Some(consumer) = consumers.remove(id) {
                self.emptied.push(consumer.channel);
                outbox.drop_consumer(consumer);
            }
        }
        self.reply_if_idle(consumers, outbox);
    }

    /// Replies once no callback is running, and none is pending for a consumer that has ended; at
    /// once if no runner is active.
    pub(crate) fn reply_when_idle(
        &mut self,
        caller: S::Caller,
        consumers: &Consumers<S>,
        outbox: &mut Outbox<S>,
    ) {
        self.idle.push(caller);
        self.reply_if_idle(consumers, outbox);
    }

    /// Takes the channels of consumers that have ended, and been drained: they may be unused now.
    pub(crate) fn take_emptied(&mut self) -> Vec<ChannelId> {
        std::mem::take(&mut self.emptied)
    }

    /// Number of running callbacks.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Takes the oldest error of a consumer that the broker ended.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failures.pop_front()
    }

    /// Registers the waker of the runner, and returns the time that the runner should wait.
    /// `failed`: the runner already knows of a failure. `may_start`: the runner may start
    /// callbacks.
    pub(crate) fn wait(
        &mut self,
        waker: &Waker,
        failed: bool,
        may_start: bool,
        outbox: &mut Outbox<S>,
    ) -> Waiting {
        if let Some(old) = self.waker.replace(waker.clone()) {
            outbox.drop_waker(old);
        }
        let nothing_new = self.end.is_none()
            && (failed || self.failures.is_empty())
            && (!may_start || self.ready.is_empty());
        let due = self.due.first().map(|(due, _)| *due);
        match nothing_new {
            true => Waiting::Until(due.filter(|_| may_start)),
            false => Waiting::Not,
        }
    }

    /// Counts a loss of a message's channel while its callback ran, and returns the number of such
    /// losses.
    pub(crate) fn lost_while_running(&mut self, message: u64) -> u32 {
        if self.lost.len() >= REMEMBERED && !self.lost.contains_key(&message) {
            self.lost.clear();
        }
        let times = self.lost.entry(message).or_default();
        *times = times.saturating_add(1);
        *times
    }

    fn is_quiet(&self, consumers: &Consumers<S>) -> bool {
        let mut all = consumers.with_callback().into_iter();
        let is_ending = |id| match consumers.get(id).map(|consumer| &consumer.sink) {
            Some(Sink::Callback(callback)) => callback.ending,
            _ => false,
        };
        !self.processing || (self.running == 0 && !all.any(is_ending))
    }

    pub(crate) fn reply_if_idle(&mut self, consumers: &Consumers<S>, outbox: &mut Outbox<S>) {
        if !self.idle.is_empty() && self.is_quiet(consumers) {
            for caller in self.idle.drain(..) {
                outbox.push(Output::Reply(caller, Ok(Reply::Done)));
            }
        }
    }
}

/// The next work of a callback.
enum Next<W> {
    /// This delivery, and whether there may be more.
    Call(Handed<W>, bool),
    Nothing,
    /// The consumer has ended, and has no delivery left.
    Ended,
}

fn next<S: Shell>(consumer: &mut Consumer<S>, now: &dyn Fn() -> Instant) -> Next<S::Wire> {
    let is_registered = consumer.registered;
    let Some(own) = callback(Some(consumer)) else {
        return Next::Nothing;
    };
    // A consumer without room is ready again when one of its callbacks ends.
    if own.running >= own.concurrency || !is_registered {
        return Next::Nothing;
    }
    let now = (!own.retries.is_empty()).then(now);
    let is_due = |retry: &Retry<S::Wire>| now.is_some_and(|now| retry.due <= now);
    if let Some(due) = own.retries.iter().position(is_due) {
        let handed = own.retries.remove(due).handed;
        if let Some(wire) = &handed.wire {
            wire.hand_out();
        }
        return Next::Call(handed, true);
    }
    // Retries take up the consumer's concurrency.
    if own.running + own.retries.len() >= own.concurrency {
        return Next::Nothing;
    }
    let (is_ending, retrying) = (own.ending, !own.retries.is_empty());
    match consumer.pop() {
        Some(handed) => Next::Call(handed, !consumer.waiting.is_empty()),
        None if is_ending && !retrying => Next::Ended,
        None => Next::Nothing,
    }
}

pub(crate) fn callback<S: Shell>(
    consumer: Option<&mut Consumer<S>>,
) -> Option<&mut crate::consumers::Callback<S>> {
    match consumer.map(|consumer| &mut consumer.sink) {
        Some(Sink::Callback(callback)) => Some(callback),
        _ => None,
    }
}
