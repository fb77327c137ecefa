//! The one error type: its kind ([`ErrorKind`]), its scope ([`ErrorScope`]), and the broker's own
//! words ([`CloseReason`]) if there are any.
//!
//! ```
//! use mooq_core::{CloseReason, Error, ErrorKind, ErrorScope};
//!
//! let err = Error::channel_closed(CloseReason {
//!     code: 404,
//!     text: "NOT_FOUND - no exchange 'orders' in vhost '/'".into(),
//!     class_id: 60,
//!     method_id: 40,
//! });
//! assert_eq!(err.kind(), ErrorKind::ExchangeNotFound);
//! assert_eq!(err.scope(), ErrorScope::Channel);
//! assert_eq!(err.reason().unwrap().code, 404);
//! assert_eq!(
//!     err.to_string(),
//!     "the broker closed the channel: NOT_FOUND - no exchange 'orders' in vhost '/' (404, basic.publish)"
//! );
//! ```

mod close_reason;
mod kind;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use close_reason::CloseReason;
pub use kind::ErrorKind;

/// The result of mooq's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Scope of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorScope {
    /// Only the call that returned the error fails: the channel and the connection stay open.
    Operation,
    /// The channel is closed, and pending calls on it fail with a copy of this error. With
    /// recovery, a channel that the broker closed is reopened.
    Channel,
    /// The connection is closed or was never opened, and so is every channel on it.
    Connection,
}

/// The error type of all mooq operations. Cheap to clone: every waiting call gets a clone of the
/// same error.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    scope: ErrorScope,
    message: String,
    reason: Option<CloseReason>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of one operation.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::build(kind, ErrorScope::Operation, message.into(), None)
    }

    /// An error that ends the channel, without a reason from the broker.
    #[must_use]
    pub fn channel(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::build(kind, ErrorScope::Channel, message.into(), None)
    }

    /// An error that ends the connection or keeps it from opening, without a reason from the
    /// broker.
    #[must_use]
    pub fn connection(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::build(kind, ErrorScope::Connection, message.into(), None)
    }

    /// An error for a channel that the broker closed. The kind follows from the reason.
    #[must_use]
    pub fn channel_closed(reason: CloseReason) -> Self {
        Self::closed(ErrorScope::Channel, "the broker closed the channel", reason)
    }

    /// An error for a connection that the broker closed. The kind follows from the reason.
    #[must_use]
    pub fn connection_closed(reason: CloseReason) -> Self {
        Self::closed(
            ErrorScope::Connection,
            "the broker closed the connection",
            reason,
        )
    }

    /// An error for a connection that the broker at `address` closed before it was open. The kind
    /// follows from the reason.
    #[must_use]
    pub fn connection_refused(address: &str, reason: CloseReason) -> Self {
        let what = format!("the broker at {address} refused the connection");
        Self::closed(ErrorScope::Connection, &what, reason)
    }

    /// An error for a broker at `address` that did not `what`, as in "did not finish the
    /// handshake", within [`Endpoint::connect_timeout`](crate::Endpoint::connect_timeout). All
    /// transports and the runtime above report it with this one kind and text.
    #[must_use]
    pub fn connection_timed_out(address: &str, what: &str, limit: Duration) -> Self {
        Self::connection(
            ErrorKind::ConnectFailed,
            format!("cannot connect to {address}: it did not {what} within {limit:?}"),
        )
    }

    fn closed(scope: ErrorScope, what: &str, reason: CloseReason) -> Self {
        let kind = ErrorKind::from_reason(&reason);
        Self::build(kind, scope, format!("{what}: {reason}"), Some(reason))
    }

    fn build(
        kind: ErrorKind,
        scope: ErrorScope,
        message: String,
        reason: Option<CloseReason>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            scope,
            message,
            reason,
            source: None,
        }))
    }

    /// Adds the error's cause, which [`StdError::source`] then returns. Call it while building the
    /// error: it has no effect on an error that has already been cloned.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.source = Some(source.into());
        }
        self
    }

    /// The error's kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The error's scope.
    #[must_use]
    pub fn scope(&self) -> ErrorScope {
        self.0.scope
    }

    /// The broker's reply code and text, and the method that failed, if the broker closed a channel
    /// or the connection.
    #[must_use]
    pub fn reason(&self) -> Option<&CloseReason> {
        self.0.reason.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Writes one readable line, as `main` and `unwrap` print it: the message, the kind, and the causes
/// that the message does not already contain.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, .. } = &*self.0;
        write!(f, "{message} [{kind:?}]")?;
        let mut said = message.clone();
        let mut cause = StdError::source(self);
        while let Some(source) = cause {
            let text = source.to_string();
            if !said.contains(&text) {
                write!(f, ", caused by: {text}")?;
                said.push_str(&text);
            }
            cause = source.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<Infallible> for Error {
    /// Lets a setter take a checked name as well as text: converting a checked name cannot fail.
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_one_line_with_the_kind_and_each_cause_once() {
        let err = Error::new(ErrorKind::Decode, "the body is not JSON");
        assert_eq!(format!("{err:?}"), "the body is not JSON [Decode]");
        let err = Error::new(ErrorKind::ConnectionLost, "lost: refused").with_source("refused");
        assert_eq!(format!("{err:#?}"), "lost: refused [ConnectionLost]");
        let err = Error::new(ErrorKind::ConnectionLost, "it did not end").with_source(err);
        assert_eq!(
            format!("{err:?}"),
            "it did not end [ConnectionLost], caused by: lost: refused"
        );
    }
}
