//! Errors of a builder's setters.

use crate::error::{Error, ErrorKind, Result};
use crate::name::{IntoChecked, ShortString};
use crate::value::{FieldTable, FieldValue};

/// The first error of a builder's setters, kept until the builder is awaited: so setters read as
/// Python's keyword arguments do, and no error is lost.
#[derive(Debug, Default, Clone)]
pub struct FirstError(Option<Error>);

impl FirstError {
    /// Returns the checked value, or none if it failed its check.
    pub fn check<N>(&mut self, value: impl IntoChecked<N>) -> Option<N> {
        self.note(value.into_checked())
    }

    /// Returns the value of `result`, or none if it is an error.
    pub fn note<N>(&mut self, result: Result<N>) -> Option<N> {
        match result {
            Ok(value) => Some(value),
            Err(err) => {
                self.fail(err);
                None
            }
        }
    }

    /// Sets `key` in a table of headers or arguments, unless the key fails its check.
    pub fn insert(
        &mut self,
        table: &mut FieldTable,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) {
        if let Some(key) = self.check(key) {
            table.insert(key, value);
        }
    }

    /// Returns the prefetch `n`, which must not be 0.
    pub fn prefetch(&mut self, n: u16) -> u16 {
        if n == 0 {
            self.fail(Error::new(
                ErrorKind::InvalidArgument,
                "a prefetch of 0 would let the broker send without bound: use 1 to 65535",
            ));
        }
        n
    }

    /// Records `err`, unless there is an earlier one.
    pub fn fail(&mut self, err: Error) {
        self.0.get_or_insert(err);
    }

    /// Records the error of another builder, unless there is an earlier one.
    pub fn join(&mut self, other: Self) {
        if let Some(err) = other.0 {
            self.fail(err);
        }
    }

    /// Fails with a setter's error, if there was one.
    ///
    /// # Errors
    /// The first error of the setters.
    pub fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Errors are equal if they say the same: so builders can be compared as the values that they are.
impl PartialEq for FirstError {
    fn eq(&self, other: &Self) -> bool {
        let said = |error: &Self| error.0.as_ref().map(|err| (err.kind(), err.to_string()));
        said(self) == said(other)
    }
}
