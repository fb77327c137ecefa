//! Tables of headers and arguments.

mod nesting;

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::name::{IntoChecked, ShortString};

/// A decimal number: `value` divided by ten to the power of `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// Number of digits after the decimal point.
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

/// Size in bytes of the length field of a long string, an array or a table.
const LENGTH: usize = size_of::<u32>();

impl FieldValue {
    /// Number of bytes on the wire, including the letter of the type.
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
    /// The value as an integer of any width on the wire.
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
#[derive(Clone, Default, PartialEq)]
pub struct FieldTable {
    entries: BTreeMap<ShortString, FieldValue>,
    /// The first key whose value nests too deep.
    too_deep: Option<ShortString>,
}

impl FieldTable {
    /// Maximum depth of tables and arrays in a value, including the value itself. A value that
    /// nests deeper is rejected: comparing, printing or dropping it would overflow the stack.
    pub const MAX_DEPTH: usize = 100;

    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            too_deep: None,
        }
    }

    /// Returns the table with `key` set to `value`.
    ///
    /// # Errors
    /// `InvalidName` if the key is longer than 255 bytes; `InvalidArgument` if the value nests deeper
    /// than [`MAX_DEPTH`](Self::MAX_DEPTH).
    pub fn with(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Result<Self, Error> {
        self.insert(key.into_checked()?, value);
        match &self.too_deep {
            Some(key) => Err(nests_too_deep("the value of", key)),
            None => Ok(self),
        }
    }

    /// Sets `key` to `value` and returns the previous value. [`with`](Self::with) takes text as
    /// key.
    ///
    /// A value that nests deeper than [`MAX_DEPTH`](Self::MAX_DEPTH) is rejected: from then on the
    /// table cannot be sent, as [`check`](Self::check) reports. The same holds for a value that
    /// contains a table which cannot be sent.
    pub fn insert(&mut self, key: ShortString, value: impl Into<FieldValue>) -> Option<FieldValue> {
        let value = value.into();
        if value.is_deeper_than(Self::MAX_DEPTH) {
            value.dismantle();
            self.refuse(key.clone());
            return self.entries.remove(&key);
        }
        if value.holds_refused() {
            self.refuse(key.clone());
        }
        self.entries.insert(key, value)
    }

    /// Moves every entry of `other` into this table, and replaces entries that have the same key.
    /// If `other` cannot be sent, neither can this table from then on.
    pub fn append(&mut self, mut other: Self) {
        if let Some(key) = other.too_deep.take() {
            self.refuse(key);
        }
        self.entries.append(&mut other.entries);
    }

    /// Records that the value of `key` nests too deep to be taken, as [`insert`](Self::insert)
    /// does: for a transport that notices before it has built a value.
    pub fn refuse(&mut self, key: ShortString) {
        self.too_deep.get_or_insert(key);
    }

    /// The first key whose value was not taken because it nests too deep: in a table that a broker
    /// delivered, a sign that the message is incomplete.
    #[must_use]
    pub fn too_deep(&self) -> Option<&ShortString> {
        self.too_deep.as_ref()
    }

    /// Checks that this table can be sent to a broker. `what` names the table in errors, for
    /// example "header". RabbitMQ would close the connection over a float that is not a number.
    ///
    /// # Errors
    /// `InvalidArgument` that names the key: its value nests too deep, or holds NaN or an infinity.
    pub fn check(&self, what: &str) -> Result<(), Error> {
        if let Some(key) = &self.too_deep {
            return Err(nests_too_deep(what, key));
        }
        for (key, value) in self {
            if let Some(float) = value.not_finite() {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{what} '{key}' holds {float}: RabbitMQ takes finite numbers only"),
                ));
            }
        }
        Ok(())
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<FieldValue> {
        self.entries.remove(key)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&FieldValue> {
        self.entries.get(key)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, ShortString, FieldValue> {
        self.entries.iter()
    }

    /// Number of bytes that the table takes on the wire, including its length field (AMQP 0-9-1,
    /// section 4.2.5.5).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let entries = self.entries.iter();
        let entries = entries.map(|(key, value)| 1 + key.len() + value.encoded_len());
        LENGTH + entries.sum::<usize>()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if the table has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
        self.entries.into_iter()
    }
}

impl FromIterator<(ShortString, FieldValue)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (ShortString, FieldValue)>>(entries: I) -> Self {
        let mut table = Self::new();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

impl fmt::Debug for FieldTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("FieldTable");
        debug.field(&self.entries);
        if let Some(key) = &self.too_deep {
            debug.field(&format_args!("too deep: {key:?}"));
        }
        debug.finish()
    }
}

fn nests_too_deep(what: &str, key: &ShortString) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "{what} '{key}' nests deeper than {} levels of tables and arrays",
            FieldTable::MAX_DEPTH
        ),
    )
}
