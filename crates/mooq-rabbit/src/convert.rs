//! Conversion between mooq's types and amqprs' types.
//!
//! Every outgoing short string has been checked to be at most 255 bytes (amqprs panics on longer
//! ones). Every table is a sorted map without duplicates (amqprs would count a duplicate key twice,
//! and the broker would close the connection with 541). Every request asks for an answer; `channel`
//! changes that for requests that want none.

use std::sync::Arc;

use amqprs::channel::{
    BasicAckArguments, BasicCancelArguments, BasicConsumeArguments, BasicGetArguments,
    BasicNackArguments, BasicPublishArguments, BasicQosArguments, BasicRejectArguments,
    ConfirmSelectArguments, ConsumerMessage, ExchangeBindArguments, ExchangeDeclareArguments,
    ExchangeDeleteArguments, ExchangeUnbindArguments, GetMessage, QueueBindArguments,
    QueueDeclareArguments, QueueDeleteArguments, QueuePurgeArguments, QueueUnbindArguments,
};
use amqprs::{
    BasicProperties, Close, CloseChannel, DELIVERY_MODE_PERSISTENT, DELIVERY_MODE_TRANSIENT,
    DecimalValue, FieldTable as AmqpTable, FieldValue as AmqpValue, Return,
};
use bytes::Bytes;
use mooq_core::in_flight::InFlight;
use mooq_core::{
    Binding, CloseReason, Consume, ConsumerTag, Decimal, Deliver, DeliveryMode, ExchangeDeclare,
    ExchangeName, Fetched, FieldTable, FieldValue, Message, Properties, Publish, QueueDeclare,
    QueueDeclared, QueueName, Returned, RoutingKey, Settle, ShortString,
};

/// A name that the broker sent as a short string, which is never too long.
pub(crate) fn name<'a, T: TryFrom<&'a str> + Default>(text: &'a str) -> T {
    T::try_from(text).unwrap_or_default()
}

// Closing.

pub(crate) fn channel_close(close: &CloseChannel) -> CloseReason {
    CloseReason {
        code: close.reply_code(),
        text: close.reply_text().clone(),
        class_id: close.class_id(),
        method_id: close.method_id(),
    }
}

pub(crate) fn connection_close(close: &Close) -> CloseReason {
    CloseReason {
        code: close.reply_code(),
        text: close.reply_text().clone(),
        class_id: close.class_id(),
        method_id: close.method_id(),
    }
}

// Exchanges, queues and bindings.

pub(crate) fn exchange_declare(declare: &ExchangeDeclare) -> ExchangeDeclareArguments {
    let mut args = ExchangeDeclareArguments::new(&declare.name, declare.kind.as_str());
    args.passive(declare.passive)
        .durable(declare.durable)
        .auto_delete(declare.auto_delete)
        .internal(declare.internal)
        .arguments(table(&declare.arguments));
    args
}

pub(crate) fn exchange_delete(name: &ExchangeName, if_unused: bool) -> ExchangeDeleteArguments {
    let mut args = ExchangeDeleteArguments::new(name);
    args.if_unused(if_unused);
    args
}

pub(crate) fn exchange_bind(binding: &Binding, to: &ExchangeName) -> ExchangeBindArguments {
    let mut args = ExchangeBindArguments::new(to, &binding.source, &binding.routing_key);
    args.arguments(table(&binding.arguments));
    args
}

pub(crate) fn exchange_unbind(binding: &Binding, from: &ExchangeName) -> ExchangeUnbindArguments {
    let mut args = ExchangeUnbindArguments::new(from, &binding.source, &binding.routing_key);
    args.arguments(table(&binding.arguments));
    args
}

pub(crate) fn queue_bind(binding: &Binding, to: &QueueName) -> QueueBindArguments {
    let mut args = QueueBindArguments::new(to, &binding.source, &binding.routing_key);
    args.arguments(table(&binding.arguments));
    args
}

pub(crate) fn queue_unbind(binding: &Binding, from: &QueueName) -> QueueUnbindArguments {
    let mut args = QueueUnbindArguments::new(from, &binding.source, &binding.routing_key);
    args.arguments(table(&binding.arguments));
    args
}

pub(crate) fn queue_declare(declare: &QueueDeclare) -> QueueDeclareArguments {
    let mut args = QueueDeclareArguments::new(&declare.name);
    args.passive(declare.passive)
        .durable(declare.durable)
        .exclusive(declare.exclusive)
        .auto_delete(declare.auto_delete)
        .arguments(table(&declare.arguments));
    args
}

pub(crate) fn queue_declared(answer: Option<(String, u32, u32)>) -> QueueDeclared {
    // `None` is the answer to a request with `nowait`, which this is not.
    let (queue, message_count, consumer_count) = answer.unwrap_or_default();
    QueueDeclared {
        name: name(&queue),
        message_count,
        consumer_count,
    }
}

pub(crate) fn queue_purge(name: &QueueName) -> QueuePurgeArguments {
    QueuePurgeArguments::new(name)
}

pub(crate) fn queue_delete(
    name: &QueueName,
    if_unused: bool,
    if_empty: bool,
) -> QueueDeleteArguments {
    let mut args = QueueDeleteArguments::new(name);
    args.if_unused(if_unused).if_empty(if_empty);
    args
}

// Consuming.

pub(crate) fn qos(prefetch_count: u16, global: bool) -> BasicQosArguments {
    BasicQosArguments::new(0, prefetch_count, global)
}

pub(crate) fn consume(consume: &Consume) -> BasicConsumeArguments {
    let mut args = BasicConsumeArguments::new(&consume.queue, &consume.tag);
    args.no_local(consume.no_local)
        .auto_ack(consume.no_ack)
        .exclusive(consume.exclusive)
        .arguments(table(&consume.arguments));
    args
}

pub(crate) fn cancel(tag: &ConsumerTag) -> BasicCancelArguments {
    BasicCancelArguments::new(tag)
}

pub(crate) fn get(queue: &QueueName, no_ack: bool) -> BasicGetArguments {
    let mut args = BasicGetArguments::new(queue);
    args.no_ack(no_ack);
    args
}

pub(crate) fn ack(settle: Settle) -> BasicAckArguments {
    BasicAckArguments::new(settle.delivery_tag, settle.multiple)
}

pub(crate) fn nack(settle: Settle, requeue: bool) -> BasicNackArguments {
    BasicNackArguments::new(settle.delivery_tag, settle.multiple, requeue)
}

pub(crate) fn reject(settle: Settle, requeue: bool) -> BasicRejectArguments {
    BasicRejectArguments::new(settle.delivery_tag, requeue)
}

/// Reads the deliveries of one consumer.
#[derive(Debug)]
pub(crate) struct DeliverReader {
    tag: ConsumerTag,
    /// Exchange, routing key and properties of the last delivery: most deliveries have the same,
    /// and share them.
    exchange: ExchangeName,
    routing_key: RoutingKey,
    properties: Arc<Properties>,
}

impl DeliverReader {
    pub(crate) fn new(tag: ConsumerTag) -> Self {
        Self {
            tag,
            exchange: ExchangeName::default(),
            routing_key: RoutingKey::default(),
            properties: Arc::default(),
        }
    }

    /// Returns the delivery in `message`. amqprs promises that every part of it is present.
    pub(crate) fn read(&mut self, message: ConsumerMessage) -> Option<Deliver> {
        let deliver = message.deliver?;
        if self.exchange != deliver.exchange().as_str() {
            self.exchange = name(deliver.exchange());
        }
        if self.routing_key != deliver.routing_key().as_str() {
            self.routing_key = name(deliver.routing_key());
        }
        let properties = properties_from(&message.basic_properties?);
        if *self.properties != properties {
            self.properties = Arc::new(properties);
        }
        Some(Deliver {
            consumer_tag: self.tag.clone(),
            delivery_tag: deliver.delivery_tag(),
            redelivered: deliver.redelivered(),
            message: Arc::new(Message {
                exchange: self.exchange.clone(),
                routing_key: self.routing_key.clone(),
                properties: Arc::clone(&self.properties),
                body: message.content?.into(),
            }),
            in_flight: InFlight::default(),
        })
    }
}

pub(crate) fn fetched((head, properties, body): GetMessage) -> Fetched {
    Fetched {
        delivery_tag: head.delivery_tag(),
        redelivered: head.redelivered(),
        message_count: head.message_count(),
        message: Arc::new(Message {
            exchange: name(head.exchange()),
            routing_key: name(head.routing_key()),
            properties: Arc::new(properties_from(&properties)),
            body: body.into(),
        }),
        in_flight: InFlight::default(),
    }
}

// Publishing.

pub(crate) fn confirm() -> ConfirmSelectArguments {
    ConfirmSelectArguments::new(false)
}

pub(crate) fn publish(publish: Publish) -> (BasicProperties, Vec<u8>, BasicPublishArguments) {
    let message = publish.message;
    let mut args = BasicPublishArguments::new(&message.exchange, &message.routing_key);
    args.mandatory(publish.mandatory)
        .immediate(publish.immediate);
    // The body is copied only if it is shared.
    (properties(&message.properties), message.body.into(), args)
}

pub(crate) fn returned(head: &Return, properties: &BasicProperties, body: Vec<u8>) -> Returned {
    Returned {
        reply_code: head.reply_code(),
        reply_text: head.reply_text().clone(),
        message: Arc::new(Message {
            exchange: name(head.exchange()),
            routing_key: name(head.routing_key()),
            properties: Arc::new(properties_from(properties)),
            body: body.into(),
        }),
    }
}

// Properties and tables.

fn properties(properties: &Properties) -> BasicProperties {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    BasicProperties::new(
        text(&properties.content_type),
        text(&properties.content_encoding),
        (!properties.headers.is_empty()).then(|| table(&properties.headers)),
        properties.delivery_mode.map(|mode| match mode {
            DeliveryMode::Transient => DELIVERY_MODE_TRANSIENT,
            DeliveryMode::Persistent => DELIVERY_MODE_PERSISTENT,
        }),
        properties.priority,
        text(&properties.correlation_id),
        text(&properties.reply_to),
        text(&properties.expiration),
        text(&properties.message_id),
        properties.timestamp,
        text(&properties.kind),
        text(&properties.user_id),
        text(&properties.app_id),
        text(&properties.cluster_id),
    )
}

fn properties_from(from: &BasicProperties) -> Properties {
    let text = |text: Option<&String>| text.map(|text| name(text));
    let mut properties = Properties::default();
    properties.content_type = text(from.content_type());
    properties.content_encoding = text(from.content_encoding());
    properties.headers = from.headers().map(table_from).unwrap_or_default();
    // RabbitMQ passes on any number that was published, and treats all but 2 as transient.
    properties.delivery_mode = from.delivery_mode().map(|mode| match mode {
        DELIVERY_MODE_PERSISTENT => DeliveryMode::Persistent,
        _ => DeliveryMode::Transient,
    });
    properties.priority = from.priority();
    properties.correlation_id = text(from.correlation_id());
    properties.reply_to = text(from.reply_to());
    properties.expiration = text(from.expiration());
    properties.message_id = text(from.message_id());
    properties.timestamp = from.timestamp();
    properties.kind = text(from.message_type());
    properties.user_id = text(from.user_id());
    properties.app_id = text(from.app_id());
    properties.cluster_id = text(from.cluster_id());
    properties
}

fn table(table: &FieldTable) -> AmqpTable {
    let mut to = AmqpTable::new();
    for (key, field) in table {
        // A key is a short string, so the conversion does not fail.
        if let Ok(key) = key.as_str().try_into() {
            to.insert(key, value(field));
        }
    }
    to
}

/// Converts a table. A value that nests deeper than mooq's tables allow is left out, and recorded
/// in the table.
fn table_from(table: &AmqpTable) -> FieldTable {
    let mut to = FieldTable::new();
    for (key, field) in table.as_ref() {
        let key = name(key.as_ref());
        match value_from(field, FieldTable::MAX_DEPTH) {
            Some(value) => drop(to.insert(key, value)),
            None => to.refuse(key),
        }
    }
    to
}

fn value(value: &FieldValue) -> AmqpValue {
    // Strings, arrays and byte arrays fail to convert from 4 GiB on, far more than a frame can
    // hold: such values are sent as void.
    match value {
        FieldValue::Bool(v) => AmqpValue::t(*v),
        FieldValue::I8(v) => AmqpValue::b(*v),
        FieldValue::U8(v) => AmqpValue::B(*v),
        FieldValue::I16(v) => AmqpValue::s(*v),
        FieldValue::U16(v) => AmqpValue::u(*v),
        FieldValue::I32(v) => AmqpValue::I(*v),
        FieldValue::U32(v) => AmqpValue::i(*v),
        FieldValue::I64(v) => AmqpValue::l(*v),
        FieldValue::F32(v) => AmqpValue::f(*v),
        FieldValue::F64(v) => AmqpValue::d(*v),
        FieldValue::Decimal(v) => AmqpValue::D(DecimalValue::new(v.scale, v.value)),
        FieldValue::String(v) => v.as_str().try_into().map_or(AmqpValue::V, AmqpValue::S),
        FieldValue::Bytes(v) => v.to_vec().try_into().map_or(AmqpValue::V, AmqpValue::x),
        FieldValue::Array(v) => {
            let values: Vec<_> = v.iter().map(self::value).collect();
            values.try_into().map_or(AmqpValue::V, AmqpValue::A)
        }
        FieldValue::Timestamp(v) => AmqpValue::T(*v),
        FieldValue::Table(v) => AmqpValue::F(table(v)),
        FieldValue::Void => AmqpValue::V,
        other => unknown(other),
    }
}

/// Stands in for field types that mooq-core may add. This crate is built with mooq-core, so there
/// are none.
fn unknown(value: &FieldValue) -> AmqpValue {
    tracing::error!(
        ?value,
        "a header of a type that is not known here is sent as void"
    );
    AmqpValue::V
}

/// Converts a value. Returns `None` if tables and arrays nest in `value` deeper than `levels`.
fn value_from(value: &AmqpValue, levels: usize) -> Option<FieldValue> {
    Some(match value {
        AmqpValue::t(v) => FieldValue::Bool(*v),
        AmqpValue::b(v) => FieldValue::I8(*v),
        AmqpValue::B(v) => FieldValue::U8(*v),
        AmqpValue::s(v) => FieldValue::I16(*v),
        AmqpValue::u(v) => FieldValue::U16(*v),
        AmqpValue::I(v) => FieldValue::I32(*v),
        AmqpValue::i(v) => FieldValue::U32(*v),
        AmqpValue::l(v) => FieldValue::I64(*v),
        AmqpValue::f(v) => FieldValue::F32(*v),
        AmqpValue::d(v) => FieldValue::F64(*v),
        AmqpValue::D(v) => decimal_from(v).map_or(FieldValue::Void, FieldValue::Decimal),
        AmqpValue::S(v) => FieldValue::String(v.as_ref().clone()),
        AmqpValue::x(v) => FieldValue::Bytes(Bytes::from(Vec::from(v.clone()))),
        // amqprs gives access to an array only as a whole.
        AmqpValue::A(v) => return array_from(v.clone().into(), levels),
        AmqpValue::T(v) => FieldValue::Timestamp(*v),
        AmqpValue::F(v) => {
            let below = levels.checked_sub(1)?;
            let mut to = FieldTable::new();
            for (key, field) in v.as_ref() {
                to.insert(name(key.as_ref()), value_from(field, below)?);
            }
            FieldValue::Table(to)
        }
        AmqpValue::V => FieldValue::Void,
    })
}

/// Converts an array like [`value_from`], without another copy of the arrays in it.
fn array_from(values: Vec<AmqpValue>, levels: usize) -> Option<FieldValue> {
    let below = levels.checked_sub(1)?;
    let values = values.into_iter().map(|value| match value {
        AmqpValue::A(values) => array_from(values.into(), below),
        value => value_from(&value, below),
    });
    values.collect::<Option<_>>().map(FieldValue::Array)
}

/// Parses a decimal. amqprs shows a decimal's two numbers only as text: `Decimal(2, 314)`.
fn decimal_from(value: &DecimalValue) -> Option<Decimal> {
    let text = value.to_string();
    let (scale, value) = text
        .strip_prefix("Decimal(")?
        .strip_suffix(')')?
        .split_once(", ")?;
    Some(Decimal {
        scale: scale.parse().ok()?,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;
