//! The state that all handles, connections and channels of a broker share.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, CloseReason, ConnectionEvent, Credentials, Error, ErrorKind, Result,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::idle::Idle;
use super::listeners::ListenerInfo;
use super::mailboxes::{Closed, Mailboxes, Wakers};
use super::scheduler::Scheduler;
use super::state::State;
use super::timer::Timer;
use mooq_engine::{
    Activity, Alarm, Command, ConnectionId, Effect, Engine, FaultId, Login, Mechanism, Method,
    Options, Reply, Time,
};

pub(super) struct Shared {
    /// The host and port by which the broker is found, unless only its handles lead to it.
    pub(super) address: Option<(String, u16)>,
    state: Mutex<State>,
    timer: Timer,
    scheduler: Scheduler,
    pub(super) idle: Arc<Idle>,
    /// True if connections that are opened now are notified of alarms.
    pub(super) announces_blocked: AtomicBool,
    /// Wakes the clients that wait to connect over a frozen link, and the servers of clients that
    /// are held up.
    thawed: Notify,
    listeners: Mutex<Vec<ListenerInfo>>,
}

/// Result of a call.
pub(super) enum Answer {
    /// The reply, if there is one.
    Now(Option<Reply>),
    /// The connection is blocked, frozen or slow: the reply arrives later, unless the channel ends
    /// before.
    Later(oneshot::Receiver<Reply>),
}

impl Answer {
    /// The reply; `None` if the channel ends instead.
    pub(super) async fn reply(self) -> Option<Reply> {
        match self {
            Self::Now(reply) => reply,
            Self::Later(reply) => reply.await.ok(),
        }
    }
}

impl Shared {
    pub(super) fn new(address: Option<(String, u16)>, mut options: Options) -> Arc<Self> {
        if options.started == Duration::ZERO {
            options.started = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        }
        let idle = Arc::new(Idle::default());
        let in_flight = Idle::count(&idle);
        Arc::new_cyclic(|this| Self {
            address,
            idle,
            announces_blocked: AtomicBool::new(false),
            state: Mutex::new(State {
                engine: Engine::new(options),
                started: Instant::now(),
                running: false,
                stops: 0,
                mailboxes: Mailboxes::new(in_flight.clone()),
                in_flight,
                waiting: HashMap::default(),
            }),
            timer: Timer::new(this.clone()),
            scheduler: Scheduler::new(this.clone()),
            thawed: Notify::new(),
            listeners: Mutex::default(),
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().is_running()
    }

    pub(super) fn start(&self) {
        let mut state = self.lock();
        state.running = true;
        let now = state.now();
        state.engine.note_start(now);
        self.finish(state);
    }

    /// Ends all connections and drops everything that does not survive a restart.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        let was_running = state.is_running();
        state.running = false;
        self.finish_stop(state, was_running);
    }

    /// Stops the broker until [`Self::end_outage`].
    pub(super) fn begin_outage(&self) {
        let mut state = self.lock();
        let was_running = state.is_running();
        state.stops += 1;
        self.finish_stop(state, was_running);
    }

    /// Lets the broker run again, unless another outage or a stop prevents it.
    pub(super) fn end_outage(&self) {
        let mut state = self.lock();
        state.stops = state.stops.saturating_sub(1);
        if state.is_running() {
            let now = state.now();
            state.engine.note_start(now);
        }
        self.finish(state);
    }

    fn finish_stop(&self, mut state: MutexGuard<'_, State>, was_running: bool) {
        if !was_running {
            return;
        }
        let now = state.now();
        state.engine.shut_down(now);
        state.engine.forget_transient();
        self.finish(state);
    }

    /// The sockets on which the broker is served.
    pub(super) fn listeners(&self) -> MutexGuard<'_, Vec<ListenerInfo>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the engine.
    pub(super) fn with_engine<T>(&self, f: impl FnOnce(&Engine) -> T) -> T {
        f(&self.lock().engine)
    }

    /// Calls `f` with the broker's state as of now, which may be later than the engine's time:
    /// everything due has happened first, even if the timer's task has not run yet.
    pub(super) fn with_state_now<T>(&self, f: impl FnOnce(&State, Time) -> T) -> T {
        let mut state = self.lock();
        let mut wakers = Wakers::default();
        let now = self.advance_to_now(&mut state, &mut wakers);
        let seen = f(&state, now);
        self.wake_in_time(&state);
        drop(state);
        wakers.wake();
        seen
    }

    /// Changes something in the engine from outside of AMQP.
    pub(super) fn admin<T>(&self, f: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let mut state = self.lock();
        let now = state.now();
        let outcome = f(&mut state.engine, now);
        self.finish(state);
        outcome
    }

    /// Returns true if data from a client with this connection name arrives without delay.
    pub(super) fn is_reached(&self, connection_name: Option<&str>) -> bool {
        let delay = self.with_engine(|engine| engine.delay_of_opening(connection_name));
        delay == Some(Duration::ZERO)
    }

    /// Waits until data from a client with this connection name arrives.
    pub(super) async fn reached(&self, connection_name: Option<&str>) {
        self.wait_for_link(|engine| engine.delay_of_opening(connection_name))
            .await;
    }

    /// Waits for the delay of a link, which is none while the link is frozen.
    async fn wait_for_link(&self, delay: impl Fn(&Engine) -> Option<Duration>) {
        loop {
            // Registered before the check, so that no thaw is missed.
            let thawed = self.thawed.notified();
            match self.with_engine(&delay) {
                Some(Duration::ZERO) => return,
                Some(delay) => return tokio::time::sleep(delay).await,
                None => thawed.await,
            }
        }
    }

    /// Ends a fault.
    pub(super) fn end_fault(&self, fault: FaultId) {
        self.admin(|engine, now| engine.end_fault(now, fault));
        self.thawed.notify_waiters();
    }

    /// Ends an alarm.
    pub(super) fn clear_alarm(&self, alarm: Alarm) {
        self.admin(|engine, now| engine.clear_alarm(now, alarm));
        self.thawed.notify_waiters();
    }

    /// Logs a client in.
    pub(super) fn open_connection(
        &self,
        login: Login,
    ) -> Result<Opened<ConnectionId, ConnectionEvent>, Refused> {
        let mut state = self.lock_reachable(login.connection_name.as_deref())?;
        let now = state.now();
        let opened = state.engine.open_connection(now, login);
        let opened = opened.map(|id| {
            let (closed, events) = state.mailboxes.add_connection(id);
            Opened { id, closed, events }
        });
        self.finish(state);
        opened.map_err(Refused::ByBroker)
    }

    /// Waits until a client can be greeted that has not said its connection's name, and checks that
    /// it finds something to connect to.
    pub(super) async fn accept(&self) -> Result<(), Refused> {
        self.wait_for_link(Engine::delay_of_greeting).await;
        let mut state = self.lock();
        if !state.running {
            return Err(Refused::NotRunning);
        }
        if state.stops > 0 || state.engine.refuses_newcomer() {
            return Err(Refused::ByFault);
        }
        Ok(())
    }

    /// Checks the name and password of a client that speaks AMQP itself.
    pub(super) fn authenticate(
        &self,
        mechanism: Mechanism,
        credentials: &Credentials,
        connection_name: Option<&str>,
    ) -> Result<(), Refused> {
        let mut state = self.lock_reachable(connection_name)?;
        let checked = state
            .engine
            .authenticate(mechanism, credentials, connection_name);
        checked.map_err(Refused::ByBroker)
    }

    /// Waits until the broker reads from a connection.
    pub(super) async fn released(&self, connection: ConnectionId) {
        loop {
            // Registered before the check, so that no thaw is missed.
            let thawed = self.thawed.notified();
            if !self.with_engine(|engine| engine.leaves_unread(connection)) {
                return;
            }
            thawed.await;
        }
    }

    /// Opens the connection of a client that speaks AMQP itself, and has been authenticated.
    pub(super) fn open_protocol_connection(
        &self,
        login: Login,
    ) -> Result<(ConnectionId, Receiver<Effect>), Refused> {
        let mut state = self.lock();
        if !state.is_running() {
            return Err(Refused::NotRunning);
        }
        let now = state.now();
        let opened = state.engine.open_authenticated(now, login);
        let opened = opened.map(|id| (id, state.mailboxes.add_protocol_connection(id)));
        self.finish(state);
        opened.map_err(Refused::ByBroker)
    }

    /// Locks the state, if the broker takes connections of this name.
    fn lock_reachable(
        &self,
        connection_name: Option<&str>,
    ) -> Result<MutexGuard<'_, State>, Refused> {
        let mut state = self.lock();
        if !state.running {
            return Err(Refused::NotRunning);
        }
        if state.stops > 0 || state.engine.refuses_connection(connection_name) {
            return Err(Refused::ByFault);
        }
        Ok(state)
    }

    /// Opens a channel on a connection that is not closed. The channel is open once the answer
    /// arrives.
    pub(super) fn open_channel(
        &self,
        connection: ConnectionId,
        connection_closed: &Closed,
    ) -> Result<(Opened<u16, ChannelEvent>, Answer)> {
        let mut state = self.lock();
        let gone = || {
            connection_closed.get().cloned().unwrap_or_else(|| {
                Error::connection(ErrorKind::ConnectionLost, "the connection is gone")
            })
        };
        if connection_closed.get().is_some() {
            return Err(gone());
        }
        let max = state.engine.channel_max();
        // While the connection is held up, a channel that was closed is still open to the engine.
        let State {
            mailboxes, waiting, ..
        } = &mut *state;
        let is_free = |number| !waiting.contains_key(&(connection, number));
        // More channels than agreed are never requested from the broker: the request would cost the
        // connection.
        let number = mailboxes
            .free_number(connection, max, is_free)
            .ok_or_else(|| too_many_channels(max))?;
        // The mailbox is added before the channel opens, so that no event of the channel is lost.
        let mailbox = state.mailboxes.add_channel(connection, number);
        let (closed, events) = mailbox.ok_or_else(gone)?;
        let answer = self.call_locked(
            state,
            Command {
                connection,
                channel: number,
                method: Method::ChannelOpen,
            },
        );
        let id = number;
        Ok((Opened { id, closed, events }, answer))
    }

    /// Passes methods to the engine whose replies are delivered as effects.
    pub(super) fn send_all(&self, commands: impl IntoIterator<Item = Command>) {
        let mut state = self.lock();
        let mut wakers = Wakers::default();
        for command in commands {
            let now = state.now_for(&command.method);
            state.engine.handle(now, command);
            state.route_effects(&mut wakers);
        }
        self.finish(state);
        wakers.wake();
    }

    /// Ends the connection of a client that speaks AMQP itself and is gone.
    pub(super) fn drop_protocol_connection(&self, connection: ConnectionId) {
        let mut state = self.lock();
        state.mailboxes.remove_protocol_connection(connection);
        let now = state.now();
        let method = Method::ConnectionClose;
        let channel = 0;
        state.engine.handle(
            now,
            Command {
                connection,
                channel,
                method,
            },
        );
        self.finish(state);
    }

    /// Passes a method that has no reply to the engine, unless its channel is closed.
    ///
    /// # Errors
    /// The reason, if the channel is closed.
    pub(super) fn send(&self, closed: &Closed, command: Command) -> Result<()> {
        let mut state = self.lock_open(closed)?;
        let now = state.now_for(&command.method);
        state.engine.handle(now, command);
        self.finish(state);
        Ok(())
    }

    /// Passes a method that has a reply to the engine, unless its channel is closed.
    ///
    /// # Errors
    /// The reason, if the channel is closed.
    pub(super) fn call(&self, closed: &Closed, command: Command) -> Result<Answer> {
        let state = self.lock_open(closed)?;
        Ok(self.call_locked(state, command))
    }

    /// Ends a channel from the client's side.
    pub(super) fn close_channel(
        &self,
        connection: ConnectionId,
        channel: u16,
        closed: &Closed,
    ) -> Answer {
        let mut state = self.lock();
        if closed.get().is_some() {
            return Answer::Now(None);
        }
        let why = Error::channel(
            ErrorKind::ChannelClosed,
            "the channel was closed from this side",
        );
        // Closed first, so that no event follows.
        let mut wakers = Wakers::default();
        state
            .mailboxes
            .close_channel(connection, channel, &why, &mut wakers);
        let method = Method::ChannelClose;
        let answer = self.call_locked(
            state,
            Command {
                connection,
                channel,
                method,
            },
        );
        wakers.wake();
        answer
    }

    /// Ends a connection from the client's side.
    pub(super) fn close_connection(&self, connection: ConnectionId, closed: &Closed) -> Answer {
        let mut state = self.lock();
        if closed.get().is_some() {
            return Answer::Now(None);
        }
        let why = Error::connection(
            ErrorKind::ConnectionClosed,
            "the connection was closed from this side",
        );
        let mut wakers = Wakers::default();
        state
            .mailboxes
            .close_connection(connection, &why, &mut wakers);
        let method = Method::ConnectionClose;
        let answer = self.call_locked(
            state,
            Command {
                connection,
                channel: 0,
                method,
            },
        );
        wakers.wake();
        answer
    }

    /// Advances the engine to the present. `rearm` gets the next deadline, while the lock is held:
    /// a call that adds an earlier deadline runs before or after it.
    pub(super) fn tick(&self, rearm: impl FnOnce(Option<Time>)) {
        let mut state = self.lock();
        let mut wakers = Wakers::default();
        self.advance_to_now(&mut state, &mut wakers);
        rearm(state.engine.next_deadline());
        self.notify_if_idle(&state);
        drop(state);
        wakers.wake();
    }

    /// Advances the engine to the present, and returns that time.
    fn advance_to_now(&self, state: &mut State, wakers: &mut Wakers) -> Time {
        let now = state.now();
        state.engine.advance(now);
        state.route_effects(wakers);
        self.deliver_in_transit(state, wakers);
        now
    }

    /// Number of things in flight, by kind, once everything due has happened.
    pub(super) fn activity(&self) -> Activity {
        self.with_state_now(|state, _| state.activity())
    }

    /// Notifies the tasks that wait for an idle broker, if nothing is in flight.
    fn notify_if_idle(&self, state: &State) {
        // The engine is asked last: it has to look at every channel.
        if self.idle.is_awaited() && state.in_flight.get() == 0 && state.activity().is_idle() {
            self.idle.notify();
        }
    }

    /// Delivers one more thing that is in flight. If it was the last one, calls `rest` while the
    /// lock is held.
    pub(super) fn carry_on(&self, rest: impl FnOnce()) {
        let mut state = self.lock();
        let now = state.now();
        state.engine.carry_on(now);
        let mut wakers = Wakers::default();
        state.route_effects(&mut wakers);
        if !state.engine.is_under_way() {
            rest();
        }
        self.wake_in_time(&state);
        self.notify_if_idle(&state);
        drop(state);
        wakers.wake();
    }

    /// Ensures that the broker's time advances by its next deadline.
    #[inline]
    fn wake_in_time(&self, state: &State) {
        if let Some(deadline) = state.engine.next_deadline() {
            self.timer.wake_by(deadline, state.started);
        }
    }

    /// Lets the scheduler's task deliver everything in transit. Without a tokio runtime there is no
    /// task, and this method delivers it itself.
    #[inline]
    fn deliver_in_transit(&self, state: &mut State, wakers: &mut Wakers) {
        while state.engine.is_under_way() && !self.scheduler.ensure_running() {
            let now = state.now();
            state.engine.carry_on(now);
            state.route_effects(wakers);
            if state.engine.dead_letters_circle() {
                // They may do so for ever. They go on with the next call.
                return;
            }
        }
    }

    fn call_locked(&self, mut state: MutexGuard<'_, State>, command: Command) -> Answer {
        let (connection, channel) = (command.connection, command.channel);
        let mut later = None;
        if state.engine.answers_later(connection) {
            let (reply, answer) = oneshot::channel();
            let waiting = state.waiting.entry((connection, channel));
            waiting.or_default().push_back(reply);
            later = Some(answer);
        }
        let now = state.now_for(&command.method);
        state.engine.handle(now, command);
        let reply = self.finish(state);
        later.map_or(Answer::Now(reply), Answer::Later)
    }

    /// Sends out the effects of a call, arms the timer, and wakes the receivers. Returns the call's
    /// reply.
    fn finish(&self, mut state: MutexGuard<'_, State>) -> Option<Reply> {
        let mut wakers = Wakers::default();
        let reply = state.route_effects(&mut wakers);
        self.deliver_in_transit(&mut state, &mut wakers);
        self.wake_in_time(&state);
        self.notify_if_idle(&state);
        drop(state);
        wakers.wake();
        reply
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state, unless a channel is closed. The check is under the lock, because the flag
    /// is set under it.
    fn lock_open(&self, closed: &Closed) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        match closed.get() {
            Some(why) => Err(why.clone()),
            None => Ok(state),
        }
    }
}

/// A connection or channel that was opened: its id, its closed flag and its events.
pub(super) struct Opened<I, E> {
    pub(super) id: I,
    pub(super) closed: Closed,
    pub(super) events: Receiver<E>,
}

/// The reason why a connection was not opened.
pub(super) enum Refused {
    NotRunning,
    ByFault,
    ByBroker(CloseReason),
}

/// The refusal before the broker sees a channel too many. RabbitMQ's own words, with which it closes
/// the connection, are in mooq-engine's `open_channel`.
fn too_many_channels(max: u16) -> Error {
    Error::new(
        ErrorKind::NotAllowed,
        format!("all {max} channels that the broker allows on a connection are in use"),
    )
}
