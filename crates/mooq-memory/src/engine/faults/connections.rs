//! Connections that end before their time.

use mooq_core::{ConnectionEvent, Error, ErrorKind};

use super::Scope;
use super::scope::Involved;
use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::command::{ConnectionId, Effect, MethodId};
use crate::engine::connection::Connection;
use crate::engine::reply_error::{ReplyCode, ReplyError};
use crate::engine::time::Time;

impl Engine {
    /// Loses connections without a word, as when a cable is cut. Says how many.
    pub fn drop_connections(&mut self, now: Time, scope: &Scope) -> usize {
        self.advance(now);
        let fitting = self.connections_in(scope);
        for key in &fitting {
            self.lose_connection(ConnectionId(*key));
        }
        self.finish_dead_letters();
        fitting.len()
    }

    /// Closes connections with 320 and this text, as `rabbitmqctl close_connection` does. Says how
    /// many.
    pub fn force_connections(&mut self, now: Time, scope: &Scope, text: &str) -> usize {
        self.advance(now);
        let fitting = self.connections_in(scope);
        for key in &fitting {
            let reason = ReplyError::new(ReplyCode::ConnectionForced, text);
            self.fail(ConnectionId(*key), None, reason, MethodId::NONE);
        }
        self.finish_dead_letters();
        fitting.len()
    }

    /// Loses one connection without a word.
    pub(in crate::engine) fn lose_connection(&mut self, id: ConnectionId) {
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

    /// The connections that are within a scope.
    pub(super) fn connections_in(&self, scope: &Scope) -> Vec<Key<Connection>> {
        self.connections_where(|connection| {
            scope.fits(Involved::connection(connection.name.as_deref()))
        })
    }
}
