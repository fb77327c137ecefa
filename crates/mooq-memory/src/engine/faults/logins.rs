//! Clients that do not get in, or not as far as they would.

use super::Fault;
use super::scope::Involved;
use crate::engine::Engine;
use crate::engine::command::ConnectionId;

impl Engine {
    /// Whether a client that calls itself so finds nobody to connect to. That strikes.
    pub fn refuses_connection(&mut self, connection_name: Option<&str>) -> bool {
        let refused = |fault: &Fault| matches!(fault, Fault::RefuseConnections).then_some(());
        let what = Involved::connection(connection_name);
        self.faults.strike(what, refused).is_some()
    }

    /// Whether the password of a client that calls itself so is wrong, whatever it is.
    pub(in crate::engine) fn refuses_login(&mut self, connection_name: Option<&str>) -> bool {
        let refused = |fault: &Fault| matches!(fault, Fault::RefuseLogins).then_some(());
        let what = Involved::connection(connection_name);
        self.faults.strike(what, refused).is_some()
    }

    /// How many channels a connection may have, if it would have more than a fault allows with one
    /// more.
    pub(in crate::engine) fn reached_channel_limit(&mut self, id: ConnectionId) -> Option<u16> {
        let connection = self.connections.get(id.0)?;
        let open = connection.open_channels();
        let reached = |fault: &Fault| match fault {
            Fault::LimitChannels(max) if open >= *max => Some(*max),
            _ => None,
        };
        let what = Involved::connection(connection.name.as_deref());
        self.faults.strike(what, reached)
    }
}
