//! Faults that refuse logins or limit channels.

use super::Fault;
use super::scope::Involved;
use crate::Engine;
use crate::ids::ConnectionId;

impl Engine {
    /// Lets a fault strike a login on a connection of this name. Returns true if one did: every
    /// password then counts as wrong.
    pub(crate) fn strike_login(&mut self, connection_name: Option<&str>) -> bool {
        let refused = |fault: &Fault| matches!(fault, Fault::RefuseLogins).then_some(());
        let what = Involved::connection(connection_name);
        self.faults.strike(what, refused).is_some()
    }

    /// Lets a fault strike a connection that opens one more channel. Returns the fault's limit if
    /// the channel would exceed it.
    pub(crate) fn strike_channel_limit(&mut self, id: ConnectionId) -> Option<u16> {
        let connection = self.connections.get(id)?;
        let open = connection.open_channels();
        let reached = |fault: &Fault| match fault {
            Fault::LimitChannels(max) if open >= *max => Some(*max),
            _ => None,
        };
        let what = Involved::connection(connection.name.as_deref());
        self.faults.strike(what, reached)
    }
}
