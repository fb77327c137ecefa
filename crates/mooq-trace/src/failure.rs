//! Failures on spans.

use std::fmt;

use mooq_core::Error;
use tracing::Span;
use tracing::field::display;

/// Marks a span, which has the fields for it, as failed.
pub(crate) fn record(span: &Span, error_type: &str, err: &dyn fmt::Display) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", display(err));
    span.record("error.type", error_type);
}

/// Marks a span as failed with an error of mooq's, whose kind is the error's type.
pub(crate) fn record_error(span: &Span, err: &Error) {
    record(span, &format!("{:?}", err.kind()), err);
}
