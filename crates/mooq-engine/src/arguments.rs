//! Arguments of queues and exchanges: type checks and equivalence.

use mooq_core::{FieldTable, FieldValue};

use super::erlang::term::text_or_value_after;
use super::profile::Profile;
use super::reply_error::{ReplyError, Resource, type_name};

/// Returns the text argument `key`, which names an exchange. RabbitMQ checks the type of such an
/// argument separately, before all other arguments and with another error text.
pub(crate) fn name_arg<'a>(
    arguments: &'a FieldTable,
    key: &str,
    resource: Resource<'_>,
) -> Result<Option<&'a str>, ReplyError> {
    match arguments.get(key) {
        None => Ok(None),
        Some(FieldValue::String(name)) => Ok(Some(name)),
        Some(other) => Err(ReplyError::precondition_failed(format!(
            "invalid type '{}' for arg '{key}' in {resource}",
            type_name(other)
        ))),
    }
}

/// Checks that the arguments `keys` are the same in both tables, or absent from both. Other
/// arguments do not count.
pub(crate) fn assert_args_equivalence(
    current: &FieldTable,
    received: &FieldTable,
    resource: Resource<'_>,
    keys: &[&str],
    profile: Profile,
) -> Result<(), ReplyError> {
    for key in keys {
        let (current, received) = (current.get(key), received.get(key));
        let (current_text, received_text) = match (current, received) {
            (None, None) => continue,
            (Some(a), Some(b)) if equivalent(a, b) => continue,
            (Some(a), Some(b)) => (quoted(a, profile), quoted(b, profile)),
            (a, b) => (typed(a, profile), typed(b, profile)),
        };
        return Err(ReplyError::inequivalent(
            resource,
            key,
            &received_text,
            &current_text,
        ));
    }
    Ok(())
}

/// Returns true if two values are equal. The width of an integer or a float does not count. An
/// integer never equals a string.
fn equivalent(a: &FieldValue, b: &FieldValue) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a == b,
        _ => match (a, b) {
            (FieldValue::F32(a), FieldValue::F64(b)) | (FieldValue::F64(b), FieldValue::F32(a)) => {
                f64::from(*a).to_bits() == b.to_bits()
            }
            _ => a == b,
        },
    }
}

fn quoted(value: &FieldValue, profile: Profile) -> String {
    text_or_value_after("'", value, profile) + "'"
}

/// Formats an argument that only one side has, together with its type.
fn typed(value: Option<&FieldValue>, profile: Profile) -> String {
    value.map_or_else(
        || "none".to_owned(),
        |value| {
            let text = text_or_value_after("the value '", value, profile);
            format!("{text}' of type '{}'", type_name(value))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply_error::ReplyError;

    const Q: Resource<'static> = Resource {
        kind: "queue",
        name: "q",
        vhost: "/",
    };

    fn compare(
        current: Option<FieldValue>,
        received: Option<FieldValue>,
    ) -> Result<(), ReplyError> {
        let table = |value: Option<FieldValue>| {
            let entry = value.map(|value| ("x-a".try_into().unwrap(), value));
            entry.into_iter().collect::<FieldTable>()
        };
        assert_args_equivalence(
            &table(current),
            &table(received),
            Q,
            &["x-a"],
            Profile::default(),
        )
    }

    #[test]
    fn integers_are_equal_whatever_their_width_and_never_equal_text() {
        use FieldValue as V;
        assert_eq!(compare(Some(V::I8(1)), Some(V::I64(1))), Ok(()));
        assert_eq!(compare(None, None), Ok(()));
        assert_eq!(
            compare(Some(V::I32(1000)), Some(V::String("1000".into()))),
            Err(ReplyError::inequivalent(Q, "x-a", "'1000'", "'1000'"))
        );
    }

    #[test]
    fn an_argument_on_one_side_is_shown_with_its_type() {
        assert_eq!(
            compare(Some(FieldValue::I32(1000)), None),
            Err(ReplyError::precondition_failed(
                "inequivalent arg 'x-a' for queue 'q' in vhost '/': received none but current is \
                 the value '1000' of type 'signedint'"
            ))
        );
    }
}
