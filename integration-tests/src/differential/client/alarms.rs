//! A client during alarms: it makes no calls on connections that the broker does not read from.

use std::sync::Arc;

use mooq_core::TransportChannel;
use mooq_memory::Alarm;

use super::{Client, OpenConnection};
use crate::differential::operation::connection_of;
use mooq_conformance::Condition;

/// The alarms of a sequence, and their effects.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// Alarms that are on.
    raised: Vec<(Alarm, Box<dyn Condition>)>,
    /// Connections that have published during an alarm.
    blocked: Vec<usize>,
    /// Channels that the broker has closed and that can be opened again only after the alarm.
    closed: Vec<usize>,
    /// A connection of `guest` that never publishes.
    observer: Option<OpenConnection>,
}

impl Client {
    /// Returns true if this alarm is on.
    pub(in super::super) fn has_alarm(&self, alarm: Alarm) -> bool {
        self.alarms.raised.iter().any(|(on, _)| *on == alarm)
    }

    /// Returns true if any alarm is on.
    pub(in super::super) fn has_alarms(&self) -> bool {
        !self.alarms.raised.is_empty()
    }

    /// Returns true if the broker does not read from a connection.
    pub(in super::super) fn is_blocked(&self, connection: usize) -> bool {
        self.alarms.blocked.contains(&connection)
    }

    /// Returns true if a channel is to be opened again when the broker reads from its connection.
    pub(in super::super) fn is_closed(&self, channel: usize) -> bool {
        self.alarms.closed.contains(&channel)
    }

    pub(super) async fn raise_alarm(&mut self, alarm: Alarm) {
        if self.alarms.observer.is_none() {
            let observer = OpenConnection::open(&*self.broker, &self.names, 0, 0).await;
            self.alarms.observer = Some(observer);
        }
        let raised = self.broker.control().raise_alarm(alarm).await;
        self.alarms.raised.push((alarm, raised));
    }

    /// Clears an alarm. After the last one the broker reads from every connection.
    pub(super) async fn clear_alarm(&mut self, alarm: Alarm) {
        let alarms = &mut self.alarms;
        let (cleared, raised) = std::mem::take(&mut alarms.raised)
            .into_iter()
            .partition(|(on, _)| *on == alarm);
        alarms.raised = raised;
        let cleared: Vec<_> = cleared;
        for (_, alarm) in cleared {
            alarm.end().await;
        }
        if self.has_alarms() {
            return;
        }
        self.alarms.blocked.clear();
        for channel in std::mem::take(&mut self.alarms.closed) {
            let connection = &self.connections[connection_of(channel)];
            self.channels[channel] = connection.channel().await;
        }
    }

    /// Notes a publish on a connection: during an alarm the broker stops reading from it.
    pub(super) fn has_published(&mut self, connection: usize) {
        if self.has_alarms() && !self.is_blocked(connection) {
            self.alarms.blocked.push(connection);
        }
    }

    /// Notes that a new connection has replaced a closed one.
    pub(super) fn has_reconnected(&mut self, connection: usize) {
        self.alarms.blocked.retain(|blocked| *blocked != connection);
    }

    /// Returns true for a closed channel that cannot be opened before the alarm ends, and notes it.
    pub(super) fn stays_closed(&mut self, channel: usize) -> bool {
        let stays = self.is_blocked(connection_of(channel));
        if stays && !self.is_closed(channel) {
            self.alarms.closed.push(channel);
        }
        stays
    }

    /// Waits until the broker has stopped reading from the connections that have published, and has
    /// handled everything read before.
    pub(in super::super) async fn until_blocked(&self) {
        let connections = self.alarms.blocked.len();
        self.broker.control().until_blocked(connections).await;
    }

    /// The connection to make calls on instead of this one.
    pub(super) fn asking(&self, connection: usize) -> &OpenConnection {
        match &self.alarms.observer {
            Some(observer) if self.is_blocked(connection) => observer,
            _ => &self.connections[connection],
        }
    }

    /// The same connection, to open its probes again.
    pub(super) fn asking_mut(&mut self, connection: usize) -> &mut OpenConnection {
        let is_blocked = self.is_blocked(connection);
        match &mut self.alarms.observer {
            Some(observer) if is_blocked => observer,
            _ => &mut self.connections[connection],
        }
    }

    /// A channel whose answer proves that everything before is handled: this one, or one of the
    /// observer's if the broker does not read from this one. In the latter case the answer only
    /// gives events for this channel time to come.
    pub(super) fn answering(&self, channel: usize) -> Option<Arc<dyn TransportChannel>> {
        let connection = connection_of(channel);
        if self.is_blocked(connection) {
            return self.asking(connection).probes.first().map(Arc::clone);
        }
        let open = self.channels.get(channel)?;
        Some(Arc::clone(&open.channel))
    }
}
