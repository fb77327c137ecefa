//! Output to a peer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mooq_core::Properties;

use crate::content;
use crate::frame::{BODY, CONTENT_HEADER, END, FRAME_OVERHEAD, HEARTBEAT, METHOD};
use crate::method::Method;
use crate::writer::Writer;

/// Size from which a piece of a body is shared, and not copied among the frames around it. An
/// additional segment costs about as much as copying this many bytes.
const SHARED: usize = 1024;

/// Frames that wait to be written, in order.
///
/// Small frames follow one another in one buffer. Large bodies are not copied: they are segments
/// of their own, for a vectored write ([`Buf::chunks_vectored`]).
#[derive(Debug, Default)]
pub struct Output {
    /// The first part of the output. Segments are never empty.
    segments: VecDeque<Bytes>,
    /// The last part of the output, which grows.
    tail: BytesMut,
    /// Number of bytes in `segments`.
    segmented: usize,
}

impl Output {
    /// An empty output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes unchanged: a protocol header.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    /// Adds a heartbeat.
    pub fn heartbeat(&mut self) {
        self.frame(HEARTBEAT, 0, |_| ());
    }

    /// Adds a method without content.
    pub fn method(&mut self, channel: u16, method: &Method) {
        self.frame(METHOD, channel, |writer| method.write(writer));
    }

    /// Adds a method with its content. The body is split so that no frame is longer than
    /// `frame_max` bytes.
    pub fn content(
        &mut self,
        channel: u16,
        method: &Method,
        properties: &Properties,
        body: &Bytes,
        frame_max: u32,
    ) {
        self.method(channel, method);
        self.frame(CONTENT_HEADER, channel, |writer| {
            content::write_header(properties, body.len(), writer);
        });
        let most = (frame_max as usize).saturating_sub(FRAME_OVERHEAD).max(1);
        let mut begin = 0;
        while begin < body.len() {
            let end = body.len().min(begin + most);
            self.body(channel, body.slice(begin..end));
            begin = end;
        }
    }

    /// Adds a body frame.
    fn body(&mut self, channel: u16, piece: Bytes) {
        self.head(BODY, channel, piece.len());
        if piece.len() < SHARED {
            self.tail.put_slice(&piece);
        } else {
            self.end_segment();
            self.segmented += piece.len();
            self.segments.push_back(piece);
        }
        self.tail.put_u8(END);
    }

    /// Adds a frame whose payload `write` writes.
    fn frame(&mut self, frame_type: u8, channel: u16, write: impl FnOnce(&mut Writer<'_>)) {
        self.head(frame_type, channel, 0);
        let begin = self.tail.len();
        write(&mut Writer::new(&mut self.tail));
        // No payload is near 4 GiB: tables are bounded when they are built.
        let size = (self.tail.len() - begin) as u32;
        self.tail[begin - size_of::<u32>()..begin].copy_from_slice(&size.to_be_bytes());
        self.tail.put_u8(END);
    }

    fn head(&mut self, frame_type: u8, channel: u16, size: usize) {
        self.tail.put_u8(frame_type);
        self.tail.put_u16(channel);
        self.tail.put_u32(size as u32);
    }

    fn end_segment(&mut self) {
        if !self.tail.is_empty() {
            self.segmented += self.tail.len();
            self.segments.push_back(self.tail.split().freeze());
        }
    }

    /// Returns true if there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_remaining()
    }

    /// A copy of the whole output.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.remaining());
        for segment in &self.segments {
            bytes.put_slice(segment);
        }
        bytes.put_slice(&self.tail);
        bytes.freeze()
    }
}

/// [`Buf::advance`] removes written bytes from the front.
impl Buf for Output {
    fn remaining(&self) -> usize {
        self.segmented + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.segments.front() {
            Some(segment) => segment,
            None => &self.tail,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail: &[u8] = &self.tail;
        let parts = self.segments.iter().map(|segment| &**segment);
        let parts = parts.chain(Some(tail).filter(|tail| !tail.is_empty()));
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(segment) = self.segments.front_mut() {
            let here = segment.len().min(count);
            segment.advance(here);
            self.segmented -= here;
            count -= here;
            if !segment.is_empty() {
                return;
            }
            self.segments.pop_front();
        }
        self.tail.advance(count);
    }
}
