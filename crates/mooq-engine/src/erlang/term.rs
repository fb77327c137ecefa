//! Erlang terms for the values of headers and arguments, and their texts.

use mooq_core::{FieldTable, FieldValue};

use super::layout::Layout;
use super::phash2::Term;
use crate::profile::Profile;
use crate::reply_error::type_name;

/// Appends a binary to `before`, as RabbitMQ's texts show it.
pub(crate) fn binary_after(before: &str, text: &str, profile: Profile) -> String {
    Layout::binary(text.as_bytes(), profile).after(before, profile)
}

/// Appends a value to `before`, as Erlang shows it.
pub(crate) fn value_after(before: &str, value: &FieldValue, profile: Profile) -> String {
    Layout::of(&term(value), profile).after(before, profile)
}

/// Appends a value to `before`. Strings and binaries stay as they are.
pub(crate) fn text_or_value_after(before: &str, value: &FieldValue, profile: Profile) -> String {
    match value {
        FieldValue::String(text) => format!("{before}{text}"),
        FieldValue::Bytes(bytes) => format!("{before}{}", String::from_utf8_lossy(bytes)),
        other => value_after(before, other, profile),
    }
}

/// Returns a value without the name of its type.
pub(crate) fn term(value: &FieldValue) -> Term<'_> {
    match value {
        FieldValue::Bool(true) => Term::Atom("true"),
        FieldValue::Bool(false) => Term::Atom("false"),
        FieldValue::F32(value) => Term::Float((*value).into()),
        FieldValue::F64(value) => Term::Float(*value),
        FieldValue::Decimal(decimal) => Term::Tuple(vec![
            Term::Integer(decimal.scale.into()),
            Term::Integer((decimal.value as u32).into()),
        ]),
        FieldValue::String(text) => Term::Binary(text.as_bytes()),
        FieldValue::Bytes(bytes) => Term::Binary(bytes),
        FieldValue::Array(values) => Term::List(values.iter().map(typed).collect()),
        FieldValue::Timestamp(seconds) => Term::Integer((*seconds).into()),
        FieldValue::Table(entries) => Term::List(table(entries)),
        integer => integer
            .as_i64()
            .map_or(Term::Atom("undefined"), |value| Term::Integer(value.into())),
    }
}

/// Returns a value with the name of its type, as RabbitMQ keeps it.
pub(crate) fn typed(value: &FieldValue) -> Term<'_> {
    Term::Tuple(vec![Term::Atom(type_name(value)), term(value)])
}

/// Returns the entries of a table.
pub(crate) fn table(entries: &FieldTable) -> Vec<Term<'_>> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| table_entry(key, value))
        .collect()
}

fn table_entry<'a>(key: &'a str, value: &'a FieldValue) -> Term<'a> {
    Term::Tuple(vec![
        Term::Binary(key.as_bytes()),
        Term::Atom(type_name(value)),
        term(value),
    ])
}
