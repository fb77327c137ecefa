//! Tables of arguments and headers as JSON, in the way of RabbitMQ's management plugin.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind};
use crate::name::{IntoChecked, ShortString};
use crate::value::{FieldTable, FieldValue};

/// Reads a table.
///
/// # Errors
/// The errors of [`value_from`], and `InvalidName` if a key is longer than 255 bytes.
pub fn table_from(entries: Map<String, Value>) -> Result<FieldTable, Error> {
    let mut table = FieldTable::new();
    for (key, value) in entries {
        let key: ShortString = key.into_checked()?;
        table.insert(key, value_from(value)?);
    }
    Ok(table)
}

/// Reads a value as RabbitMQ does: a whole number is a signed one of 64 bits.
///
/// # Errors
/// `InvalidArgument` for a number that no field holds.
pub fn value_from(value: Value) -> Result<FieldValue, Error> {
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(flag) => FieldValue::Bool(flag),
        Value::String(text) => FieldValue::String(text),
        Value::Array(values) => {
            let values = values.into_iter().map(value_from);
            FieldValue::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => FieldValue::Table(table_from(entries)?),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => FieldValue::I64(whole),
            (None, Some(real)) => FieldValue::F64(real),
            (None, None) => {
                let message = format!("the number {number} is too large");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        },
    })
}

/// Writes a table.
#[must_use]
pub fn table_to(table: &FieldTable) -> Value {
    let entries = table.iter();
    let entries = entries.map(|(key, value)| (key.as_str().to_owned(), value_to(value)));
    Value::Object(entries.collect())
}

/// Writes a value. JSON does not tell the types of numbers apart, and has no bytes: those that are
/// no UTF-8 become base64.
#[must_use]
pub fn value_to(value: &FieldValue) -> Value {
    match value {
        FieldValue::Bool(flag) => (*flag).into(),
        FieldValue::F32(real) => (*real).into(),
        FieldValue::F64(real) => (*real).into(),
        FieldValue::Decimal(decimal) => {
            let scale = 10_f64.powi(decimal.scale.into());
            (f64::from(decimal.value) / scale).into()
        }
        FieldValue::String(text) => text.as_str().into(),
        FieldValue::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => STANDARD.encode(bytes).into(),
        },
        FieldValue::Array(values) => values.iter().map(value_to).collect(),
        FieldValue::Timestamp(seconds) => (*seconds).into(),
        FieldValue::Table(table) => table_to(table),
        integer => integer.as_i64().map_or(Value::Null, Value::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::Decimal;

    #[test]
    fn table_comes_back_from_json() {
        let json = json!({"a": [1, "b", true, null, 1.5], "t": {"n": -1}});
        let Value::Object(entries) = json.clone() else {
            unreachable!()
        };
        assert_eq!(table_to(&table_from(entries).unwrap()), json);
    }

    #[test]
    fn values_that_json_lacks_become_the_nearest() {
        let decimal = Decimal {
            scale: 2,
            value: -150,
        };
        assert_eq!(value_to(&decimal.into()), json!(-1.5));
        assert_eq!(value_to(&FieldValue::Timestamp(7)), json!(7));
        assert_eq!(value_to(&FieldValue::Bytes("ab".into())), json!("ab"));
        let no_text = FieldValue::Bytes(vec![0xff].into());
        assert_eq!(value_to(&no_text), json!("/w=="));
        assert_eq!(value_to(&FieldValue::F64(f64::NAN)), Value::Null);
    }
}
