//! Properties of messages, in both directions.

use mooq_core::{DeliveryMode, Properties, ShortString};
use mooq_memory::json::table_to;
use serde_json::{Map, Value, json};

use crate::body::table;
use crate::failure::Failure;

/// Properties of a message that are set. None at all are an empty array, as RabbitMQ's.
pub(crate) fn view(properties: &Properties) -> Value {
    let mut view = Map::new();
    for (key, value) in [
        ("content_type", &properties.content_type),
        ("content_encoding", &properties.content_encoding),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
        ("expiration", &properties.expiration),
        ("message_id", &properties.message_id),
        ("type", &properties.kind),
        ("user_id", &properties.user_id),
        ("app_id", &properties.app_id),
        ("cluster_id", &properties.cluster_id),
    ] {
        if let Some(value) = value {
            view.insert(key.into(), value.as_str().into());
        }
    }
    if !properties.headers.is_empty() {
        view.insert("headers".into(), table_to(&properties.headers));
    }
    let mode = properties.delivery_mode.map(|mode| match mode {
        DeliveryMode::Transient => 1,
        DeliveryMode::Persistent => 2,
    });
    let numbers = [
        ("delivery_mode", mode.map(Value::from)),
        ("priority", properties.priority.map(Value::from)),
        ("timestamp", properties.timestamp.map(Value::from)),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            view.insert(key.into(), value);
        }
    }
    if view.is_empty() {
        return Value::Array(Vec::new());
    }
    Value::Object(view)
}

/// Reads the properties of a publish. Unknown ones are ignored, as by RabbitMQ.
pub(crate) fn read(value: &Value) -> Result<Properties, Failure> {
    let entries = match value {
        Value::Object(entries) => entries,
        Value::Array(entries) if entries.is_empty() => return Ok(Properties::default()),
        _ => return Err(Failure::bad_request(json!(["not_a_table", "properties"]))),
    };
    let mut properties = Properties::default();
    for (key, value) in entries {
        let text = match key.as_str() {
            "content_type" => &mut properties.content_type,
            "content_encoding" => &mut properties.content_encoding,
            "correlation_id" => &mut properties.correlation_id,
            "reply_to" => &mut properties.reply_to,
            "expiration" => &mut properties.expiration,
            "message_id" => &mut properties.message_id,
            "type" => &mut properties.kind,
            "user_id" => &mut properties.user_id,
            "app_id" => &mut properties.app_id,
            "cluster_id" => &mut properties.cluster_id,
            "headers" => {
                properties.headers = table(key, value)?;
                continue;
            }
            "delivery_mode" => {
                properties.delivery_mode = Some(delivery_mode(value)?);
                continue;
            }
            "priority" => {
                properties.priority = Some(number(key, value)?);
                continue;
            }
            "timestamp" => {
                properties.timestamp = Some(number(key, value)?);
                continue;
            }
            _ => continue,
        };
        *text = Some(short(key, value)?);
    }
    Ok(properties)
}

fn short(key: &str, value: &Value) -> Result<ShortString, Failure> {
    let text = value.as_str();
    let text = text.ok_or_else(|| Failure::bad_request(json!(["not_string", key])))?;
    crate::body::name(key, text)
}

fn number<T: TryFrom<u64>>(key: &str, value: &Value) -> Result<T, Failure> {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| Failure::bad_request(json!(["not_int", key])))
}

fn delivery_mode(value: &Value) -> Result<DeliveryMode, Failure> {
    match number::<u8>("delivery_mode", value)? {
        1 => Ok(DeliveryMode::Transient),
        2 => Ok(DeliveryMode::Persistent),
        other => Err(Failure::bad_request(format!(
            "delivery_mode must be 1 or 2, actually was {other}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn properties_come_back() {
        let all = json!({
            "content_type": "text/plain", "content_encoding": "e", "correlation_id": "c",
            "reply_to": "r", "expiration": "60000", "message_id": "m", "type": "t",
            "user_id": "guest", "app_id": "a", "cluster_id": "cl", "delivery_mode": 2,
            "priority": 1, "timestamp": 12345,
            "headers": {"h": 1, "t": {"a": [1, "b", true, 1.5]}},
        });
        assert_eq!(view(&read(&all).unwrap()), all);
        for none in [json!({}), json!([]), json!({"unknown": 1})] {
            assert_eq!(view(&read(&none).unwrap()), json!([]));
        }
    }

    #[test]
    fn property_of_another_type_is_named() {
        for (properties, reason) in [
            (json!({"priority": "high"}), json!(["not_int", "priority"])),
            (json!({"priority": 256}), json!(["not_int", "priority"])),
            (
                json!({"expiration": 6}),
                json!(["not_string", "expiration"]),
            ),
            (json!({"headers": {"a": null}}), json!("null_not_allowed")),
            (json!("x"), json!(["not_a_table", "properties"])),
        ] {
            let expected = Failure::bad_request(reason);
            assert_eq!(read(&properties).unwrap_err(), expected, "{properties}");
        }
    }
}
