//! Standard close reasons, for ends without a reason of the broker's.

use std::time::Duration;

use mooq_core::{Error, ErrorKind, ErrorScope};

/// The close reason of a connection that was closed from this side.
pub fn closed_locally() -> Error {
    Error::connection(
        ErrorKind::ConnectionClosed,
        "the connection was closed from this side",
    )
}

/// The reason for an end that the transport gave no reason for.
pub fn without_reason() -> Error {
    Error::connection(
        ErrorKind::ConnectionLost,
        "the connection ended without a reason",
    )
}

/// Returns true if the user closed the connection or the channel.
pub fn is_local_close(reason: &Error) -> bool {
    matches!(
        reason.kind(),
        ErrorKind::ChannelClosed | ErrorKind::ConnectionClosed
    )
}

/// Returns true if opening a channel failed with `err` since as many channels are open as the broker
/// allows (`TransportConnection::open_channel`).
pub fn is_channel_limit(err: &Error) -> bool {
    err.scope() == ErrorScope::Operation && err.kind() == ErrorKind::NotAllowed
}

/// The close reason of a channel that its user has closed.
pub(crate) fn channel_closed_locally() -> Error {
    Error::channel(
        ErrorKind::ChannelClosed,
        "the channel was closed from this side",
    )
}

/// The end of a call whose caller no longer waits for it.
pub(crate) fn abandoned_call() -> Error {
    Error::channel(
        ErrorKind::ChannelClosed,
        "the caller no longer waits for an answer",
    )
}

/// The close reason of a channel whose transport did not report its end.
pub(crate) fn closed_without_event() -> Error {
    let message = "the connection is lost, and did not tell this channel of it";
    Error::connection(ErrorKind::ConnectionLost, message)
}

/// Turns an error into a lost connection. The failure may concern one channel, but its consequence
/// is a lost connection for all.
pub(crate) fn abandoned(err: Error) -> Error {
    if err.scope() == ErrorScope::Connection {
        return err;
    }
    let message = format!("the connection was abandoned: {err}");
    Error::connection(ErrorKind::ConnectionLost, message).with_source(err)
}

/// The error of a call named `what` that did not end within `limit`.
pub fn exceeded(what: &str, limit: Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!("{what} did not end within its timeout of {limit:?}"),
    )
}
