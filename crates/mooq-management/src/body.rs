//! Bodies of requests.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooq_core::{FieldTable, IntoChecked};
use mooq_memory::json::table_from;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// The largest body, in bytes: RabbitMQ's default.
pub(crate) const LIMIT: usize = 20_000_000;

/// The text of a body.
pub(crate) struct Text(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|rejected| {
            let rejected = rejected.into_response();
            if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Failure::bad_request("Exceeded HTTP request body size limit")
            } else {
                Failure::bad_request("the request's body cannot be read")
            }
        })?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|_| Failure::bad_request("not_json"))
    }
}

/// A body that is a JSON object. An empty body is one without entries.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Object {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        Self::parse(&Text::from_request(request, state).await?.0)
    }
}

impl Object {
    fn parse(text: &str) -> Result<Self, Failure> {
        if matches!(text, "" | "null" | "undefined") {
            return Ok(Self::default());
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(entries)) => Ok(Self(entries)),
            Ok(Value::String(_)) => Err(Failure::bad_request(
                "invalid payload: the request body JSON-decoded to a string. Is the input \
                 doubly-JSON-encoded?",
            )),
            _ => Err(Failure::bad_request("not_json")),
        }
    }

    /// Checks that all of the keys are there.
    pub(crate) fn require(&self, keys: &[&str]) -> Result<(), Failure> {
        let missing = keys.iter().filter(|key| !self.0.contains_key(**key));
        let missing: Vec<_> = missing
            .map(|key| format!("{{key_missing,{key}}}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::bad_request(format!("[{}]", missing.join(","))))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A text; none if it is not there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, Failure> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Failure::bad_request(json!(["not_string", key]))),
        }
    }

    /// A text of which there may be none.
    pub(crate) fn text_or_empty(&self, key: &str) -> Result<&str, Failure> {
        self.text(key).map(Option::unwrap_or_default)
    }

    /// A flag, which may also be given as a text; false if it is not there.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Failure> {
        match self.0.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(Failure::bad_request(json!(["not_boolean", other]))),
        }
    }

    /// An integer, which may also be given as a text.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        let integer = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        let wrong = || Failure::bad_request(json!(["not_integer", value]));
        integer.map(Some).ok_or_else(wrong)
    }

    /// A table of arguments; an empty one if it is not there.
    pub(crate) fn arguments(&self) -> Result<FieldTable, Failure> {
        self.0
            .get("arguments")
            .map_or_else(|| Ok(FieldTable::new()), |value| table("arguments", value))
    }
}

/// Reads a table. RabbitMQ takes an empty array for an empty table, since some languages do not
/// tell them apart, and no null.
pub(crate) fn table(key: &str, value: &Value) -> Result<FieldTable, Failure> {
    match value {
        Value::Object(_) if has_null(value) => Err(Failure::bad_request("null_not_allowed")),
        Value::Object(entries) => {
            let table = table_from(entries.clone())?;
            table.check(key)?;
            Ok(table)
        }
        Value::Array(entries) if entries.is_empty() => Ok(FieldTable::new()),
        _ => Err(Failure::bad_request(json!(["not_a_table", key]))),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(entries) => entries.values().any(has_null),
        _ => false,
    }
}

/// Decodes base64.
pub(crate) fn base64(text: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |_| Failure::bad_request(json!(["not_base64", text]));
    STANDARD.decode(text).map_err(wrong)
}

/// Checks a name in a path or a body, which is at most 255 bytes long.
pub(crate) fn name<T>(kind: &str, name: &str) -> Result<T, Failure>
where
    for<'a> &'a str: IntoChecked<T>,
{
    name.into_checked().map_err(|_| {
        let length = name.len();
        Failure::bad_request(format!(
            "{kind} should be less than 255 bytes, actually was {length}\n"
        ))
    })
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn object(value: &Value) -> Object {
        Object::parse(&value.to_string()).unwrap()
    }

    #[test]
    fn body_is_an_object_or_nothing() {
        for empty in ["", "null", "{}"] {
            assert_eq!(Object::parse(empty).unwrap(), Object::default());
        }
        let not_json = Failure::bad_request("not_json");
        for wrong in ["{nonsense", "[]", "1"] {
            assert_eq!(Object::parse(wrong).unwrap_err(), not_json, "{wrong}");
        }
    }

    #[test]
    fn missing_keys_are_named_in_order() {
        let body = object(&json!({"routing_key": "q"}));
        let expected = "[{key_missing,properties},{key_missing,payload}]";
        assert_eq!(
            body.require(&["routing_key", "properties", "payload"]),
            Err(Failure::bad_request(expected))
        );
    }

    #[test]
    fn flags_and_integers_may_be_texts() {
        let body = object(&json!({"durable": "true", "count": "5", "wrong": "yes", "x": 1.5}));
        assert_eq!(body.flag("durable"), Ok(true));
        assert_eq!(body.flag("other"), Ok(false));
        let expected = Failure::bad_request(json!(["not_boolean", "yes"]));
        assert_eq!(body.flag("wrong"), Err(expected));
        assert_eq!(body.integer("count"), Ok(Some(5)));
        let expected = Failure::bad_request(json!(["not_integer", 1.5]));
        assert_eq!(body.integer("x"), Err(expected));
    }

    #[test]
    fn tables_take_no_null_and_an_empty_array() {
        let body = object(&json!({"arguments": {"a": [1, {"b": null}]}}));
        let expected = Failure::bad_request("null_not_allowed");
        assert_eq!(body.arguments(), Err(expected));
        let nested = (0..FieldTable::MAX_DEPTH + 10).fold(json!(1), |value, _| json!({"a": value}));
        let refused = object(&json!({"arguments": nested})).arguments();
        assert!(refused.is_err(), "{refused:?}");
        let body = object(&json!({"arguments": []}));
        assert_eq!(body.arguments(), Ok(FieldTable::new()));
    }
}
