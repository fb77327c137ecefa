//! Checks of an endpoint before any broker is contacted.

use mooq_core::{Endpoint, Error, ErrorKind};

/// The reason why an endpoint cannot be connected to.
#[derive(Debug)]
pub(crate) struct InvalidEndpoint {
    kind: ErrorKind,
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl InvalidEndpoint {
    pub(crate) fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::only(ErrorKind::InvalidArgument, what)
        }
    }

    /// A reason without a source.
    pub(crate) fn only(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn error(self, endpoint: &Endpoint) -> Error {
        let message = format!("cannot connect to {endpoint}: {}", self.what);
        let error = Error::connection(self.kind, message);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
