//! The types of a method's fields, and their encoding on the wire.

use bytes::Bytes;
use mooq_core::{
    ConsumerTag, ExchangeKind, ExchangeName, FieldTable, QueueName, RoutingKey, ShortString,
    VirtualHost,
};

use crate::error::DecodeError;
use crate::reader::Reader;
use crate::table;
use crate::writer::Writer;

/// A type of a method's fields.
pub trait Field: Sized {
    /// Reads a field.
    ///
    /// # Errors
    /// The error of a malformed field.
    fn read(reader: &mut Reader) -> Result<Self, DecodeError>;

    /// Writes the field.
    fn write(&self, writer: &mut Writer<'_>);
}

macro_rules! integers {
    ($($type:ident),+) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
                reader.$type()
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.$type(*self);
            }
        }
    )+};
}
integers!(u8, u16, u32, u64);

/// A bit. Consecutive bits share an octet.
impl Field for bool {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.bit()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bit(*self);
    }
}

/// A long string.
impl Field for Bytes {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.long_string()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.long_string(self);
    }
}

impl Field for FieldTable {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        table::read(reader)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        table::write(self, writer);
    }
}

macro_rules! short_strings {
    ($($type:ident),+) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
                // A value read from a short string is short enough to be a name.
                reader.short_string(|text| Self::try_from(text).unwrap_or_default())
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.short_string(self);
            }
        }
    )+};
}
short_strings!(
    ConsumerTag,
    ExchangeName,
    QueueName,
    RoutingKey,
    ShortString,
    VirtualHost
);

/// A reply text, cut to 255 bytes if it is longer.
impl Field for String {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.short_string(str::to_owned)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.short_string(self);
    }
}

impl Field for ExchangeKind {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.short_string(|text| {
            Self::try_from(text).unwrap_or_else(|_| Self::Other(ShortString::default()))
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.short_string(self.as_str());
    }
}
