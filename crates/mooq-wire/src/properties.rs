//! The basic properties as a content header encodes them (AMQP 0-9-1, 4.2.6.1): a word of flags
//! shows which of them are present.

use std::sync::Arc;

use bytes::Bytes;
use mooq_core::{DeliveryMode, Properties, Verbatim};

use crate::error::DecodeError;
use crate::field::Field;
use crate::reader::Reader;
use crate::writer::Writer;

/// Reads and writes each property in the order of its flag, the highest first.
macro_rules! properties {
    ($($name:ident = $bit:literal),+ $(,)?) => {
        pub(crate) fn read(reader: &mut Reader) -> Result<Properties, DecodeError> {
            // The lowest two bits have no meaning: RabbitMQ ignores them.
            let flags = reader.u16()?;
            let mut properties = Properties::default();
            let mut octets = Vec::new();
            $(
                if flags & 1 << $bit != 0 {
                    let before = reader.rest().clone();
                    properties.$name = PropertyField::read(reader)?;
                    if std::mem::take(&mut reader.is_inexact) {
                        let length = before.len() - reader.remaining();
                        // Copied, so that they do not keep the whole frame in memory.
                        octets.push(($bit, Bytes::copy_from_slice(&before[..length])));
                    }
                }
            )+
            if !octets.is_empty() {
                let decoded = properties.clone();
                properties.verbatim = Some(Arc::new(Verbatim { decoded, octets }));
            }
            Ok(properties)
        }

        pub(crate) fn write(properties: &Properties, writer: &mut Writer<'_>) {
            let mut flags = 0;
            // The octets of a property that has not been changed since they were read.
            let verbatim = |bit| {
                let verbatim = properties.verbatim.as_deref()?;
                let (_, octets) = verbatim.octets.iter().find(|(other, _)| *other == bit)?;
                Some((&verbatim.decoded, octets))
            };
            $(
                let $name = verbatim($bit)
                    .filter(|(decoded, _)| decoded.$name == properties.$name)
                    .map(|(_, octets)| octets);
                if $name.is_some() || properties.$name.is_present() {
                    flags |= 1 << $bit;
                }
            )+
            writer.u16(flags);
            $(
                match $name {
                    Some(octets) => writer.bytes(octets),
                    None if properties.$name.is_present() => {
                        PropertyField::write(&properties.$name, writer);
                    }
                    None => {}
                }
            )+
        }
    };
}

properties! {
    content_type = 15,
    content_encoding = 14,
    headers = 13,
    delivery_mode = 12,
    priority = 11,
    correlation_id = 10,
    reply_to = 9,
    expiration = 8,
    message_id = 7,
    timestamp = 6,
    kind = 5,
    user_id = 4,
    app_id = 3,
    cluster_id = 2,
}

/// A property, which may be absent.
trait PropertyField: Sized {
    fn is_present(&self) -> bool;
    fn read(reader: &mut Reader) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>);
}

impl<T: Field> PropertyField for Option<T> {
    fn is_present(&self) -> bool {
        self.is_some()
    }

    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        T::read(reader).map(Some)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        if let Some(value) = self {
            value.write(writer);
        }
    }
}

/// An empty table of headers counts as absent in [`Properties`], and not on the wire.
impl PropertyField for mooq_core::FieldTable {
    fn is_present(&self) -> bool {
        !self.is_empty()
    }

    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let table: Self = Field::read(reader)?;
        reader.is_inexact |= table.is_empty();
        Ok(table)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        Field::write(self, writer);
    }
}

/// RabbitMQ takes 2 for persistent and every other number for transient.
impl Field for DeliveryMode {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mode = reader.u8()?;
        reader.is_inexact |= !matches!(mode, 1 | 2);
        Ok(match mode {
            2 => Self::Persistent,
            _ => Self::Transient,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(match self {
            Self::Transient => 1,
            Self::Persistent => 2,
        });
    }
}
