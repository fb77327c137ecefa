//! Writing the fields of a payload.

use bytes::{BufMut, BytesMut};

/// The end of a payload that is being written.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut BytesMut,
    /// The position of the octet of bits that is being written, and the mask of the next bit.
    bits: Option<(usize, u8)>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut BytesMut) -> Self {
        Self { buffer, bits: None }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bits = None;
        self.buffer.put_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bits = None;
        self.buffer.put_u8(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bits = None;
        self.buffer.put_u16(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bits = None;
        self.buffer.put_u32(value);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bits = None;
        self.buffer.put_u64(value);
    }

    /// Writes a bit. Consecutive bits share an octet, the lowest first.
    pub(crate) fn bit(&mut self, value: bool) {
        let (position, mask) = match self.bits {
            Some((position, mask)) if mask != 0 => (position, mask),
            _ => {
                let position = self.buffer.len();
                self.u8(0);
                (position, 1)
            }
        };
        if value {
            self.buffer[position] |= mask;
        }
        self.bits = Some((position, mask << 1));
    }

    /// Writes a short string. Text longer than 255 bytes is cut at a character's end; the names of
    /// `mooq-core` never are.
    pub(crate) fn short_string(&mut self, text: &str) {
        let mut length = text.len().min(usize::from(u8::MAX));
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        // At most 255, because of the `min` above.
        self.u8(length as u8);
        self.bytes(&text.as_bytes()[..length]);
    }

    pub(crate) fn long_string(&mut self, bytes: &[u8]) {
        self.length_first(|writer| writer.bytes(bytes));
    }

    /// Writes the output of `write`, with its length in four octets before it.
    pub(crate) fn length_first(&mut self, write: impl FnOnce(&mut Self)) {
        let position = self.buffer.len();
        self.u32(0);
        let begin = self.buffer.len();
        write(self);
        // Frames are bounded, so a payload is never 4 GiB.
        let length = (self.buffer.len() - begin) as u32;
        self.buffer[position..begin].copy_from_slice(&length.to_be_bytes());
        self.bits = None;
    }
}
