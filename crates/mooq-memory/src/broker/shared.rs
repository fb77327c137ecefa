//! What all handles, connections and channels of one broker share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mooq_core::mailbox::Receiver;
use mooq_core::{ChannelEvent, CloseReason, ConnectionEvent, Error, ErrorKind, Result};
use tokio::time::Instant;

use super::ports::{Closed, Ports, Wakers};
use super::timer::Timer;
use crate::engine::{Command, ConnectionId, Effect, Engine, Login, Method, Options, Reply, Time};

pub(super) struct Shared {
    /// The host and port by which it is found, unless it is only for those who have it.
    pub(super) address: Option<(String, u16)>,
    state: Mutex<State>,
    timer: Timer,
}

struct State {
    engine: Engine,
    /// When the engine was made.
    started: Instant,
    running: bool,
    ports: Ports,
}

impl Shared {
    pub(super) fn new(address: Option<(String, u16)>, mut options: Options) -> Arc<Self> {
        if options.started == Duration::ZERO {
            options.started = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        }
        Arc::new_cyclic(|this| Self {
            address,
            state: Mutex::new(State {
                engine: Engine::new(options),
                started: Instant::now(),
                running: false,
                ports: Ports::default(),
            }),
            timer: Timer::new(this.clone()),
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().running
    }

    pub(super) fn start(&self) {
        self.lock().running = true;
    }

    /// Ends all connections. What a restart does not survive goes.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.running) {
            return;
        }
        let now = state.now();
        state.engine.shut_down(now);
        state.engine.forget_transient();
        self.finish(state);
    }

    /// Looks at the engine.
    pub(super) fn look<T>(&self, f: impl FnOnce(&Engine) -> T) -> T {
        f(&self.lock().engine)
    }

    /// Changes something in the engine from outside of AMQP.
    pub(super) fn administer<T>(&self, f: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let mut state = self.lock();
        let now = state.now();
        let outcome = f(&mut state.engine, now);
        self.finish(state);
        outcome
    }

    /// Logs a client in.
    pub(super) fn open_connection(
        &self,
        login: Login,
    ) -> Result<OpenedPort<ConnectionId, ConnectionEvent>, Refused> {
        let mut state = self.lock();
        if !state.running {
            return Err(Refused::NotRunning);
        }
        let now = state.now();
        let opened = state.engine.open_connection(now, login);
        let port = opened.map(|id| {
            let (closed, events) = state.ports.add_connection(id);
            OpenedPort { id, closed, events }
        });
        self.finish(state);
        port.map_err(Refused::ByBroker)
    }

    /// Opens a channel on a connection that is not closed.
    pub(super) fn open_channel(
        &self,
        connection: ConnectionId,
        connection_closed: &Closed,
    ) -> Result<OpenedPort<u16, ChannelEvent>> {
        let mut state = self.lock();
        let gone = || {
            connection_closed.get().cloned().unwrap_or_else(|| {
                Error::connection(ErrorKind::ConnectionLost, "the connection is gone")
            })
        };
        if connection_closed.get().is_some() {
            return Err(gone());
        }
        let number = state.ports.free_number(connection).ok_or_else(gone)?;
        // There before the channel, so that nothing that happens on it is lost.
        let port = state.ports.add_channel(connection, number);
        let reply = self.call_locked(
            state,
            Command {
                connection,
                channel: number,
                method: Method::ChannelOpen,
            },
        );
        match (reply, port) {
            (Some(_), Some((closed, events))) => Ok(OpenedPort {
                id: number,
                closed,
                events,
            }),
            _ => Err(gone()),
        }
    }

    /// Hands a method to the engine, unless its channel is closed, and gives the reply.
    ///
    /// # Errors
    /// The reason, if the channel is closed.
    pub(super) fn handle(&self, closed: &Closed, command: Command) -> Result<Option<Reply>> {
        let state = self.lock();
        // Looked at under the lock: it is set under it.
        if let Some(why) = closed.get() {
            return Err(why.clone());
        }
        Ok(self.call_locked(state, command))
    }

    /// Ends a channel from the client's side.
    pub(super) fn close_channel(&self, connection: ConnectionId, channel: u16, closed: &Closed) {
        let mut state = self.lock();
        if closed.get().is_some() {
            return;
        }
        let why = Error::channel(
            ErrorKind::ChannelClosed,
            "the channel was closed from this side",
        );
        // First, so that nothing comes after it.
        let mut wakers = Wakers::default();
        state
            .ports
            .close_channel(connection, channel, &why, &mut wakers);
        let method = Method::ChannelClose;
        self.call_locked(
            state,
            Command {
                connection,
                channel,
                method,
            },
        );
        wakers.wake();
    }

    /// Ends a connection from the client's side.
    pub(super) fn close_connection(&self, connection: ConnectionId, closed: &Closed) {
        let mut state = self.lock();
        if closed.get().is_some() {
            return;
        }
        let why = Error::connection(
            ErrorKind::ConnectionClosed,
            "the connection was closed from this side",
        );
        let mut wakers = Wakers::default();
        state.ports.close_connection(connection, &why, &mut wakers);
        let method = Method::ConnectionClose;
        self.call_locked(
            state,
            Command {
                connection,
                channel: 0,
                method,
            },
        );
        wakers.wake();
    }

    /// Makes happen what was to happen by now. `rearm` gets the time of what comes next, while
    /// the lock is held: a call that brings something earlier comes before or after it.
    pub(super) fn tick(&self, rearm: impl FnOnce(Option<Instant>)) {
        let mut state = self.lock();
        let now = state.now();
        state.engine.advance(now);
        let mut wakers = Wakers::default();
        state.spread_effects(&mut wakers);
        rearm(state.next_deadline());
        drop(state);
        wakers.wake();
    }

    fn call_locked(&self, mut state: MutexGuard<'_, State>, command: Command) -> Option<Reply> {
        let now = if state.engine.needs_time(&command.method) {
            state.now()
        } else {
            Time::START
        };
        state.engine.handle(now, command);
        self.finish(state)
    }

    /// Spreads what came of a call, sees to it that the timer fits, and wakes whom it concerns.
    /// Gives the call's reply.
    fn finish(&self, mut state: MutexGuard<'_, State>) -> Option<Reply> {
        let mut wakers = Wakers::default();
        let reply = state.spread_effects(&mut wakers);
        if let Some(deadline) = state.next_deadline() {
            self.timer.wake_by(deadline);
        }
        drop(state);
        wakers.wake();
        reply
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection or channel that was opened: its id, its end, and what happens on it.
pub(super) struct OpenedPort<I, E> {
    pub(super) id: I,
    pub(super) closed: Closed,
    pub(super) events: Receiver<E>,
}

/// Why a connection was not opened.
pub(super) enum Refused {
    NotRunning,
    ByBroker(CloseReason),
}

impl State {
    fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.engine.next_deadline()?;
        self.started.checked_add(deadline.since_start())
    }

    /// Puts every effect where it belongs. Gives the reply, of which each call has one at most.
    fn spread_effects(&mut self, wakers: &mut Wakers) -> Option<Reply> {
        let mut answer = None;
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Reply { reply, .. } => answer = Some(reply),
                Effect::Channel {
                    connection,
                    channel,
                    event: ChannelEvent::Closed(why),
                } => {
                    self.ports.close_channel(connection, channel, &why, wakers);
                    let method = Method::ChannelCloseOk;
                    let known = Command {
                        connection,
                        channel,
                        method,
                    };
                    self.engine.handle(Time::START, known);
                }
                Effect::Channel {
                    connection,
                    channel,
                    event,
                } => self
                    .ports
                    .send_to_channel(connection, channel, event, wakers),
                Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(why),
                } => self.ports.close_connection(connection, &why, wakers),
                Effect::Connection { connection, event } => {
                    self.ports.send_to_connection(connection, event, wakers);
                }
            }
        }
        answer
    }
}
