//! Keys of the broker's objects, and the numbers of AMQP's methods.
//!
//! The key of a removed object finds nothing, even once another object has taken its place.

use slotmap::new_key_type;

new_key_type! {
    /// Key of a connection to the engine.
    pub struct ConnectionId;
    pub(crate) struct ChannelId;
    pub(crate) struct ConsumerId;
    pub(crate) struct ExchangeId;
    /// Key of a recording of what happens.
    pub struct RecordingId;
    pub(crate) struct QueueId;
    /// Key of a timeline.
    pub struct TimelineId;
    pub(crate) struct VhostId;
}

/// A method's class and its number within the class, as a close states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MethodId {
    pub(crate) class: u16,
    pub(crate) method: u16,
}

impl MethodId {
    /// No method: for the broker's own actions.
    pub(crate) const NONE: Self = Self::new(0, 0);
    /// `connection.open`.
    pub(crate) const CONNECTION_OPEN: Self = Self::new(10, 40);
    /// `connection.update-secret`.
    pub(crate) const UPDATE_SECRET: Self = Self::new(10, 70);

    pub(crate) const fn new(class: u16, method: u16) -> Self {
        Self { class, method }
    }
}
