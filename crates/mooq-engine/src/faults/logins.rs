//! Faults that refuse connections and logins or limit channels.

use super::Fault;
use super::scope::Involved;
use crate::Engine;
use crate::ids::ConnectionId;

impl Engine {
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

    /// Returns true if every password of a client with this connection name counts as wrong.
    pub(crate) fn refuses_login(&mut self, connection_name: Option<&str>) -> bool {
        let refused = |fault: &Fault| matches!(fault, Fault::RefuseLogins).then_some(());
        let what = Involved::connection(connection_name);
        self.faults.strike(what, refused).is_some()
    }

    /// Returns the number of channels that a connection may have, if one more channel would exceed
    /// what a fault allows.
    pub(crate) fn reached_channel_limit(&mut self, id: ConnectionId) -> Option<u16> {
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
