//! Frames (AMQP 0-9-1, 4.2.3): a type, a channel, a payload, and the octet 206 at the end.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::limits::Limits;

/// The header that a client sends before its first frame. A server answers with it if it does not
/// speak the client's protocol (AMQP 0-9-1, 4.2.2).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// Number of bytes of a frame besides its payload.
pub const FRAME_OVERHEAD: usize = HEADER + 1;

/// Size of the part before the payload: type, channel, size of the payload.
const HEADER: usize = 7;

pub(crate) const METHOD: u8 = 1;
pub(crate) const CONTENT_HEADER: u8 = 2;
pub(crate) const BODY: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 8;
pub(crate) const END: u8 = 206;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The channel that the frame is for: 0 for the connection itself.
    pub channel: u16,
    /// The frame's payload.
    pub payload: Payload,
}

/// Payload of a frame. It shares the memory that the frame was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A method, for [`crate::method::Method::decode`].
    Method(Bytes),
    /// A content header, for [`crate::content::ContentHeader::decode`].
    ContentHeader(Bytes),
    /// A piece of a body.
    Body(Bytes),
    /// A heartbeat, the sign that the peer is alive.
    Heartbeat,
}

/// Splits input into frames.
///
/// The decoder keeps no bytes: the caller that reads from the peer owns the buffer, and calls
/// [`decode`](Self::decode) until no complete frame is left in it.
#[derive(Debug, Clone)]
pub struct FrameDecoder {
    limits: Limits,
}

impl FrameDecoder {
    /// A decoder of frames within `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// The limits, which change with `connection.tune-ok`.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sets the limits of the frames that follow.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes the protocol header from the front of `input`. Returns `None` if the header is not
    /// there yet.
    ///
    /// # Errors
    /// `ProtocolHeader` as soon as the bytes differ from AMQP 0-9-1's.
    pub fn decode_protocol_header(input: &mut BytesMut) -> Result<Option<()>, DecodeError> {
        let length = input.len().min(PROTOCOL_HEADER.len());
        if input[..length] != PROTOCOL_HEADER[..length] {
            let mut got = [0; 8];
            got[..length].copy_from_slice(&input[..length]);
            return Err(DecodeError::ProtocolHeader(got));
        }
        if length < PROTOCOL_HEADER.len() {
            return Ok(None);
        }
        input.advance(PROTOCOL_HEADER.len());
        Ok(Some(()))
    }

    /// Takes the first frame from `input`. Returns `None` if the frame is incomplete; `input` then
    /// has room for the rest of it, and no more than the limits allow.
    ///
    /// # Errors
    /// A payload over the limit, before it has arrived; a wrong octet at the end, an unknown type,
    /// or content on channel 0, once the frame is complete.
    pub fn decode(&self, input: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        let Some(header) = input.get(..HEADER) else {
            return Ok(None);
        };
        let frame_type = header[0];
        let channel = u16::from_be_bytes([header[1], header[2]]);
        let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
        let limit = self.limits.frame_max;
        if size > limit {
            return Err(DecodeError::FrameTooLarge {
                frame_type,
                size,
                limit,
            });
        }
        let size = size as usize;
        let Some(&end) = input.get(HEADER + size) else {
            input.reserve(HEADER + size + 1 - input.len());
            return Ok(None);
        };
        input.advance(HEADER);
        let payload = input.split_to(size).freeze();
        input.advance(1);
        if end != END {
            return Err(DecodeError::FrameEnd {
                frame_type,
                payload,
                end,
            });
        }
        let payload = match frame_type {
            METHOD => Payload::Method(payload),
            CONTENT_HEADER | BODY if channel == 0 => {
                return Err(DecodeError::UnexpectedFrame {
                    frame_type,
                    channel,
                    payload,
                });
            }
            CONTENT_HEADER => Payload::ContentHeader(payload),
            BODY => Payload::Body(payload),
            HEARTBEAT if payload.is_empty() && channel == 0 => Payload::Heartbeat,
            HEARTBEAT if payload.is_empty() => {
                return Err(DecodeError::UnexpectedFrame {
                    frame_type,
                    channel,
                    payload,
                });
            }
            _ => {
                return Err(DecodeError::UnknownFrame {
                    frame_type,
                    payload,
                });
            }
        };
        Ok(Some(Frame { channel, payload }))
    }
}
