//! Field tables (AMQP 0-9-1, 4.2.5.5), with the types that RabbitMQ gives their letters
//! ([errata](https://www.rabbitmq.com/amqp-0-9-1-errata#section_3)).

use bytes::Bytes;
use mooq_core::{Decimal, FieldTable, FieldValue, ShortString};

use crate::error::DecodeError;
use crate::field::Field;
use crate::limits::Limits;
use crate::reader::Reader;
use crate::writer::Writer;

/// Reads a table. If a key occurs twice, the first value counts, as it does in RabbitMQ.
pub(crate) fn read(reader: &mut Reader) -> Result<FieldTable, DecodeError> {
    let levels = reader.table_depth;
    read_table(reader, levels)
}

/// Reads the entries of a table without a length field before them: the response of the mechanism
/// AMQPLAIN.
///
/// # Errors
/// The error of a malformed entry.
pub fn decode_entries(bytes: Bytes, limits: &Limits) -> Result<FieldTable, DecodeError> {
    let mut reader = Reader::new(bytes, limits);
    read_entries(&mut reader, limits.table_depth)
}

/// Reads a table with its length. `levels` bounds the recursion: it is the number of further tables
/// and arrays that may be nested.
fn read_table(reader: &mut Reader, levels: u8) -> Result<FieldTable, DecodeError> {
    let (mut entries, levels) = open(reader, levels, "a table")?;
    let table = read_entries(&mut entries, levels)?;
    reader.is_inexact |= entries.is_inexact;
    Ok(table)
}

fn read_entries(entries: &mut Reader, levels: u8) -> Result<FieldTable, DecodeError> {
    let mut table = FieldTable::new();
    while entries.remaining() > 0 {
        let key = ShortString::read(entries)?;
        match read_value(entries, levels) {
            Ok(value) if table.get(&key).is_none() => drop(table.insert(key, value)),
            Ok(_) => {}
            // A value's container is taken as a whole before its contents are read, so the next
            // entry follows here. Only the outermost table is kept, without the value.
            Err(DecodeError::TooDeep(_))
                if entries.records_deep_values && levels + 1 == entries.table_depth =>
            {
                table.refuse(key);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(table)
}

fn read_array(reader: &mut Reader, levels: u8) -> Result<Vec<FieldValue>, DecodeError> {
    let (mut values, levels) = open(reader, levels, "an array")?;
    let mut array = Vec::new();
    while values.remaining() > 0 {
        array.push(read_value(&mut values, levels)?);
    }
    reader.is_inexact |= values.is_inexact;
    Ok(array)
}

/// Enters a table or an array. Returns a reader of its contents, and the number of levels left
/// there.
fn open(
    reader: &mut Reader,
    levels: u8,
    within: &'static str,
) -> Result<(Reader, u8), DecodeError> {
    let levels = levels
        .checked_sub(1)
        .ok_or(DecodeError::TooDeep(reader.table_depth))?;
    let length = reader.u32()?;
    Ok((reader.nested(length as usize, within)?, levels))
}

fn read_value(reader: &mut Reader, levels: u8) -> Result<FieldValue, DecodeError> {
    Ok(match reader.u8()? {
        b't' => FieldValue::Bool(reader.u8()? != 0),
        b'b' => FieldValue::I8(reader.u8()?.cast_signed()),
        b'B' => FieldValue::U8(reader.u8()?),
        b's' => FieldValue::I16(reader.u16()?.cast_signed()),
        b'u' => FieldValue::U16(reader.u16()?),
        b'I' => FieldValue::I32(reader.u32()?.cast_signed()),
        b'i' => FieldValue::U32(reader.u32()?),
        // Both are signed, as RabbitMQ reads them; py-amqp writes the second.
        b'l' | b'L' => FieldValue::I64(reader.u64()?.cast_signed()),
        b'f' => {
            let float = f32::from_bits(reader.u32()?);
            check_finite(float.into())?;
            FieldValue::F32(float)
        }
        b'd' => {
            let float = f64::from_bits(reader.u64()?);
            check_finite(float)?;
            FieldValue::F64(float)
        }
        b'D' => FieldValue::Decimal(Decimal {
            scale: reader.u8()?,
            value: reader.u32()?.cast_signed(),
        }),
        b'S' => {
            let bytes = reader.long_string()?;
            match std::str::from_utf8(&bytes) {
                Ok(text) => FieldValue::String(text.to_owned()),
                // AMQP lets a long string hold any bytes.
                Err(_) => {
                    reader.is_inexact = true;
                    FieldValue::Bytes(bytes)
                }
            }
        }
        b'x' => FieldValue::Bytes(reader.long_string()?),
        b'A' => FieldValue::Array(read_array(reader, levels)?),
        b'T' => FieldValue::Timestamp(reader.u64()?),
        b'F' => FieldValue::Table(read_table(reader, levels)?),
        b'V' => FieldValue::Void,
        letter => return Err(DecodeError::FieldType(letter.into())),
    })
}

/// Checks that a float is finite: RabbitMQ refuses others.
fn check_finite(float: f64) -> Result<(), DecodeError> {
    if float.is_finite() {
        return Ok(());
    }
    Err(DecodeError::NotFinite(if float.is_nan() {
        "NaN"
    } else if float > 0.0 {
        "infinity"
    } else {
        "-infinity"
    }))
}

/// Writes a table, in its order of keys.
pub(crate) fn write(table: &FieldTable, writer: &mut Writer<'_>) {
    writer.length_first(|writer| {
        for (key, value) in table {
            writer.short_string(key);
            write_value(value, writer);
        }
    });
}

fn write_value(value: &FieldValue, writer: &mut Writer<'_>) {
    match value {
        FieldValue::Bool(v) => {
            writer.u8(b't');
            writer.u8((*v).into());
        }
        FieldValue::I8(v) => {
            writer.u8(b'b');
            writer.u8(v.cast_unsigned());
        }
        FieldValue::U8(v) => {
            writer.u8(b'B');
            writer.u8(*v);
        }
        FieldValue::I16(v) => {
            writer.u8(b's');
            writer.u16(v.cast_unsigned());
        }
        FieldValue::U16(v) => {
            writer.u8(b'u');
            writer.u16(*v);
        }
        FieldValue::I32(v) => {
            writer.u8(b'I');
            writer.u32(v.cast_unsigned());
        }
        FieldValue::U32(v) => {
            writer.u8(b'i');
            writer.u32(*v);
        }
        FieldValue::I64(v) => {
            writer.u8(b'l');
            writer.u64(v.cast_unsigned());
        }
        FieldValue::F32(v) => {
            writer.u8(b'f');
            writer.u32(v.to_bits());
        }
        FieldValue::F64(v) => {
            writer.u8(b'd');
            writer.u64(v.to_bits());
        }
        FieldValue::Decimal(v) => {
            writer.u8(b'D');
            writer.u8(v.scale);
            writer.u32(v.value.cast_unsigned());
        }
        FieldValue::String(v) => {
            writer.u8(b'S');
            writer.long_string(v.as_bytes());
        }
        FieldValue::Bytes(v) => {
            writer.u8(b'x');
            writer.long_string(v);
        }
        FieldValue::Array(values) => {
            writer.u8(b'A');
            writer.length_first(|writer| {
                for value in values {
                    write_value(value, writer);
                }
            });
        }
        FieldValue::Timestamp(v) => {
            writer.u8(b'T');
            writer.u64(*v);
        }
        FieldValue::Table(table) => {
            writer.u8(b'F');
            write(table, writer);
        }
        // If `mooq-core` adds a type, its letter goes here.
        _ => writer.u8(b'V'),
    }
}
