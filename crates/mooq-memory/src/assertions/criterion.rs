//! One thing that is asked of a record.

use std::fmt;

/// What a record is asked for, and how it is seen whether it has it.
pub(super) struct Criterion<R> {
    /// What is looked at, for example `routing key`.
    pub(super) label: String,
    /// What it is to be.
    pub(super) expected: String,
    look: Box<dyn Fn(&R) -> Finding + Send + Sync>,
}

/// What a record has of what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// It is what was asked for.
    pub(super) fits: bool,
    /// What it is.
    pub(super) actual: String,
    /// Where exactly it differs, if that can be said.
    pub(super) differences: Vec<String>,
}

impl<R> Criterion<R> {
    pub(super) fn new(
        label: impl Into<String>,
        expected: impl Into<String>,
        look: impl Fn(&R) -> Finding + Send + Sync + 'static,
    ) -> Self {
        Self {
            label: label.into(),
            expected: expected.into(),
            look: Box::new(look),
        }
    }

    /// One that asks for something that is told by its text.
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

    pub(super) fn look(&self, record: &R) -> Finding {
        (self.look)(record)
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
