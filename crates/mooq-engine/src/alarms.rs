//! Resource alarms: a broker that is low on memory or disk stops reading from connections that
//! publish ([memory and disk alarms](https://www.rabbitmq.com/docs/alarms)).

use std::collections::VecDeque;

use mooq_core::ConnectionEvent;

use super::Engine;
use super::command::{Command, Effect, Method};
use super::ids::ConnectionId;
use super::time::Time;

/// A resource that a broker can be low on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Alarm {
    /// Memory.
    Memory,
    /// Disk space.
    Disk,
}

/// Number of times that each alarm was raised and not cleared.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    memory: usize,
    disk: usize,
}

impl Alarms {
    fn raised(&self) -> impl Iterator<Item = Alarm> {
        let counts = [(Alarm::Memory, self.memory), (Alarm::Disk, self.disk)];
        let raised = counts.into_iter().filter(|(_, count)| *count > 0);
        raised.map(|(alarm, _)| alarm)
    }

    fn is_on(&self) -> bool {
        self.memory > 0 || self.disk > 0
    }

    fn count(&mut self, alarm: Alarm) -> &mut usize {
        match alarm {
            Alarm::Memory => &mut self.memory,
            Alarm::Disk => &mut self.disk,
        }
    }

    fn reason(&self) -> &'static str {
        match (self.memory, self.disk) {
            (0, _) => "low on disk",
            (_, 0) => "low on memory",
            _ => "low on memory & disk",
        }
    }
}

impl Engine {
    /// Returns the alarms that are on.
    #[must_use]
    pub fn raised_alarms(&self) -> Vec<Alarm> {
        self.alarms.raised().collect()
    }

    /// Raises an alarm. Until the alarm is cleared, a connection that begins to publish is blocked:
    /// the broker handles nothing that a blocked connection sends. Connections that only consume
    /// and acknowledge are unaffected.
    pub fn raise_alarm(&mut self, alarm: Alarm) {
        self.note_alarm(alarm, true);
        *self.alarms.count(alarm) += 1;
    }

    /// Clears an alarm that was raised. Once no alarm is left, the commands that blocked
    /// connections sent are handled in order, as the effects are drained.
    pub fn clear_alarm(&mut self, now: Time, alarm: Alarm) {
        self.advance(now);
        self.note_alarm(alarm, false);
        let count = self.alarms.count(alarm);
        *count = count.saturating_sub(1);
        if self.alarms.is_on() {
            return;
        }
        let all: Vec<_> = self.connections.iter().map(|(key, _)| key).collect();
        for key in all {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            if !std::mem::take(&mut connection.blocked) {
                continue;
            }
            let is_told = connection.capabilities.connection_blocked;
            self.note_blocked(key, false);
            if is_told {
                self.effects.push_back(Effect::Connection {
                    connection: key,
                    event: ConnectionEvent::Unblocked,
                });
            }
        }
        self.read_on();
    }

    /// Returns true if nothing that the connection's client sends is handled now, because of an
    /// alarm or because its link is frozen. mooq-server need not read on from such a client.
    #[must_use]
    pub fn leaves_unread(&self, connection: ConnectionId) -> bool {
        self.links.is_frozen(connection)
            || self
                .connections
                .get(connection)
                .is_some_and(|connection| connection.unread.is_some())
    }

    /// Resumes reading from connections that are neither frozen nor blocked.
    pub(super) fn read_on(&mut self) {
        let waiting = self.connections_where(|connection| connection.unread.is_some());
        for key in waiting {
            if self.links.is_frozen(key) {
                continue;
            }
            if let Some(connection) = self.connections.get_mut(key).filter(|c| !c.blocked) {
                self.unread
                    .extend(connection.unread.take().into_iter().flatten());
            }
        }
    }

    /// Leaves a command unread if its connection is frozen or blocked, or is to be blocked because
    /// the command publishes. Otherwise returns the command.
    ///
    /// RabbitMQ stops reading after a message's header. So the publish at which RabbitMQ stops is
    /// handled if its message has no body, and waits like all later commands if its message has
    /// one.
    pub(super) fn leave_unread(&mut self, command: Command) -> Option<Command> {
        let is_frozen = self.links.is_frozen(command.connection);
        if !self.alarms.is_on() && !is_frozen {
            return Some(command);
        }
        let Some(connection) = self.connections.get_mut(command.connection) else {
            return Some(command);
        };
        if connection.client.internal {
            return Some(command);
        }
        if let Some(unread) = &mut connection.unread {
            unread.push_back(command);
            return None;
        }
        if is_frozen {
            connection.unread = Some(VecDeque::from([command]));
            return None;
        }
        let is_bodiless = match &command.method {
            Method::BasicPublish(publish) => publish.message.body.is_empty(),
            Method::PublishTooLarge { .. } => false,
            _ => return Some(command),
        };
        connection.blocked = true;
        let unread = connection.unread.insert(VecDeque::new());
        let id = command.connection;
        let command = if is_bodiless {
            Some(command)
        } else {
            unread.push_back(command);
            None
        };
        let is_told = connection.capabilities.connection_blocked;
        self.note_blocked(id, true);
        if is_told {
            let reason = self.alarms.reason().to_owned();
            self.effects.push_back(Effect::Connection {
                connection: id,
                event: ConnectionEvent::Blocked(reason),
            });
        }
        command
    }
}
