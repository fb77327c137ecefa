//! A criterion that records are checked against.

use std::fmt;

/// A criterion for records, and the check for it.
pub(super) struct Criterion<R> {
    /// Name of the checked part of a record, for example `routing key`.
    pub(super) label: String,
    /// Text of the expected value.
    pub(super) expected: String,
    check: Box<dyn Fn(&R) -> Finding + Send + Sync>,
}

/// Result of checking a record against a criterion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// True if the record meets the criterion.
    pub(super) fits: bool,
    /// Text of the actual value.
    pub(super) actual: String,
    /// The places where the actual value differs, if they can be named.
    pub(super) differences: Vec<String>,
}

impl<R> Criterion<R> {
    pub(super) fn new(
        label: impl Into<String>,
        expected: impl Into<String>,
        check: impl Fn(&R) -> Finding + Send + Sync + 'static,
    ) -> Self {
        Self {
            label: label.into(),
            expected: expected.into(),
            check: Box::new(check),
        }
    }

    /// A criterion that compares the text of a value.
    pub(super) fn text(
        label: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Fn(&R) -> String + Send + Sync + 'static,
    ) -> Self {
        let expected = expected.into();
        let wanted = expected.clone();
        Self::new(label, expected, move |record| {
            let actual = actual(record);
            Finding::new(actual == wanted, actual)
        })
    }

    pub(super) fn check(&self, record: &R) -> Finding {
        (self.check)(record)
    }
}

impl Finding {
    pub(super) fn new(fits: bool, actual: impl Into<String>) -> Self {
        Self {
            fits,
            actual: actual.into(),
            differences: Vec::new(),
        }
    }
}

impl<R> fmt::Debug for Criterion<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label, self.expected)
    }
}
