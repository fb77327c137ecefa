//! The session: the state of a connection, apart from its sockets, locks and tasks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use mooq_core::{ConnectionEvent, Error, ErrorKind, QueueName, Result};

use crate::callbacks::{Callbacks, Finished, RunnerStatus, Start, Waiting};
use crate::channel::Channel;
use crate::consumers::{Consumers, Handed};
use crate::event::{ConnectionState, Event};
use crate::ids::{CallId, ChannelId, ConsumerId, RequestId};
use crate::output::{Answer, Outbox, Output, Reply, Request};
use crate::phase::Phase;
use crate::policy::{Recovery, WhileDisconnected};
use crate::purpose::Purpose;
use crate::reasons::closed_locally;
use crate::reconnect::Reconnect;
use crate::restore::Restore;
use crate::shell::{Link, PortCell, Shell, Wire};
use crate::timers::{Timer, Timers};
use crate::topology::{DeadLetterTarget, Topology};

/// Configuration of a session.
#[derive(Debug, Clone)]
pub struct Options {
    /// The policy for reopening a lost connection.
    pub recovery: Recovery,
    /// The policy for calls while the connection is lost.
    pub while_disconnected: WhileDisconnected,
    /// Time that one request may take.
    pub timeout: Duration,
    /// The hosts to connect to, one of them at a time.
    pub hosts: Vec<Host>,
    /// The seed of the delays between attempts to reconnect.
    pub seed: u64,
}

/// A host to connect to.
#[derive(Debug, Clone)]
pub struct Host {
    /// `host:port`, for events.
    pub address: String,
    /// Heartbeat interval: the broker drops a client that is silent for two intervals.
    pub heartbeat: Duration,
}

/// A connection, its channels, publishes, consumers and topology.
///
/// Methods take events, and the shell carries out their outputs: it calls
/// [`poll_output`](Self::poll_output) until no output is left, and [`timeout`](Self::timeout) at
/// the time of [`next_timeout`](Self::next_timeout).
pub struct Session<S: Shell> {
    pub(crate) options: Options,
    pub(crate) phase: Phase<S::Link>,
    pub(crate) state: ConnectionState,
    pub(crate) reconnect: Reconnect,
    /// Number of the host in use, or tried last.
    pub(crate) host: usize,
    /// Number of the host that the connection is open to, or was last.
    pub(crate) connected_host: usize,
    pub(crate) frame_max: u32,
    /// Reason why the broker is not reading publishes.
    pub(crate) blocked: Option<String>,
    pub(crate) lost_at: Instant,
    /// Reason why the connection was lost, or why the latest attempt failed.
    pub(crate) error: Error,
    pub(crate) topology: Topology,
    /// Destinations of dead letters that the broker was asked about: true if they exist, false until
    /// it has answered.
    pub(crate) dead_letters: HashMap<DeadLetterTarget, bool, RandomState>,
    pub(crate) channels: BTreeMap<ChannelId, Channel<S>>,
    pub(crate) last_channel: ChannelId,
    /// The channels of the wires, by the wires' ids.
    pub(crate) wires: HashMap<u64, ChannelId, RandomState>,
    pub(crate) consumers: Consumers<S>,
    pub(crate) callbacks: Callbacks<S>,
    pub(crate) last_call: CallId,
    /// The callers that still wait for a reply.
    pub(crate) callers: HashMap<CallId, S::Caller, RandomState>,
    pub(crate) purposes: HashMap<RequestId, Purpose<S>, RandomState>,
    pub(crate) restore: Restore<S>,
    pub(crate) closing: Option<CloseLink<S>>,
    pub(crate) timers: Timers,
    pub(crate) outbox: Outbox<S>,
}

impl<S: Shell> fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// The close of the connection from this side.
pub(crate) struct CloseLink<S: Shell> {
    pub(crate) closers: Vec<S::Caller>,
    /// The broker has answered.
    pub(crate) answered: bool,
    /// The connection's own last word.
    pub(crate) ended: Option<Error>,
    /// The result for the closers.
    pub(crate) result: Result<()>,
}

impl<S: Shell> Session<S> {
    /// A session of a connection that has just been opened to the host of this number.
    pub fn new(options: Options, host: usize, link: S::Link, now: Instant) -> Self {
        let policy = options.recovery.clone();
        let hosts = options.hosts.len();
        Self {
            reconnect: Reconnect::connected(policy, hosts, host, now, options.seed),
            options,
            frame_max: link.frame_max(),
            phase: Phase::Open(link),
            state: ConnectionState::Connected,
            host,
            connected_host: host,
            blocked: None,
            lost_at: now,
            error: closed_locally(),
            topology: Topology::default(),
            dead_letters: HashMap::default(),
            channels: BTreeMap::new(),
            last_channel: ChannelId::default(),
            wires: HashMap::default(),
            consumers: Consumers::default(),
            callbacks: Callbacks::default(),
            last_call: CallId::default(),
            callers: HashMap::default(),
            purposes: HashMap::default(),
            restore: Restore::default(),
            closing: None,
            timers: Timers::default(),
            outbox: Outbox::default(),
        }
    }

    /// Takes the next effect, in the order in which they are to be carried out.
    pub fn poll_output(&mut self) -> Option<Output<S>> {
        self.outbox.pop()
    }

    /// The next time at which to call [`timeout`](Self::timeout).
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns true if [`next_timeout`](Self::next_timeout) may have changed since the last call.
    pub fn timeout_changed(&mut self) -> bool {
        self.timers.take_change()
    }

    /// Does what is due by `now`.
    pub fn timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            self.fire(timer, now);
        }
    }

    fn fire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Reconnect => self.waited(now),
            Timer::Request(request) => self.request_over(request, now),
            Timer::LateQueue(job, request) => self.queue_is_late(job, request),
            Timer::LateConsumer(job, consumer) => self.consumer_is_late(job, consumer),
            Timer::Pause(job) => self.pause_over(job, now),
            Timer::Parallel => self.declare_in_parallel(now),
            Timer::NoProgress => self.no_progress(now),
            Timer::MayBeRestored => self.check_restored(now),
            Timer::ChannelsDrained => self.drained(now),
            Timer::Publishes(channel) => self.publishes_due(channel, now),
            Timer::CloseOver => self.close_over(),
        }
    }

    pub(crate) fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers.set(at, timer);
    }

    /// Sets a timer that is due at once, after the others that are due.
    pub(crate) fn set_timer_due(&mut self, timer: Timer) {
        self.timers.set(self.lost_at, timer);
    }

    pub(crate) fn cancel_timers(&mut self, unwanted: impl Fn(&Timer) -> bool) {
        self.timers.cancel(unwanted);
    }

    /// Returns the connection's state.
    #[must_use]
    pub fn state(&self) -> &ConnectionState {
        &self.state
    }

    /// Returns the number of the host that is in use, or was tried last.
    #[must_use]
    pub fn host(&self) -> usize {
        self.host
    }

    /// Returns the number of the host that the connection is open to, or was open to last.
    #[must_use]
    pub fn connected_host(&self) -> usize {
        self.connected_host
    }

    /// Maximum number of bytes in a frame.
    #[must_use]
    pub fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// Returns true if calls wait while the connection is lost.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.options.while_disconnected == WhileDisconnected::Wait
    }

    /// Returns true if the consumer needs its own channel: it is exclusive, or its queue has a
    /// single active consumer. When such a consumer is cancelled, another one becomes active, and
    /// would receive later messages before the deliveries of the cancelled one are requeued.
    /// Closing the channel requeues them in the same step.
    #[must_use]
    pub fn needs_own_channel(&self, channel: ChannelId, consume: &mooq_core::Consume) -> bool {
        let owner = self
            .channels
            .get(&channel)
            .and_then(|channel| channel.owner);
        if consume.no_ack || consume.queue.is_empty() || owner.is_some() {
            return false;
        }
        consume.exclusive || self.topology.is_single_active(&consume.queue)
    }

    /// Returns true if a link or wire that ended for this `reason` is followed by another one. A
    /// close from this side is not always the user's: the session replaces a connection that cannot
    /// be used.
    pub(crate) fn replaces(&self, reason: &Error) -> bool {
        let replacing = match reason.kind() {
            ErrorKind::ChannelClosed => false,
            ErrorKind::ConnectionClosed => self.closing.is_none(),
            _ => true,
        };
        self.options.recovery.is_enabled() && replacing
    }

    /// Tells an event that the shell knows of.
    pub fn tell(&mut self, event: Event) {
        self.outbox.tell(event);
    }

    /// Takes an event of the connection in use, or of the one that is being prepared.
    pub fn connection_event(&mut self, event: ConnectionEvent, now: Instant) {
        match event {
            ConnectionEvent::Blocked(reason) => {
                self.blocked = Some(reason.clone());
                self.outbox.tell(Event::Blocked(reason));
            }
            ConnectionEvent::Unblocked => {
                self.blocked = None;
                self.outbox.tell(Event::Unblocked);
            }
            ConnectionEvent::CredentialsRenewed => self.outbox.tell(Event::CredentialsRenewed),
            ConnectionEvent::CredentialsNotRenewed {
                error,
                next_attempt,
            } => self.outbox.tell(Event::CredentialsNotRenewed {
                error,
                next_attempt,
            }),
            ConnectionEvent::Closed(reason) => self.link_ended(reason, now),
        }
    }

    /// Makes a request on a wire.
    pub(crate) fn ask(
        &mut self,
        wire: &S::Wire,
        request: Request,
        purpose: Purpose<S>,
    ) -> RequestId {
        let id = self.outbox.next_request();
        self.purposes.insert(id, purpose);
        self.outbox.push(Output::Ask(id, wire.clone(), request));
        id
    }

    /// Asks for a channel of the transport.
    pub(crate) fn open_wire(&mut self, link: S::Link, purpose: Purpose<S>) -> RequestId {
        let id = self.outbox.next_request();
        self.purposes.insert(id, purpose);
        self.outbox.push(Output::OpenWire(id, link));
        id
    }

    /// Registers a caller.
    pub(crate) fn call(&mut self, caller: S::Caller) -> CallId {
        let call = self.last_call.advance();
        self.callers.insert(call, caller);
        call
    }

    /// Replies to a call. False if its caller has given up.
    pub(crate) fn reply(&mut self, call: CallId, result: Result<Reply<S::Wire>>) -> bool {
        let Some(caller) = self.callers.remove(&call) else {
            return false;
        };
        self.outbox.push(Output::Reply(caller, result));
        true
    }

    /// Returns the caller of a call, which no longer waits for the reply. The work that the call
    /// has begun is completed, and its result is undone if it is a resource that nobody holds, such
    /// as a consumer.
    pub fn abandon(&mut self, call: CallId) -> Option<S::Caller> {
        self.callers.remove(&call)
    }

    /// Takes the answer to a request.
    pub fn answered(&mut self, id: RequestId, answer: Result<Answer<S>>, now: Instant) {
        self.cancel_timers(|timer| *timer == Timer::Request(id));
        let Some(purpose) = self.purposes.remove(&id) else {
            self.drop_answer(answer);
            return;
        };
        match purpose {
            Purpose::Forget(what) => {
                if let Err(err) = answer {
                    self.outbox.note(what, err);
                }
            }
            Purpose::OpenFirst(channel) => self.first_wire(channel, answer),
            Purpose::SelectFirst(channel, wire) => self.first_open(channel, &wire, answer, now),
            Purpose::Call {
                call,
                channel,
                wire,
                request,
            } => self.call_answered((channel, call), &wire, request, answer),
            Purpose::Prefetch(which, wire) => self.prefetch_answered(which, &wire, answer, now),
            Purpose::Consume(which, consumer) => {
                self.consume_answered(which, consumer, answer, now);
            }
            Purpose::Cancel {
                consumer,
                then,
                call,
            } => self.cancel_answered(consumer, then, call, answer),
            Purpose::CloseChannel(channel, wire) => {
                self.close_channel_answered(channel, &wire, answer);
            }
            Purpose::OpenToAsk(question) => self.opened_to_ask(question, answer),
            Purpose::IsThere(question, wire) => self.asked_if_there(question, wire, answer),
            Purpose::CloseOwned { call, queues } => {
                self.close_owned_answered(call, &queues, answer);
            }
            Purpose::Job(job) => self.job_answered(job, answer, false, now),
            Purpose::Connect => self.connect_answered(answer, now),
            Purpose::Discard(next) => self.discarded(next, answer, now),
            Purpose::CloseLink => self.close_link_answered(answer),
        }
    }

    fn request_over(&mut self, id: RequestId, now: Instant) {
        let Some(purpose) = self.purposes.remove(&id) else {
            return;
        };
        self.outbox.push(Output::Abort(id));
        let limit = self.options.timeout;
        match purpose {
            Purpose::Job(job) => {
                let err = crate::reasons::exceeded("a request", limit);
                self.job_answered(job, Err(err), true, now);
            }
            Purpose::Discard(next) => self.discarded(next, Ok(Answer::Done), now),
            _ => {}
        }
    }

    /// Drops an answer that is no longer awaited.
    pub(crate) fn drop_answer(&mut self, answer: Result<Answer<S>>) {
        match answer {
            Ok(Answer::Wire(wire)) => self.outbox.drop_wire(wire),
            Ok(Answer::Link(link)) => {
                let id = self.outbox.next_request();
                self.purposes
                    .insert(id, Purpose::Forget("closing a connection"));
                self.outbox.push(Output::CloseLink(id, link));
            }
            _ => {}
        }
    }

    /// Sets the timer of a channel's publishes to their earliest deadline, which may be another one
    /// by now.
    pub fn arm_publishes(&mut self, channel: ChannelId) {
        self.cancel_timers(|timer| *timer == Timer::Publishes(channel));
        let port = self.channels.get(&channel).map(|channel| &channel.port);
        if let Some(deadline) = port.and_then(|port| port.with(|port| port.armed())) {
            self.set_timer(deadline, Timer::Publishes(channel));
        }
    }

    fn publishes_due(&mut self, id: ChannelId, now: Instant) {
        let note = self.silence();
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let mut woken = Vec::new();
        channel
            .port
            .with(|port| port.expire(now, &note, &mut woken));
        self.outbox.wake_all(woken);
        self.arm_publishes(id);
    }

    /// Returns the known cause of the broker's silence.
    fn silence(&self) -> String {
        if let Some(reason) = &self.blocked {
            return format!("; the broker has blocked the connection: {reason}");
        }
        if self
            .phase
            .open()
            .is_some_and(|link| !link.announces_blocked())
        {
            return "; a broker that is low on memory or disk is as silent, since this client is \
                    not told of its alarms"
                .into();
        }
        String::new()
    }

    /// Allows one runner of callbacks at a time.
    ///
    /// # Errors
    /// `NotAllowed` if there is one.
    pub fn begin_processing(&mut self) -> Result<()> {
        self.callbacks.begin()
    }

    /// Ends the runner, whose running callbacks have been dropped.
    pub fn stop_processing(&mut self) {
        self.callbacks.stop(&mut self.consumers, &mut self.outbox);
    }

    /// Records the callbacks that have `finished`, and returns the state of processing. If
    /// processing continues and `may_start` is set, takes one delivery from each consumer that has
    /// one and has capacity for it, in the order of registration.
    pub fn sweep(
        &mut self,
        finished: &mut Vec<Finished<S::Wire>>,
        may_start: bool,
        starts: &mut Vec<Start<S>>,
        now: impl Fn() -> Instant,
    ) -> RunnerStatus {
        let runner_status = self.callbacks.sweep(
            &mut self.consumers,
            &now,
            finished,
            may_start,
            starts,
            &mut self.outbox,
        );
        for channel in self.callbacks.take_emptied() {
            self.drop_unused(channel);
        }
        runner_status
    }

    /// Takes the oldest unreturned error of a consumer that the broker ended.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.callbacks.take_failure()
    }

    /// Registers the waker of the runner, and returns the time that the runner should wait.
    /// `failed`: the runner already knows of a failure. `may_start`: the runner may start
    /// callbacks.
    pub fn wait(&mut self, waker: &Waker, failed: bool, may_start: bool) -> Waiting {
        self.callbacks
            .wait(waker, failed, may_start, &mut self.outbox)
    }

    /// Replies once no callback is running, and none is pending for a consumer that has ended; at
    /// once if no runner is active.
    pub fn reply_when_idle(&mut self, caller: S::Caller) {
        self.callbacks
            .reply_when_idle(caller, &self.consumers, &mut self.outbox);
    }

    /// Number of running callbacks.
    #[must_use]
    pub fn running(&self) -> usize {
        self.callbacks.running()
    }

    /// Counts a loss of a message's channel while its callback ran, and returns the number of such
    /// losses.
    pub fn lost_while_running(&mut self, message: u64) -> u32 {
        self.callbacks.lost_while_running(message)
    }

    /// Returns the next delivery of a stream, or the reason why none follows. None if the stream is
    /// not known.
    pub fn poll_stream(
        &mut self,
        consumer: ConsumerId,
        waker: &Waker,
    ) -> Poll<Result<Handed<S::Wire>, Option<Error>>> {
        self.consumers
            .poll_stream(consumer, waker, &mut self.outbox)
    }

    /// Returns the current name of a consumer's queue.
    #[must_use]
    pub fn queue_of(&self, consumer: ConsumerId) -> Option<&QueueName> {
        self.consumers.get(consumer).map(|consumer| &consumer.queue)
    }

    /// Returns the wire of a channel, if it is open.
    pub(crate) fn wire_of(&self, channel: ChannelId) -> Option<S::Wire> {
        let channel = self.channels.get(&channel)?;
        channel.port.with(|port| port.phase().open().cloned())
    }

    /// Returns the ports of all channels, in the order in which they were opened.
    #[must_use]
    pub fn ports(&self) -> Vec<S::Port> {
        let channels = self.channels.values();
        channels.map(|channel| channel.port.clone()).collect()
    }

    /// Returns the port of the channel that a wire belongs to, if it belongs to one.
    #[must_use]
    pub fn port_of(&self, wire: &S::Wire) -> Option<S::Port> {
        let channel = self.wires.get(&wire.id())?;
        self.channels
            .get(channel)
            .map(|channel| channel.port.clone())
    }

    /// Returns the connection's link if it can be used.
    pub(crate) fn usable_link(&self) -> Option<S::Link> {
        let link = self.phase.open()?;
        link.closed().is_none().then(|| link.clone())
    }

    /// Forgets a wire from which nothing more is expected.
    pub(crate) fn forget_wire(&mut self, wire: S::Wire) {
        self.wires.remove(&wire.id());
        self.outbox.drop_wire(wire);
    }
}
