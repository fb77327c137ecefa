//! Ids: unique and increasing within one connection.

macro_rules! ids {
    ($($(#[$doc:meta])* $visibility:vis $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility struct $name(u64);

        impl $name {
            /// Advances to the next id, and returns it.
            pub(crate) fn advance(&mut self) -> Self {
                self.0 += 1;
                *self
            }
        }
    )* };
}

ids! {
    /// A channel of a connection, in the order of opening.
    pub ChannelId;
    /// A consumer of a connection, in the order of registration.
    pub ConsumerId;
    /// A request to the broker, and its answer.
    pub RequestId;
    /// A call of a user's.
    pub CallId;
    /// A task of a restoration.
    pub(crate) JobId;
}

/// A publish of a channel.
pub type PublishId = u64;
