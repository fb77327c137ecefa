//! RabbitMQ's refusals: a reply code and a text.
//!
//! Codes and their names are AMQP's
//! ([0-9-1, 1.2](https://www.rabbitmq.com/amqp-0-9-1-reference#constants)). The texts are
//! RabbitMQ's, word for word.

use std::fmt;

use mooq_core::{CloseReason, ExchangeKind, FieldValue};

use super::command::Mechanism;
use super::erlang::layout::Layout;
use super::ids::MethodId;
use super::profile::Profile;
use super::reply_code::ReplyCode;

/// The longest reply text, which travels as a short string.
const MAX_TEXT: usize = 255;

/// The end of a text that was cut.
const ELLIPSIS: &str = "...";

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyError {
    pub(crate) code: ReplyCode,
    explanation: String,
}

impl ReplyError {
    pub(crate) fn new(code: ReplyCode, explanation: impl Into<String>) -> Self {
        Self {
            code,
            explanation: explanation.into(),
        }
    }

    pub(crate) fn access_refused(explanation: impl Into<String>) -> Self {
        Self::new(ReplyCode::AccessRefused, explanation)
    }

    pub(crate) fn login_refused(mechanism: Mechanism) -> Self {
        Self::access_refused(format!(
            "Login was refused using authentication mechanism {mechanism}. For details see the \
             broker logfile."
        ))
    }

    pub(crate) fn message_too_large(size: u64, max: usize) -> Self {
        Self::precondition_failed(format!(
            "message size {size} is larger than configured max size {max}"
        ))
    }

    pub(crate) fn precondition_failed(explanation: impl Into<String>) -> Self {
        Self::new(ReplyCode::PreconditionFailed, explanation)
    }

    pub(crate) fn not_allowed(explanation: impl Into<String>) -> Self {
        Self::new(ReplyCode::NotAllowed, explanation)
    }

    pub(crate) fn not_implemented(explanation: impl Into<String>) -> Self {
        Self::new(ReplyCode::NotImplemented, explanation)
    }

    /// Error for a message that cannot be delivered to a queue, since the queue does not exist.
    pub(crate) fn undeliverable(vhost: &str, queue: &str, profile: Profile) -> Self {
        let name = |name: &str| Layout::binary(name.as_bytes(), profile);
        let atom = Layout::whole;
        let resource = vec![atom("resource"), name(vhost), atom("queue"), name(queue)];
        let term = Layout::tuple(vec![atom("not_found"), Layout::tuple(resource)]);
        let text = term.after("failed to deliver message: ", profile);
        Self::new(ReplyCode::ResourceError, text)
    }

    /// Error for a missing object to which the engine refers.
    pub(crate) fn internal(what: &str) -> Self {
        Self::new(ReplyCode::InternalError, format!("the {what} is gone"))
    }

    /// Error for a crash of RabbitMQ's channel process: 541 without a text.
    pub(crate) fn crash() -> Self {
        Self::new(ReplyCode::InternalError, "")
    }

    pub(crate) fn unknown_exchange_type(kind: &ExchangeKind, profile: Profile) -> Self {
        let word = if profile.knows_word(kind.as_str()) {
            "invalid"
        } else {
            "unknown"
        };
        let code = profile.unknown_exchange_type();
        Self::new(code, format!("{word} exchange type '{kind}'"))
    }

    pub(crate) fn missing(resource: Resource<'_>) -> Self {
        Self::new(ReplyCode::NotFound, format!("no {resource}"))
    }

    pub(crate) fn no_previously_declared_queue() -> Self {
        Self::new(ReplyCode::NotFound, "no previously declared queue")
    }

    pub(crate) fn locked(resource: Resource<'_>) -> Self {
        Self::new(
            ReplyCode::ResourceLocked,
            format!(
                "cannot obtain exclusive access to locked {resource}. It could be originally \
                 declared on another connection or the exclusive property value does not match \
                 that of the original declaration."
            ),
        )
    }

    /// Error for `basic.get` on a queue with a single active consumer. `kind` is the name of the
    /// queue's type in this text.
    pub(crate) fn no_get_beside_single_active_consumer(resource: Resource<'_>, kind: &str) -> Self {
        Self::new(
            ReplyCode::ResourceLocked,
            format!(
                "cannot obtain access to locked {resource}. basic.get operations are not \
                 supported by {kind} queues with single active consumer"
            ),
        )
    }

    pub(crate) fn in_use(resource: Resource<'_>) -> Self {
        Self::precondition_failed(format!("{resource} in use"))
    }

    pub(crate) fn default_exchange() -> Self {
        Self::access_refused("operation not permitted on the default exchange")
    }

    pub(crate) fn reserved_prefix(kind: &str, name: &str) -> Self {
        Self::access_refused(format!(
            "{kind} name '{name}' contains reserved prefix 'amq.*'"
        ))
    }

    pub(crate) fn inequivalent(
        resource: Resource<'_>,
        what: &str,
        received: &str,
        current: &str,
    ) -> Self {
        Self::precondition_failed(format!(
            "inequivalent arg '{what}' for {resource}: received {received} but current is {current}"
        ))
    }

    pub(crate) fn invalid_arg(
        resource: Resource<'_>,
        key: &str,
        problem: impl fmt::Display,
    ) -> Self {
        Self::precondition_failed(format!("invalid arg '{key}' for {resource}: {problem}"))
    }

    pub(crate) fn unknown_delivery_tag(tag: u64) -> Self {
        Self::precondition_failed(format!("unknown delivery tag {tag}"))
    }

    /// Error for a delivery that was not acknowledged in time.
    pub(crate) fn delivery_timed_out(channel: u16, millis: i64) -> Self {
        Self::precondition_failed(format!(
            "delivery acknowledgement on channel {channel} timed out. Timeout value used: {millis} \
             ms. This timeout value can be configured, see consumers doc guide to learn more"
        ))
    }

    /// Returns the crash that an error ends in if RabbitMQ cannot cut its text to the length of a
    /// short string.
    pub(crate) fn or_crash(self, profile: Profile) -> Self {
        let text = self.text();
        let is_cut = text.chars().count() > MAX_TEXT;
        let kept: usize = if is_cut {
            let kept = text.chars().take(MAX_TEXT - ELLIPSIS.len());
            kept.map(char::len_utf8).sum::<usize>() + ELLIPSIS.len()
        } else {
            text.len()
        };
        if kept > MAX_TEXT && profile.cuts_texts_by_characters() {
            return Self::crash();
        }
        self
    }

    fn text(&self) -> String {
        let (_, name) = self.code.number_and_name();
        format!("{name} - {}", self.explanation)
    }

    /// Converts the error into the reason in `channel.close` or `connection.close`.
    pub(crate) fn into_reason(self, method: MethodId) -> CloseReason {
        let (code, name) = self.code.number_and_name();
        if self.explanation.is_empty() {
            return CloseReason {
                code,
                text: name.into(),
                class_id: 0,
                method_id: 0,
            };
        }
        CloseReason {
            code,
            text: limited(self.text()),
            class_id: method.class,
            method_id: method.method,
        }
    }
}

/// Cuts `text` to the length of a short string. A text that was cut ends in an ellipsis.
fn limited(mut text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut end = MAX_TEXT - ELLIPSIS.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(ELLIPSIS);
    text
}

/// The subject of an error, as RabbitMQ names it: `queue 'q' in vhost '/'`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) vhost: &'a str,
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

/// Returns RabbitMQ's name for the type of a field, as its texts show it.
pub(crate) fn type_name(value: &FieldValue) -> &'static str {
    match value {
        FieldValue::Bool(_) => "bool",
        FieldValue::I8(_) => "byte",
        FieldValue::U8(_) => "unsignedbyte",
        FieldValue::I16(_) => "short",
        FieldValue::U16(_) => "unsignedshort",
        FieldValue::I32(_) => "signedint",
        FieldValue::U32(_) => "unsignedint",
        FieldValue::I64(_) => "long",
        FieldValue::F32(_) => "float",
        FieldValue::F64(_) => "double",
        FieldValue::Decimal(_) => "decimal",
        FieldValue::String(_) => "longstr",
        FieldValue::Bytes(_) => "binary",
        FieldValue::Array(_) => "array",
        FieldValue::Timestamp(_) => "timestamp",
        FieldValue::Table(_) => "table",
        // A type that AMQP gains later has no name yet.
        _ => "void",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_after_it_was_cut_is_a_crash() {
        let missing = |name: &str| {
            ReplyError::missing(Resource {
                kind: "queue",
                name,
                vhost: "/",
            })
        };
        let (a, e) = (|n| "a".repeat(n), |n| "é".repeat(n));
        // From RabbitMQ 4.0.5 and 4.3.6.
        for (name, crashes) in [
            (a(250), false),
            (a(250) + &e(1), false),
            (e(1) + &a(250), true),
            (e(120), true),
            (a(200) + &e(10), true),
            (a(190) + &e(10), false),
        ] {
            let error = missing(&name);
            let since = error.clone().or_crash(Profile::V4_0);
            assert_eq!(since == ReplyError::crash(), crashes, "{name}");
            assert_eq!(error.clone().or_crash(Profile::V3_10), error, "{name}");
        }
    }

    #[test]
    fn a_long_text_ends_in_an_ellipsis_within_255_bytes() {
        let name = "é".repeat(127);
        let error = ReplyError::missing(Resource {
            kind: "queue",
            name: &name,
            vhost: "/",
        });
        let reason = error.into_reason(MethodId {
            class: 50,
            method: 10,
        });
        assert_eq!(reason.code, 404);
        assert!(reason.text.len() <= 255);
        assert!(
            reason.text.starts_with("NOT_FOUND - no queue 'é"),
            "{reason}"
        );
        assert!(reason.text.ends_with("é..."), "{reason}");
    }
}
