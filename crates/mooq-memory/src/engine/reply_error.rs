//! What RabbitMQ answers when it refuses: a reply code and a text.
//!
//! Codes and their names are AMQP's ([0-9-1, 1.2](https://www.rabbitmq.com/amqp-0-9-1-reference#constants)),
//! the texts are RabbitMQ's, word for word.

use std::fmt;

use mooq_core::{CloseReason, FieldValue};

use super::command::MethodId;

/// The longest reply text, which travels as a short string.
const MAX_TEXT: usize = 255;

/// A reply code, by its name in the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyCode {
    ConnectionForced,
    AccessRefused,
    NotFound,
    ResourceLocked,
    PreconditionFailed,
    CommandInvalid,
    ChannelError,
    NotAllowed,
    NotImplemented,
    InternalError,
}

impl ReplyCode {
    fn number_and_name(self) -> (u16, &'static str) {
        match self {
            Self::ConnectionForced => (320, "CONNECTION_FORCED"),
            Self::AccessRefused => (403, "ACCESS_REFUSED"),
            Self::NotFound => (404, "NOT_FOUND"),
            Self::ResourceLocked => (405, "RESOURCE_LOCKED"),
            Self::PreconditionFailed => (406, "PRECONDITION_FAILED"),
            Self::CommandInvalid => (503, "COMMAND_INVALID"),
            Self::ChannelError => (504, "CHANNEL_ERROR"),
            Self::NotAllowed => (530, "NOT_ALLOWED"),
            Self::NotImplemented => (540, "NOT_IMPLEMENTED"),
            Self::InternalError => (541, "INTERNAL_ERROR"),
        }
    }

    /// Whether it closes the connection; the others close the channel.
    pub(crate) fn is_hard(self) -> bool {
        match self {
            Self::AccessRefused
            | Self::NotFound
            | Self::ResourceLocked
            | Self::PreconditionFailed => false,
            Self::ConnectionForced
            | Self::CommandInvalid
            | Self::ChannelError
            | Self::NotAllowed
            | Self::NotImplemented
            | Self::InternalError => true,
        }
    }
}

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

    pub(crate) fn login_refused() -> Self {
        Self::access_refused(
            "Login was refused using authentication mechanism PLAIN. For details see the broker \
             logfile.",
        )
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

    /// The engine has lost something that must be there.
    pub(crate) fn internal(what: &str) -> Self {
        Self::new(ReplyCode::InternalError, format!("the {what} is gone"))
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

    pub(crate) fn no_get_beside_single_active_consumer(resource: Resource<'_>) -> Self {
        Self::new(
            ReplyCode::ResourceLocked,
            format!(
                "cannot obtain access to locked {resource}. basic.get operations are not \
                 supported by quorum queues with single active consumer"
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

    /// A queue that is neither durable nor exclusive, where there are none such. RabbitMQ says
    /// more, which the limit of a reply text cuts off.
    pub(crate) fn transient_shared_queue() -> Self {
        Self::new(
            ReplyCode::InternalError,
            "Feature `transient_nonexcl_queues` is deprecated.\nBy default, this feature is not \
             permitted anymore.\nThe feature will be removed from a future major RabbitMQ \
             version, regardless of the configuration; actual version to be determined.\nTo \
             continue using this feature",
        )
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

    /// The reason as it goes into `channel.close` or `connection.close`.
    pub(crate) fn into_reason(self, method: MethodId) -> CloseReason {
        let (code, name) = self.code.number_and_name();
        CloseReason {
            code,
            text: limited(format!("{name} - {}", self.explanation)),
            class_id: method.class,
            method_id: method.method,
        }
    }
}

/// `text` as far as a short string carries it, with an ellipsis where it was cut.
fn limited(mut text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut end = MAX_TEXT - 3;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str("...");
    text
}

/// What an error is about, as RabbitMQ names it: `queue 'q' in vhost '/'`.
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

/// The type of a field as RabbitMQ calls it in its texts.
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

/// A value as it stands in RabbitMQ's texts, without quotes.
pub(crate) fn value_text(value: &FieldValue) -> String {
    match value {
        FieldValue::Bool(v) => v.to_string(),
        FieldValue::F32(v) => format!("{v:?}"),
        FieldValue::F64(v) => format!("{v:?}"),
        FieldValue::String(v) => v.clone(),
        FieldValue::Bytes(v) => String::from_utf8_lossy(v).into_owned(),
        FieldValue::Timestamp(v) => v.to_string(),
        FieldValue::Decimal(v) => format!("{{{},{}}}", v.scale, v.value),
        FieldValue::Array(v) => format!("[{}]", list(v.iter().map(typed_text))),
        FieldValue::Table(v) => {
            let entry = |(key, value): (&_, _)| {
                format!(
                    "{{<<\"{key}\">>,{},{}}}",
                    type_name(value),
                    nested_text(value)
                )
            };
            format!("[{}]", list(v.iter().map(entry)))
        }
        FieldValue::Void => "undefined".into(),
        integer => integer.as_i64().map_or_else(String::new, |v| v.to_string()),
    }
}

fn typed_text(value: &FieldValue) -> String {
    format!("{{{},{}}}", type_name(value), nested_text(value))
}

/// Inside lists Erlang writes strings as binaries.
fn nested_text(value: &FieldValue) -> String {
    match value {
        FieldValue::String(_) | FieldValue::Bytes(_) => format!("<<\"{}\">>", value_text(value)),
        other => value_text(other),
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

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
