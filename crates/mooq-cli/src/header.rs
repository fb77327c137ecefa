//! Headers on the command line, and tables of AMQP as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mooq::{FieldTable, FieldValue, ShortString};
use serde_json::{Map, Number, Value};

/// Reads `NAME=TEXT`.
pub(crate) fn text(argument: &str) -> Result<(ShortString, FieldValue), String> {
    let (name, text) = split(argument)?;
    Ok((name, FieldValue::from(text)))
}

/// Reads `NAME=JSON`.
pub(crate) fn json(argument: &str) -> Result<(ShortString, FieldValue), String> {
    let (name, text) = split(argument)?;
    let value = serde_json::from_str(text).map_err(|err| format!("'{text}' is not JSON: {err}"))?;
    Ok((name, from_json(&value)?))
}

fn split(argument: &str) -> Result<(ShortString, &str), String> {
    let (name, text) = argument
        .split_once('=')
        .ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    let name = ShortString::try_from(name).map_err(|err| err.to_string())?;
    Ok((name, text))
}

/// A value of JSON as AMQP has it. A number with a point is a double.
pub(crate) fn from_json(value: &Value) -> Result<FieldValue, String> {
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(value) => FieldValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => FieldValue::I64(integer),
            (None, Some(double)) if number.is_f64() => FieldValue::F64(double),
            _ => return Err(format!("{number} is over the limit of {}", i64::MAX)),
        },
        Value::String(text) => FieldValue::from(text),
        Value::Array(values) => {
            FieldValue::Array(values.iter().map(from_json).collect::<Result<_, _>>()?)
        }
        Value::Object(values) => FieldValue::Table(table(values)?),
    })
}

/// An object of JSON as a table.
pub(crate) fn table(values: &Map<String, Value>) -> Result<FieldTable, String> {
    let mut table = FieldTable::new();
    for (name, value) in values {
        let name = ShortString::try_from(name).map_err(|err| err.to_string())?;
        table.insert(name, from_json(value)?);
    }
    Ok(table)
}

/// A table as an object of JSON. Bytes become base64, a timestamp its number of seconds, and a
/// decimal or a number that JSON lacks its text.
pub(crate) fn to_object(table: &FieldTable) -> Value {
    let members = table.iter();
    let members = members.map(|(name, value)| (name.to_string(), to_json(value)));
    Value::Object(members.collect())
}

fn to_json(value: &FieldValue) -> Value {
    if let Some(integer) = value.as_i64() {
        return integer.into();
    }
    match value {
        FieldValue::Bool(value) => (*value).into(),
        FieldValue::F32(value) => double((*value).into()),
        FieldValue::F64(value) => double(*value),
        FieldValue::String(text) => text.as_str().into(),
        FieldValue::Bytes(bytes) => STANDARD.encode(bytes).into(),
        FieldValue::Array(values) => values.iter().map(to_json).collect(),
        FieldValue::Timestamp(seconds) => (*seconds).into(),
        FieldValue::Table(table) => to_object(table),
        FieldValue::Void => Value::Null,
        other => format!("{other:?}").into(),
    }
}

fn double(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn header_is_text_unless_it_is_given_as_json() {
        assert_eq!(text("n=1").unwrap().1, FieldValue::from("1"));
        assert_eq!(text("a=b=c").unwrap().1, FieldValue::from("b=c"));
        assert_eq!(json("n=1").unwrap().1, FieldValue::I64(1));
        assert_eq!(json("n=1.5").unwrap().1, FieldValue::F64(1.5));
        assert_eq!(text("n").unwrap_err(), "expected NAME=VALUE");
        let refused = json("n=one").unwrap_err();
        assert!(refused.starts_with("'one' is not JSON: "), "{refused}");
        let refused = json("n=18446744073709551615").unwrap_err();
        assert!(refused.contains("is over the limit"), "{refused}");
    }

    #[test]
    fn table_and_object_convert_into_each_other() {
        let object = json!({"a": [1, true, null], "b": {"c": "d"}, "e": 0.5});
        let table = table(object.as_object().unwrap()).unwrap();
        assert_eq!(to_object(&table), object);
    }
}
