//! A message as a line of JSON.

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mooq::bytes::Bytes;
use mooq::{Delivery, DeliveryMode, Properties};
use serde_json::{Map, Value};

use crate::header::to_object;

/// A delivery as an object: `exchange`, `routing_key`, `redelivered`, `properties`, `headers` if
/// there are any, and the body: as `body` if it is text in UTF-8, as `body_base64` otherwise.
pub(crate) fn to_json(delivery: &Delivery<Bytes>) -> Value {
    let mut object = Map::new();
    let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
    add("exchange", delivery.exchange.as_str().into());
    add("routing_key", delivery.routing_key.as_str().into());
    add("redelivered", delivery.redelivered.into());
    add("properties", properties(&delivery.properties));
    if !delivery.properties.headers.is_empty() {
        add("headers", to_object(&delivery.properties.headers));
    }
    match str::from_utf8(&delivery.msg) {
        Ok(text) => add("body", text.into()),
        Err(_) => add("body_base64", STANDARD.encode(&delivery.msg).into()),
    };
    Value::Object(object)
}

/// The properties that a message has, by their names in AMQP. Headers are not among them.
fn properties(properties: &Properties) -> Value {
    let texts = [
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
    ];
    let texts = texts.into_iter();
    let texts = texts.filter_map(|(name, text)| Some((name, Value::from(text.as_deref()?))));
    let mode = properties.delivery_mode.map(|mode| match mode {
        DeliveryMode::Transient => Value::from(1),
        DeliveryMode::Persistent => Value::from(2),
    });
    let others = [
        ("delivery_mode", mode),
        ("priority", properties.priority.map(Value::from)),
        ("timestamp", properties.timestamp.map(Value::from)),
    ];
    let others = others.into_iter();
    let others = others.filter_map(|(name, value)| Some((name, value?)));
    let all = texts.chain(others);
    Value::Object(all.map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn message_has_the_properties_and_headers_that_are_set() {
        let mut delivery = Delivery::new(Bytes::from_static(b"a pencil"));
        delivery.exchange = "orders".try_into().unwrap();
        let mut properties = Properties::default();
        properties.delivery_mode = Some(DeliveryMode::Persistent);
        properties.kind = Some("order".try_into().unwrap());
        let attempt = "attempt".try_into().unwrap();
        properties.headers.insert(attempt, 1);
        delivery.properties = Arc::new(properties);
        let expected = json!({
            "exchange": "orders",
            "routing_key": "",
            "redelivered": false,
            "properties": {"delivery_mode": 2, "type": "order"},
            "headers": {"attempt": 1},
            "body": "a pencil",
        });
        assert_eq!(to_json(&delivery), expected);
    }

    #[test]
    fn body_that_is_no_text_is_base64() {
        let json = to_json(&Delivery::new(Bytes::from_static(&[0xff, 0])));
        assert_eq!(json.get("body_base64"), Some(&json!("/wA=")));
        assert_eq!(json.get("body"), None);
    }
}
