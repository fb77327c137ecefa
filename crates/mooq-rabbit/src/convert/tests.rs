use std::sync::Arc;

use mooq_core::{ExchangeKind, Message};

use super::*;

fn every_type() -> Vec<(&'static str, FieldValue)> {
    let nested = FieldTable::new().with("deep", FieldValue::Void).unwrap();
    vec![
        ("t", FieldValue::Bool(true)),
        ("b", FieldValue::I8(i8::MIN)),
        ("B", FieldValue::U8(u8::MAX)),
        ("s", FieldValue::I16(i16::MIN)),
        ("u", FieldValue::U16(u16::MAX)),
        ("I", FieldValue::I32(i32::MIN)),
        ("i", FieldValue::U32(u32::MAX)),
        ("l", FieldValue::I64(i64::MIN)),
        ("f", FieldValue::F32(f32::MIN_POSITIVE)),
        ("d", FieldValue::F64(f64::MAX)),
        (
            "D",
            FieldValue::Decimal(Decimal {
                scale: u8::MAX,
                value: i32::MIN,
            }),
        ),
        ("S", FieldValue::String("Decimal(1, 2)\0é".into())),
        ("x", FieldValue::Bytes(Bytes::from_static(&[0, 255]))),
        ("A", FieldValue::Array(vec![])),
        ("T", FieldValue::Timestamp(u64::MAX)),
        ("F", FieldValue::Table(nested)),
        ("V", FieldValue::Void),
    ]
}

fn text(text: &str) -> Option<ShortString> {
    Some(text.try_into().unwrap())
}

fn every_property() -> Properties {
    let mut properties = Properties::default();
    properties.content_type = text("1");
    properties.content_encoding = text("2");
    properties.headers = FieldTable::new().with("3", 3).unwrap();
    properties.delivery_mode = Some(DeliveryMode::Transient);
    properties.priority = Some(255);
    properties.correlation_id = text("6");
    properties.reply_to = text("7");
    properties.expiration = text(&"8".repeat(255));
    properties.message_id = text("9");
    properties.timestamp = Some(10);
    properties.kind = text("11");
    properties.user_id = text("12");
    properties.app_id = text("13");
    properties.cluster_id = text("");
    properties
}

#[test]
fn every_field_type_comes_back_as_it_was() {
    for (tag, field) in every_type() {
        let levels = FieldTable::MAX_DEPTH;
        assert_eq!(value_from(&value(&field), levels), Some(field), "{tag}");
    }
    let all: FieldTable = every_type()
        .into_iter()
        .map(|(key, value)| (key.try_into().unwrap(), value))
        .collect();
    assert_eq!(table_from(&table(&all)), all);
    let array = FieldValue::Array(vec![FieldValue::Table(all), FieldValue::Array(vec![])]);
    let levels = FieldTable::MAX_DEPTH;
    assert_eq!(value_from(&value(&array), levels), Some(array));
}

#[test]
fn every_property_comes_back_as_it_was() {
    for given in [Properties::default(), every_property()] {
        assert_eq!(properties_from(&properties(&given)), given);
    }
}

#[test]
fn empty_headers_are_absent_on_the_wire() {
    assert!(properties(&Properties::default()).headers().is_none());
    let mut empty = BasicProperties::default();
    empty.with_headers(AmqpTable::new());
    assert_eq!(properties_from(&empty), Properties::default());
}

#[test]
fn delivery_modes_that_do_not_exist_are_transient() {
    for mode in [0, 1, 3, 255] {
        let mut odd = BasicProperties::default();
        odd.with_delivery_mode(mode);
        let mode = properties_from(&odd).delivery_mode;
        assert_eq!(mode, Some(DeliveryMode::Transient));
    }
    let mut two = BasicProperties::default();
    two.with_delivery_mode(2);
    let mode = properties_from(&two).delivery_mode;
    assert_eq!(mode, Some(DeliveryMode::Persistent));
}

#[test]
fn a_publish_keeps_its_flags_and_its_body() {
    let body = Bytes::from(vec![1, 2, 3]);
    let bytes_at = body.as_ptr();
    let mut given = Publish::new(Message {
        exchange: "x".try_into().unwrap(),
        routing_key: "a.b".try_into().unwrap(),
        properties: Arc::new(Properties::default()),
        body,
    });
    given.mandatory = true;
    let (_, body, args) = publish(given);
    assert_eq!(body, [1, 2, 3]);
    assert_eq!(body.as_ptr(), bytes_at, "not copied");
    assert_eq!(
        (args.exchange.as_str(), args.routing_key.as_str()),
        ("x", "a.b")
    );
    assert!(args.mandatory && !args.immediate);
}

#[test]
fn every_request_asks_for_an_answer() {
    let queue: QueueName = "q".try_into().unwrap();
    let exchange: ExchangeName = "x".try_into().unwrap();
    let consume = consume(&Consume {
        no_ack: true,
        ..Consume::new(queue.clone())
    });
    assert!(consume.no_ack && !consume.no_wait);
    assert_eq!(consume.consumer_tag, "", "the broker chooses");
    assert!(!queue_delete(&queue, true, true).no_wait);
    assert!(!queue_purge(&queue).no_wait);
    assert!(!cancel(&ConsumerTag::default()).no_wait);
    assert!(!confirm().no_wait);
    assert!(!exchange_delete(&exchange, true).no_wait);
    let declare = ExchangeDeclare::new(exchange, ExchangeKind::Topic);
    let declare = exchange_declare(&declare);
    assert!(declare.durable && !declare.no_wait);
    assert_eq!(declare.exchange_type, "topic");
}

/// The headers of a message, with a header `deep` in which this many tables or arrays nest.
fn nested(levels: usize, outer: impl Fn(AmqpValue) -> AmqpValue) -> AmqpTable {
    let mut table = AmqpTable::new();
    let deep = (0..levels).fold(AmqpValue::V, |inner, _| outer(inner));
    table.insert("deep".try_into().unwrap(), deep);
    table.insert("flat".try_into().unwrap(), AmqpValue::I(7));
    table
}

#[test]
fn table_that_nests_too_deep_is_noted_and_the_rest_taken() {
    let table = |inner| {
        let mut table = AmqpTable::new();
        table.insert("t".try_into().unwrap(), inner);
        AmqpValue::F(table)
    };
    let array = |inner| AmqpValue::A(vec![inner].try_into().unwrap());
    for levels in [1, 100, 101, 300] {
        for read in [
            table_from(&nested(levels, table)),
            table_from(&nested(levels, array)),
        ] {
            let is_taken = levels <= FieldTable::MAX_DEPTH;
            assert_eq!(read.get("deep").is_some(), is_taken, "{levels}");
            assert_eq!(read.too_deep().is_none(), is_taken, "{levels}");
            assert_eq!(read.get("flat"), Some(&FieldValue::I32(7)));
        }
    }
}
