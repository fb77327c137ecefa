//! State of a connection or of a channel: open, reopening or closed.

use mooq_core::{Error, ErrorKind};

/// State of a resource that can be lost and reopened.
#[derive(Debug, Clone)]
pub enum Phase<T> {
    /// Open.
    Open(T),
    /// Lost for this reason, and being reopened.
    Reopening(Error),
    /// Closed for good, for this reason.
    Closed(Error),
}

impl<T> Phase<T> {
    /// Returns what is open.
    pub fn open(&self) -> Option<&T> {
        match self {
            Self::Open(open) => Some(open),
            Self::Reopening(_) | Self::Closed(_) => None,
        }
    }

    /// Returns the reason of the close, if it is closed for good.
    pub fn closed(&self) -> Option<&Error> {
        match self {
            Self::Closed(reason) => Some(reason),
            Self::Open(_) | Self::Reopening(_) => None,
        }
    }

    /// Returns the reason of the loss, while it is being reopened.
    pub fn reopening(&self) -> Option<&Error> {
        match self {
            Self::Reopening(reason) => Some(reason),
            Self::Open(_) | Self::Closed(_) => None,
        }
    }
}

/// The error of a call that does not wait for a resource that is being reopened.
pub(crate) fn not_connected(reason: &Error) -> Error {
    let message = format!("not connected at present: {reason}");
    Error::connection(ErrorKind::ConnectionLost, message).with_source(reason.clone())
}
