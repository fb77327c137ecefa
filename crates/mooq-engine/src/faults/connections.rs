//! Faults that end connections, or refuse new ones.

use mooq_core::{ConnectionEvent, Error, ErrorKind};

use super::scope::Involved;
use super::{Fault, Scope};
use crate::Engine;
use crate::command::Effect;
use crate::ids::{ConnectionId, MethodId};
use crate::recording::TimelineEvent;
use crate::reply_code::ReplyCode;
use crate::reply_error::ReplyError;
use crate::time::Time;

impl Engine {
    /// Drops connections without a close, as when a cable is cut. Returns the number of dropped
    /// connections.
    pub fn drop_connections(&mut self, now: Time, scope: &Scope) -> usize {
        self.advance(now);
        self.note_fault("drops connections", scope);
        let fitting = self.connections_in(scope);
        for key in &fitting {
            self.lose_connection(*key);
        }
        self.finish();
        fitting.len()
    }

    /// Closes connections with 320 and this text, as `rabbitmqctl close_connection` does. Returns
    /// the number of closed connections.
    pub fn force_connections(&mut self, now: Time, scope: &Scope, text: &str) -> usize {
        self.advance(now);
        self.note_fault("closes connections", scope);
        let fitting = self.connections_in(scope);
        for key in &fitting {
            let reason = ReplyError::new(ReplyCode::ConnectionForced, text);
            self.fail(*key, None, reason, MethodId::NONE);
        }
        self.finish();
        fitting.len()
    }

    /// Returns true if a client with this connection name finds nothing to connect to. That counts
    /// as a strike of the fault.
    pub fn refuses_connection(&mut self, connection_name: Option<&str>) -> bool {
        self.refuses(Involved::connection(connection_name))
    }

    /// Returns true if a client that has not said its connection's name yet finds nothing to connect
    /// to, whichever name it has. That counts as a strike of the fault.
    pub fn refuses_newcomer(&mut self) -> bool {
        self.refuses(Involved::newcomer())
    }

    fn refuses(&mut self, what: Involved<'_>) -> bool {
        let refused = |fault: &Fault| matches!(fault, Fault::RefuseConnections).then_some(());
        self.faults.strike(what, refused).is_some()
    }

    /// Drops one connection without a close.
    pub(crate) fn lose_connection(&mut self, id: ConnectionId) {
        self.note(id, 0, || TimelineEvent::ConnectionLost);
        self.end_connection(id);
        let lost = Error::connection(
            ErrorKind::ConnectionLost,
            "the connection is lost: a fault cut it",
        );
        self.effects.push_back(Effect::Connection {
            connection: id,
            event: ConnectionEvent::Closed(lost),
        });
    }

    /// Returns the connections that are within a scope.
    pub(super) fn connections_in(&self, scope: &Scope) -> Vec<ConnectionId> {
        self.connections_where(|connection| {
            scope.fits(Involved::connection(connection.name.as_deref()))
        })
    }
}
