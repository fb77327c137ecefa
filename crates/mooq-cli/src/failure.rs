//! Failures of the command, and their exit codes.

use std::error::Error as _;
use std::fmt;
use std::process::ExitCode;

use mooq::{Error, ErrorKind};

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The reason why the command ends without success, as text for the user.
#[derive(Debug)]
pub(crate) struct Failure {
    what: What,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Failed,
    WrongUsage,
    NothingThere,
}

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(What::Failed, text)
    }

    pub(crate) fn wrong_usage(text: impl Into<String>) -> Self {
        Self::new(What::WrongUsage, text)
    }

    pub(crate) fn nothing_there(text: impl Into<String>) -> Self {
        Self::new(What::NothingThere, text)
    }

    fn new(what: What, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { what, text }
    }

    /// Adds to the beginning of the text.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.text = format!("{context}: {}", self.text);
        self
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self.what {
            What::Failed => 1,
            What::WrongUsage => 2,
            What::NothingThere => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        let what = match err.kind() {
            ErrorKind::InvalidUrl
            | ErrorKind::InvalidName
            | ErrorKind::InvalidArgument
            | ErrorKind::UnsupportedScheme => What::WrongUsage,
            ErrorKind::QueueNotFound
            | ErrorKind::ExchangeNotFound
            | ErrorKind::VirtualHostNotFound
            | ErrorKind::NotFound
            | ErrorKind::Returned => What::NothingThere,
            _ => What::Failed,
        };
        // An error's text leaves out its sources.
        let mut text = err.to_string();
        let mut source = err.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Self::new(what, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_has_the_texts_of_all_sources_once() {
        let cause = std::io::Error::other("refused");
        let err = Error::new(ErrorKind::ConnectFailed, "localhost:5672").with_source(cause);
        let failure = Failure::from(err);
        assert_eq!(failure.to_string(), "localhost:5672: refused");
        assert_eq!(failure.what, What::Failed);

        let cause = std::io::Error::other("no queue 'orders'");
        let err = Error::new(ErrorKind::QueueNotFound, "404: no queue 'orders'");
        let failure = Failure::from(err.with_source(cause));
        assert_eq!(failure.to_string(), "404: no queue 'orders'");
        assert_eq!(failure.what, What::NothingThere);
    }
}
