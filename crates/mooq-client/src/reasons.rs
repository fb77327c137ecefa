//! Close reasons of connections and channels for which no other reason is given.

use mooq_core::{Error, ErrorKind};

/// The close reason of a connection that was closed from this side.
pub(crate) fn closed_locally() -> Error {
    Error::connection(
        ErrorKind::ConnectionClosed,
        "the connection was closed from this side",
    )
}

/// The reason for an end that the transport gave no reason for.
pub(crate) fn without_reason() -> Error {
    Error::connection(
        ErrorKind::ConnectionLost,
        "the connection ended without a reason",
    )
}

/// Returns true if the user closed the connection or the channel.
pub(crate) fn is_local_close(reason: &Error) -> bool {
    matches!(
        reason.kind(),
        ErrorKind::ChannelClosed | ErrorKind::ConnectionClosed
    )
}
