//! Tables of headers and arguments.

use std::collections::BTreeMap;
use std::collections::btree_map;

use bytes::Bytes;

use crate::error::Error;
use crate::name::{IntoChecked, ShortString};

/// A decimal number: `value` divided by ten to the power of `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// How many digits stand behind the decimal point.
    pub scale: u8,
    /// All digits, as one number.
    pub value: i32,
}

/// The value of a header or an argument, with every field type that RabbitMQ knows
/// ([AMQP 0-9-1 errata, section 3](https://www.rabbitmq.com/amqp-0-9-1-errata)).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FieldValue {
    /// `t`: true or false.
    Bool(bool),
    /// `b`: a signed 8-bit integer.
    I8(i8),
    /// `B`: an unsigned 8-bit integer.
    U8(u8),
    /// `s`: a signed 16-bit integer.
    I16(i16),
    /// `u`: an unsigned 16-bit integer.
    U16(u16),
    /// `I`: a signed 32-bit integer.
    I32(i32),
    /// `i`: an unsigned 32-bit integer.
    U32(u32),
    /// `l`: a signed 64-bit integer.
    I64(i64),
    /// `f`: a 32-bit float.
    F32(f32),
    /// `d`: a 64-bit float.
    F64(f64),
    /// `D`: a decimal.
    Decimal(Decimal),
    /// `S`: a long string.
    String(String),
    /// `x`: bytes.
    Bytes(Bytes),
    /// `A`: an array.
    Array(Vec<FieldValue>),
    /// `T`: seconds since the Unix epoch.
    Timestamp(u64),
    /// `F`: a nested table.
    Table(FieldTable),
    /// `V`: no value.
    Void,
}

/// The bytes of a long string's length, and of an array's and a table's.
const LENGTH: usize = size_of::<u32>();

impl FieldValue {
    /// The bytes on the wire, the letter of its type among them.
    fn encoded_len(&self) -> usize {
        1 + match self {
            Self::Void => 0,
            Self::Bool(_) | Self::I8(_) | Self::U8(_) => 1,
            Self::I16(_) | Self::U16(_) => 2,
            Self::I32(_) | Self::U32(_) | Self::F32(_) => 4,
            Self::I64(_) | Self::F64(_) | Self::Timestamp(_) => 8,
            Self::Decimal(_) => 1 + 4,
            Self::String(text) => LENGTH + text.len(),
            Self::Bytes(bytes) => LENGTH + bytes.len(),
            Self::Array(values) => LENGTH + values.iter().map(Self::encoded_len).sum::<usize>(),
            Self::Table(table) => table.encoded_len(),
        }
    }
}

impl FieldValue {
    /// The value as an integer, whatever its width on the wire.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        Some(match *self {
            Self::I8(v) => v.into(),
            Self::U8(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I64(v) => v,
            _ => return None,
        })
    }

    /// The value as text, if it is a long string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$from> for FieldValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}

from! {
    bool => Bool, i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64,
    f32 => F32, f64 => F64, Decimal => Decimal, &str => String, &String => String,
    String => String, Bytes => Bytes, Vec<FieldValue> => Array,
    FieldTable => Table,
}

/// A table of headers or arguments, sorted by key, each key once.
///
/// RabbitMQ itself delivers headers sorted and without duplicates (from 3.13 on).
///
/// ```
/// use mooq_core::{FieldTable, FieldValue};
///
/// let arguments = FieldTable::new().with("x-max-length", 10)?.with("x-overflow", "reject-publish")?;
/// assert_eq!(arguments.get("x-max-length"), Some(&FieldValue::I32(10)));
/// # Ok::<(), mooq_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldTable(BTreeMap<ShortString, FieldValue>);

impl FieldTable {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The table with `key` set to `value`.
    ///
    /// # Errors
    /// `InvalidName` if the key is longer than 255 bytes.
    pub fn with(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Result<Self, Error> {
        self.insert(key.into_checked()?, value);
        Ok(self)
    }

    /// Sets `key` to `value` and returns what it was before.
    pub fn insert(&mut self, key: ShortString, value: impl Into<FieldValue>) -> Option<FieldValue> {
        self.0.insert(key, value.into())
    }

    /// Removes `key` and returns what it was.
    pub fn remove(&mut self, key: &str) -> Option<FieldValue> {
        self.0.remove(key)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&FieldValue> {
        self.0.get(key)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, ShortString, FieldValue> {
        self.0.iter()
    }

    /// How many bytes the table takes on the wire, its length among them (AMQP 0-9-1, section
    /// 4.2.5.5).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let entries = self.0.iter();
        let entries = entries.map(|(key, value)| 1 + key.len() + value.encoded_len());
        LENGTH + entries.sum::<usize>()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a FieldTable {
    type Item = (&'a ShortString, &'a FieldValue);
    type IntoIter = btree_map::Iter<'a, ShortString, FieldValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for FieldTable {
    type Item = (ShortString, FieldValue);
    type IntoIter = btree_map::IntoIter<ShortString, FieldValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(ShortString, FieldValue)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (ShortString, FieldValue)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}
