//! The state behind a broker's lock: the engine, the mailboxes, and the calls that wait.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use mooq_core::in_flight::InFlightCount;
use mooq_core::{ChannelEvent, ConnectionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::mailboxes::{Mailboxes, Wakers};
use mooq_engine::{Activity, Command, ConnectionId, Effect, Engine, Method, Reply, Time};

/// The state under a broker's lock.
pub(super) struct State {
    pub(super) engine: Engine,
    /// The time at which the engine was created.
    pub(super) started: Instant,
    pub(super) running: bool,
    /// Number of faults that keep the broker from running.
    pub(super) stops: usize,
    pub(super) mailboxes: Mailboxes,
    pub(super) in_flight: InFlightCount,
    /// Calls that wait for an answer on a connection that is held up, by connection and channel, in
    /// order.
    pub(super) waiting: HashMap<(ConnectionId, u16), VecDeque<oneshot::Sender<Reply>>, RandomState>,
}

impl State {
    pub(super) fn is_running(&self) -> bool {
        self.running && self.stops == 0
    }

    /// Number of things in flight, by kind. While the state is locked, this can decrease but not
    /// increase.
    pub(super) fn activity(&self) -> Activity {
        let mut activity = self.engine.activity();
        activity.at_clients = self.in_flight.get();
        activity
    }

    pub(super) fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }

    /// The current time, if the method depends on it.
    pub(super) fn now_for(&self, method: &Method) -> Time {
        if self.engine.needs_time(method) {
            self.now()
        } else {
            Time::START
        }
    }

    /// Sends a reply to the call that waits for it. Returns the reply if no call waits.
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
            // The receiver is gone if the call was given up.
            let _ = first.send(reply);
        }
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
        None
    }

    /// Sends every effect to its mailbox. Returns the reply, of which each call has at most one.
    pub(super) fn route_effects(&mut self, wakers: &mut Wakers) -> Option<Reply> {
        let mut answer = None;
        while let Some(effect) = self.engine.poll_effect() {
            let Some(effect) = self.mailboxes.send_to_protocol(effect, wakers) else {
                continue;
            };
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
                    self.mailboxes
                        .close_channel(connection, channel, &why, wakers);
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
                    .mailboxes
                    .send_to_channel(connection, channel, event, wakers),
                Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(why),
                } => {
                    self.mailboxes.close_connection(connection, &why, wakers);
                    self.waiting.retain(|(other, _), _| *other != connection);
                }
                Effect::Connection { connection, event } => {
                    self.mailboxes.send_to_connection(connection, event, wakers);
                }
            }
        }
        answer
    }
}
