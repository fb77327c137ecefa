//! Trace context in headers.

use std::str::FromStr;

use mooq_core::{FieldTable, FieldValue, ShortString};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// Header with the ids of trace and span, and the flags.
const TRACEPARENT: &str = "traceparent";
/// Header with what vendors add.
const TRACESTATE: &str = "tracestate";

/// Sets the headers `traceparent` and `tracestate` to this context. Without a valid span in it,
/// nothing is changed, and false returned.
pub fn inject(context: &Context, headers: &mut FieldTable) -> bool {
    if !is_valid(context) {
        return false;
    }
    let span = context.span();
    let span = span.span_context();
    let parent = format!(
        "00-{}-{}-{:02x}",
        span.trace_id(),
        span.span_id(),
        span.trace_flags().to_u8() & 1
    );
    set(headers, TRACEPARENT, parent);
    let state = span.trace_state().header();
    if !state.is_empty() {
        set(headers, TRACESTATE, state);
    }
    true
}

/// Returns true if there is a span in this context that another one can have for its parent.
pub(crate) fn is_valid(context: &Context) -> bool {
    context.span().span_context().is_valid()
}

fn set(headers: &mut FieldTable, name: &'static str, value: String) {
    if let Ok(name) = ShortString::try_from(name) {
        headers.insert(name, value);
    }
}

/// Returns the context in the headers `traceparent` and `tracestate`, if it is valid.
#[must_use]
pub fn extract(headers: &FieldTable) -> Option<Context> {
    let text = |name| headers.get(name).and_then(FieldValue::as_str);
    let mut parts = text(TRACEPARENT)?.split('-');
    let version = parts.next().filter(|part| part.len() == 2)?;
    let version = u8::from_str_radix(version, 16).ok()?;
    let trace_id = parts.next().filter(|part| part.len() == 32)?;
    let span_id = parts.next().filter(|part| part.len() == 16)?;
    let flags = parts.next().filter(|part| part.len() == 2)?;
    // Later versions may have more parts; version 0 has none, and 255 is no version.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    let state = text(TRACESTATE).and_then(|state| TraceState::from_str(state).ok());
    let span = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        flags,
        true,
        state.unwrap_or_default(),
    );
    span.is_valid()
        .then(|| Context::new().with_remote_span_context(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &str) -> FieldTable {
        let mut headers = FieldTable::new();
        set(&mut headers, TRACEPARENT, parent.to_owned());
        headers
    }

    #[test]
    fn what_is_extracted_is_injected_again() {
        let mut given = headers(PARENT);
        set(&mut given, TRACESTATE, "vendor=1,other=2".to_owned());
        let context = extract(&given).unwrap();
        let mut taken = FieldTable::new();
        assert!(inject(&context, &mut taken));
        assert_eq!(taken, given);
    }

    #[test]
    fn what_is_not_valid_is_no_context() {
        for parent in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "00-xxf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902\u{e4}-01",
        ] {
            assert!(extract(&headers(parent)).is_none(), "{parent}");
        }
        let mut empty = FieldTable::new();
        assert!(!inject(&Context::new(), &mut empty));
        assert!(empty.is_empty());
    }

    #[test]
    fn later_versions_may_say_more() {
        let later = PARENT.replacen("00", "01", 1) + "-more";
        assert!(extract(&headers(&later)).is_some());
    }
}
