//! Ids: unique and increasing within one connection.

/// A channel of a connection, in the order of opening.
pub type ChannelId = u64;

/// A consumer of a connection, in the order of registration.
pub type ConsumerId = u64;

/// A request to the broker, and its answer.
pub type RequestId = u64;

/// A call of a user's.
pub type CallId = RequestId;

/// A publish of a channel.
pub type PublishId = u64;

/// A task of a restoration.
pub(crate) type JobId = u64;
