//! The basic properties as a content header encodes them (AMQP 0-9-1, 4.2.6.1): a word of flags
//! shows which of them are present.

use mooq_core::{DeliveryMode, Properties};

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
            $(
                if flags & 1 << $bit != 0 {
                    properties.$name = PropertyField::read(reader)?;
                }
            )+
            Ok(properties)
        }

        pub(crate) fn write(properties: &Properties, writer: &mut Writer<'_>) {
            let mut flags = 0;
            $(
                if properties.$name.is_present() {
                    flags |= 1 << $bit;
                }
            )+
            writer.u16(flags);
            $(
                if properties.$name.is_present() {
                    PropertyField::write(&properties.$name, writer);
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

/// An empty table of headers counts as absent, as it does in [`Properties`].
impl PropertyField for mooq_core::FieldTable {
    fn is_present(&self) -> bool {
        !self.is_empty()
    }

    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Field::read(reader)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        Field::write(self, writer);
    }
}

/// RabbitMQ takes 2 for persistent and every other number for transient.
impl Field for DeliveryMode {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
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
