//! Sizes of messages for limits in bytes.

use mooq_core::Message;

/// The part of a message that counts for a limit in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The body.
    Body,
    /// The body and the properties, as they are on the wire.
    BodyAndProperties,
}

impl Measure {
    /// Returns the size of a message, in bytes.
    pub(crate) fn of(self, message: &Message) -> u64 {
        let properties = match self {
            Self::Body => 0,
            Self::BodyAndProperties => message.properties.encoded_len(),
        };
        (message.body.len() + properties) as u64
    }
}
