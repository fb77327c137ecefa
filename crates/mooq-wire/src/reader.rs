//! Reading the fields of a payload, each checked against the bytes that are left.

use bytes::{Buf, Bytes};

use crate::error::DecodeError;
use crate::limits::Limits;

/// The unread rest of a payload.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
    /// The octet of bits that is being read, and the mask of the next bit.
    bits: Option<(u8, u8)>,
    pub(crate) table_depth: u8,
    /// True if text that is not UTF-8 is read as Latin-1, and not refused.
    is_lenient: bool,
    /// True once a value was read that its type cannot hold unchanged.
    pub(crate) is_inexact: bool,
    pub(crate) records_deep_values: bool,
}

impl Reader {
    pub(crate) fn new(payload: Bytes, limits: &Limits) -> Self {
        Self {
            rest: payload,
            bits: None,
            table_depth: limits.table_depth,
            is_lenient: false,
            is_inexact: false,
            records_deep_values: limits.records_deep_values,
        }
    }

    /// A reader of a payload in which text need not be UTF-8.
    pub(crate) fn lenient(payload: Bytes, limits: &Limits) -> Self {
        Self {
            is_lenient: true,
            ..Self::new(payload, limits)
        }
    }

    /// The unread rest.
    pub(crate) fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Number of bytes left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes `length` bytes, which share the payload's memory.
    pub(crate) fn take(
        &mut self,
        length: usize,
        within: &'static str,
    ) -> Result<Bytes, DecodeError> {
        self.bits = None;
        if length > self.rest.len() {
            return Err(DecodeError::Truncated { within });
        }
        Ok(self.rest.split_to(length))
    }

    fn need(&mut self, length: usize, within: &'static str) -> Result<(), DecodeError> {
        self.bits = None;
        if length > self.rest.len() {
            return Err(DecodeError::Truncated { within });
        }
        Ok(())
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1, "an octet")?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2, "a short integer")?;
        Ok(self.rest.get_u16())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.need(4, "a long integer")?;
        Ok(self.rest.get_u32())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.need(8, "a long long integer")?;
        Ok(self.rest.get_u64())
    }

    /// Reads a bit. Consecutive bits share an octet, the lowest first (AMQP 0-9-1, 4.2.5.2).
    pub(crate) fn bit(&mut self) -> Result<bool, DecodeError> {
        let (octet, mask) = match self.bits {
            Some((octet, mask)) if mask != 0 => (octet, mask),
            _ => (self.u8()?, 1),
        };
        self.bits = Some((octet, mask << 1));
        Ok(octet & mask != 0)
    }

    /// Reads a short string: at most 255 bytes of UTF-8.
    pub(crate) fn short_string<T>(
        &mut self,
        read: impl FnOnce(&str) -> T,
    ) -> Result<T, DecodeError> {
        let length = usize::from(self.u8()?);
        let bytes = self.take(length, "a short string")?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(read(text)),
            Err(_) if self.is_lenient => {
                self.is_inexact = true;
                Ok(read(&latin1(&bytes)))
            }
            Err(_) => Err(DecodeError::NotUtf8(bytes.into())),
        }
    }

    /// Reads a long string: any bytes.
    pub(crate) fn long_string(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u32()?;
        self.take(length as usize, "a long string")
    }

    /// Returns a reader of the next `length` bytes.
    pub(crate) fn nested(
        &mut self,
        length: usize,
        within: &'static str,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            rest: self.take(length, within)?,
            bits: None,
            table_depth: self.table_depth,
            is_lenient: self.is_lenient,
            is_inexact: false,
            records_deep_values: self.records_deep_values,
        })
    }

    /// Checks that everything has been read.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}

/// Octets as Latin-1, as far as they fit in a short string.
fn latin1(octets: &[u8]) -> String {
    let mut text = String::new();
    for character in octets.iter().copied().map(char::from) {
        if text.len() + character.len_utf8() > usize::from(u8::MAX) {
            break;
        }
        text.push(character);
    }
    text
}
