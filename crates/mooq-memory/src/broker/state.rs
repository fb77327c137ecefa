//! What a broker's lock guards: the engine, the mailboxes, and who waits for an answer.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use mooq_core::in_flight::InFlightCount;
use mooq_core::{ChannelEvent, ConnectionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ports::{Ports, Wakers};
use crate::engine::{Activity, Command, ConnectionId, Effect, Engine, Method, Reply, Time};

/// What is under a broker's lock.
pub(super) struct State {
    pub(super) engine: Engine,
    /// When the engine was made.
    pub(super) started: Instant,
    pub(super) running: bool,
    /// How many faults keep it from running.
    pub(super) stops: usize,
    pub(super) ports: Ports,
    pub(super) in_flight: InFlightCount,
    /// Who waits for an answer on a connection that is held up, by connection and channel, in order.
    pub(super) waiting: HashMap<(ConnectionId, u16), VecDeque<oneshot::Sender<Reply>>, RandomState>,
}

impl State {
    pub(super) fn is_running(&self) -> bool {
        self.running && self.stops == 0
    }

    /// What is under way. While the state is locked this can become less and not more.
    pub(super) fn activity(&self) -> Activity {
        let mut activity = self.engine.activity();
        activity.at_clients = self.in_flight.get();
        activity
    }

    pub(super) fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }

    /// The time, if it makes a difference to a method.
    pub(super) fn now_for(&self, method: &Method) -> Time {
        if self.engine.needs_time(method) {
            self.now()
        } else {
            Time::START
        }
    }

    /// Gives a reply to who waits for it, or else back.
    pub(super) fn answer(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        reply: Reply,
    ) -> Option<Reply> {
        if self.waiting.is_empty() {
            return Some(reply);
        }
        let key = (connection, channel);
        let Some(waiting) = self.waiting.get_mut(&key) else {
            return Some(reply);
        };
        if let Some(first) = waiting.pop_front() {
            // Nobody is there any more if the call was given up.
            let _ = first.send(reply);
        }
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.engine.next_deadline()?;
        self.started.checked_add(deadline.since_start())
    }

    /// Puts every effect where it belongs. Gives the reply, of which each call has one at most.
    pub(super) fn spread_effects(&mut self, wakers: &mut Wakers) -> Option<Reply> {
        let mut answer = None;
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Reply {
                    connection,
                    channel,
                    mut reply,
                } => {
                    if let Reply::Fetched(Some(fetched)) = &mut reply {
                        fetched.in_flight = self.in_flight.begin();
                    }
                    answer = self.answer(connection, channel, reply).or(answer);
                }
                Effect::Channel {
                    connection,
                    channel,
                    event: ChannelEvent::Closed(why),
                } => {
                    self.ports.close_channel(connection, channel, &why, wakers);
                    self.waiting.remove(&(connection, channel));
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
                } => {
                    self.ports.close_connection(connection, &why, wakers);
                    self.waiting.retain(|(other, _), _| *other != connection);
                }
                Effect::Connection { connection, event } => {
                    self.ports.send_to_connection(connection, event, wakers);
                }
            }
        }
        answer
    }
}
