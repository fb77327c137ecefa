//! Methods, properties and tables made of random bytes.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use mooq_core::{
    ConsumerTag, Decimal, DeliveryMode, ExchangeKind, ExchangeName, FieldTable, FieldValue,
    Properties, QueueName, RoutingKey, ShortString, VirtualHost,
};
use mooq_wire::method::*;

/// A type that can be made from random bytes.
pub(crate) trait Generate: Sized {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self>;
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Generate for $type {
            fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
                u.arbitrary()
            }
        }
    )+};
}
numbers!(bool, u8, u16, u32, u64);

/// Up to 255 bytes of text, seldom long.
fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let most = if u.ratio(1, 8)? { 255 } else { 12 };
    let mut text = String::new();
    for _ in 0..u.int_in_range(0..=most)? {
        let character: char = u.arbitrary()?;
        if text.len() + character.len_utf8() > most {
            break;
        }
        text.push(character);
    }
    Ok(text)
}

macro_rules! texts {
    ($($type:ty),+) => {$(
        impl Generate for $type {
            fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
                Ok(Self::try_from(&*text(u)?).expect("at most 255 bytes"))
            }
        }
    )+};
}
texts!(
    ConsumerTag,
    ExchangeKind,
    ExchangeName,
    QueueName,
    RoutingKey,
    ShortString,
    VirtualHost
);

impl Generate for String {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        text(u)
    }
}

impl Generate for Bytes {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        let length = u.int_in_range(0..=40)?;
        Ok(Bytes::copy_from_slice(u.bytes(length)?))
    }
}

impl<T: Generate> Generate for Option<T> {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.arbitrary()? {
            true => Some(T::generate(u)?),
            false => None,
        })
    }
}

impl Generate for FieldTable {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        table(u, 4)
    }
}

fn table(u: &mut Unstructured<'_>, levels: u8) -> Result<FieldTable> {
    let mut table = FieldTable::new();
    for _ in 0..u.int_in_range(0..=5)? {
        table.insert(ShortString::generate(u)?, value(u, levels)?);
    }
    Ok(table)
}

fn value(u: &mut Unstructured<'_>, levels: u8) -> Result<FieldValue> {
    let kinds = if levels > 0 { 16 } else { 14 };
    Ok(match u.int_in_range(0..=kinds)? {
        0 => FieldValue::Void,
        1 => FieldValue::Bool(u.arbitrary()?),
        2 => FieldValue::I8(u.arbitrary()?),
        3 => FieldValue::U8(u.arbitrary()?),
        4 => FieldValue::I16(u.arbitrary()?),
        5 => FieldValue::U16(u.arbitrary()?),
        6 => FieldValue::I32(u.arbitrary()?),
        7 => FieldValue::U32(u.arbitrary()?),
        8 => FieldValue::I64(u.arbitrary()?),
        // NaN is not equal to itself.
        9 => FieldValue::F32(u.arbitrary::<i16>()?.into()),
        10 => FieldValue::F64(u.arbitrary::<i32>()?.into()),
        11 => FieldValue::Decimal(Decimal {
            scale: u.arbitrary()?,
            value: u.arbitrary()?,
        }),
        12 => FieldValue::String(text(u)?),
        13 => FieldValue::Bytes(Bytes::generate(u)?),
        14 => FieldValue::Timestamp(u.arbitrary()?),
        15 => {
            let mut values = Vec::new();
            for _ in 0..u.int_in_range(0..=3)? {
                values.push(value(u, levels - 1)?);
            }
            FieldValue::Array(values)
        }
        _ => FieldValue::Table(table(u, levels - 1)?),
    })
}

impl Generate for DeliveryMode {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.arbitrary()? {
            true => Self::Persistent,
            false => Self::Transient,
        })
    }
}

impl Generate for Properties {
    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        let mut properties = Self::default();
        properties.content_type = Generate::generate(u)?;
        properties.content_encoding = Generate::generate(u)?;
        properties.headers = Generate::generate(u)?;
        properties.delivery_mode = Generate::generate(u)?;
        properties.priority = Generate::generate(u)?;
        properties.correlation_id = Generate::generate(u)?;
        properties.reply_to = Generate::generate(u)?;
        properties.expiration = Generate::generate(u)?;
        properties.message_id = Generate::generate(u)?;
        properties.timestamp = Generate::generate(u)?;
        properties.kind = Generate::generate(u)?;
        properties.user_id = Generate::generate(u)?;
        properties.app_id = Generate::generate(u)?;
        properties.cluster_id = Generate::generate(u)?;
        Ok(properties)
    }
}

macro_rules! methods {
    ($($name:ident { $($field:ident),* })+) => {
        impl Generate for Method {
            fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
                let makers: &[fn(&mut Unstructured<'_>) -> Result<Self>] = &[$(
                    |_u| Ok($name { $($field: Generate::generate(_u)?,)* }.into()),
                )+];
                assert_eq!(makers.len(), Method::ALL.len(), "every method is generated");
                u.choose(makers)?(u)
            }
        }
    };
}

methods! {
    ConnectionStart { version_major, version_minor, server_properties, mechanisms, locales }
    ConnectionStartOk { client_properties, mechanism, response, locale }
    ConnectionSecure { challenge }
    ConnectionSecureOk { response }
    ConnectionTune { channel_max, frame_max, heartbeat }
    ConnectionTuneOk { channel_max, frame_max, heartbeat }
    ConnectionOpen { virtual_host }
    ConnectionOpenOk {}
    ConnectionClose { reply_code, reply_text, class_id, method_id }
    ConnectionCloseOk {}
    ConnectionBlocked { reason }
    ConnectionUnblocked {}
    ConnectionUpdateSecret { new_secret, reason }
    ConnectionUpdateSecretOk {}
    ChannelOpen {}
    ChannelOpenOk {}
    ChannelFlow { active }
    ChannelFlowOk { active }
    ChannelClose { reply_code, reply_text, class_id, method_id }
    ChannelCloseOk {}
    AccessRequest { realm, exclusive, passive, active, write, read }
    AccessRequestOk { ticket }
    ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, nowait, arguments }
    ExchangeDeclareOk {}
    ExchangeDelete { exchange, if_unused, nowait }
    ExchangeDeleteOk {}
    ExchangeBind { destination, source, routing_key, nowait, arguments }
    ExchangeBindOk {}
    ExchangeUnbind { destination, source, routing_key, nowait, arguments }
    ExchangeUnbindOk {}
    QueueDeclare { queue, passive, durable, exclusive, auto_delete, nowait, arguments }
    QueueDeclareOk { queue, message_count, consumer_count }
    QueueBind { queue, exchange, routing_key, nowait, arguments }
    QueueBindOk {}
    QueuePurge { queue, nowait }
    QueuePurgeOk { message_count }
    QueueDelete { queue, if_unused, if_empty, nowait }
    QueueDeleteOk { message_count }
    QueueUnbind { queue, exchange, routing_key, arguments }
    QueueUnbindOk {}
    BasicQos { prefetch_size, prefetch_count, global }
    BasicQosOk {}
    BasicConsume { queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments }
    BasicConsumeOk { consumer_tag }
    BasicCancel { consumer_tag, nowait }
    BasicCancelOk { consumer_tag }
    BasicPublish { exchange, routing_key, mandatory, immediate }
    BasicReturn { reply_code, reply_text, exchange, routing_key }
    BasicDeliver { consumer_tag, delivery_tag, redelivered, exchange, routing_key }
    BasicGet { queue, no_ack }
    BasicGetOk { delivery_tag, redelivered, exchange, routing_key, message_count }
    BasicGetEmpty {}
    BasicAck { delivery_tag, multiple }
    BasicReject { delivery_tag, requeue }
    BasicRecoverAsync { requeue }
    BasicRecover { requeue }
    BasicRecoverOk {}
    BasicNack { delivery_tag, multiple, requeue }
    ConfirmSelect { nowait }
    ConfirmSelectOk {}
    TxSelect {}
    TxSelectOk {}
    TxCommit {}
    TxCommitOk {}
    TxRollback {}
    TxRollbackOk {}
}
