//! One error type: what went wrong ([`ErrorKind`]), how far it reaches ([`ErrorScope`]), and the
//! broker's own words ([`CloseReason`]) where there are any.
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

pub use close_reason::CloseReason;
pub use kind::ErrorKind;

use crate::event::Returned;

/// The result of mooq's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorScope {
    /// Only the call that returned it: the channel and the connection go on.
    Operation,
    /// The channel is closed. Every call that waited on it ends with a copy of this error.
    Channel,
    /// The connection is closed or was never opened, and so is every channel on it.
    Connection,
}

/// What went wrong. Cheap to clone: one reason is given to all that wait for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    scope: ErrorScope,
    message: String,
    reason: Option<CloseReason>,
    returned: Option<Returned>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of one operation.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::build(kind, ErrorScope::Operation, message.into(), None)
    }

    /// An error that ends the channel, without a word from the broker.
    #[must_use]
    pub fn channel(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::build(kind, ErrorScope::Channel, message.into(), None)
    }

    /// An error that ends the connection or keeps it from opening, without a word from the
    /// broker.
    #[must_use]
    pub fn connection(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::build(kind, ErrorScope::Connection, message.into(), None)
    }

    /// The broker closed the channel. The kind follows from the reason.
    #[must_use]
    pub fn channel_closed(reason: CloseReason) -> Self {
        Self::closed(ErrorScope::Channel, "the broker closed the channel", reason)
    }

    /// The broker closed the connection. The kind follows from the reason.
    #[must_use]
    pub fn connection_closed(reason: CloseReason) -> Self {
        Self::closed(
            ErrorScope::Connection,
            "the broker closed the connection",
            reason,
        )
    }

    /// The broker at `address` closed the connection before it was open. The kind follows from
    /// the reason.
    #[must_use]
    pub fn connection_refused(address: &str, reason: CloseReason) -> Self {
        let what = format!("the broker at {address} refused the connection");
        Self::closed(ErrorScope::Connection, &what, reason)
    }

    /// A mandatory message came back.
    #[must_use]
    pub fn returned(returned: Returned) -> Self {
        let message = format!(
            "the message came back: {} ({}), exchange '{}', routing key '{}'",
            returned.reply_text,
            returned.reply_code,
            returned.message.exchange,
            returned.message.routing_key
        );
        Self(Arc::new(Inner {
            kind: ErrorKind::Returned,
            scope: ErrorScope::Operation,
            message,
            reason: None,
            returned: Some(returned),
            source: None,
        }))
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
            returned: None,
            source: None,
        }))
    }

    /// The same error with its cause, which [`StdError::source`] then gives. Call it while
    /// building the error: on one that has been cloned already it changes nothing.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.source = Some(source.into());
        }
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How far it reaches.
    #[must_use]
    pub fn scope(&self) -> ErrorScope {
        self.0.scope
    }

    /// The broker's reply code and text, and the method that failed, if the broker closed a
    /// channel or the connection.
    #[must_use]
    pub fn reason(&self) -> Option<&CloseReason> {
        self.0.reason.as_ref()
    }

    /// The message that came back, if the kind is [`ErrorKind::Returned`].
    #[must_use]
    pub fn returned_message(&self) -> Option<&Returned> {
        self.0.returned.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            scope,
            message,
            reason,
            returned,
            source,
        } = &*self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", kind).field("scope", scope);
        debug.field("message", message);
        // Most errors have few of these, and a short line is read more often.
        if let Some(reason) = reason {
            debug.field("reason", reason);
        }
        if let Some(returned) = returned {
            debug.field("returned", returned);
        }
        if let Some(source) = source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<Infallible> for Error {
    /// Lets a setter take a checked name as well as text: the first cannot fail.
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
