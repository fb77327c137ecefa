//! Requirements of the session on its driver, the shell, which owns the transport, the locks and
//! the tasks.

use std::fmt;

use mooq_core::{Error, Handoff, Publish, Result};

use crate::port::Port;

/// The shell's own types, which the session keeps and hands back.
pub trait Shell {
    /// A connection of the transport.
    type Link: Link;
    /// A channel of the transport.
    type Wire: Wire;
    /// The place where a channel's [`Port`] is kept.
    type Port: PortCell<Self::Wire>;
    /// The callback of a consumer, with its settings.
    type Callback: Clone;
    /// The receiver of a consumer's deliveries that wait for no runner.
    type Direct: Clone;
    /// A caller that waits for a [`Reply`](crate::Reply).
    type Caller;
}

/// A connection of the transport. Clones are the same connection.
pub trait Link: Clone {
    /// The reason why the connection is gone, as soon as it is known.
    fn closed(&self) -> Option<Error>;

    /// Maximum number of bytes in a frame.
    fn frame_max(&self) -> u32;

    /// Returns true if the transport learns of the broker's alarms.
    fn announces_blocked(&self) -> bool;
}

/// One incarnation of a channel: an open channel of the transport. After a loss the channel gets
/// another wire; deliveries and answers of an earlier wire are stale. Clones are the same wire, and
/// equal.
pub trait Wire: Clone + PartialEq + fmt::Debug {
    /// The reason why the wire is gone, as soon as it is known: perhaps before its last event.
    fn closed(&self) -> Option<Error>;

    /// Hands over a message.
    ///
    /// # Errors
    /// As the transport's.
    fn publish(&self, publish: Publish) -> Result<Handoff>;

    /// Marks the wire as lost: another one takes its place, and its deliveries are stale.
    fn set_lost(&self);

    /// Returns true if the wire was marked as lost.
    fn is_lost(&self) -> bool;

    /// A number that no other wire of the connection has. Wires that are opened later have greater
    /// ones.
    fn id(&self) -> u64;

    /// Counts a delivery that was given to the user and is not yet settled.
    fn hand_out(&self);

    /// Stops counting a delivery that was given to the user: it was settled, or returned to the
    /// session.
    fn take_back(&self);

    /// Returns true if a delivery is handed out that is not settled yet.
    fn has_unsettled(&self) -> bool;
}

/// The place where a channel's port is kept, with whatever guards it. Clones share it.
pub trait PortCell<W>: Clone {
    /// Calls `f` with the port.
    fn with<T>(&self, f: impl FnOnce(&mut Port<W>) -> T) -> T;
}
