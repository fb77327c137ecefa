//! Errors in data from a peer.

use bytes::Bytes;

/// Bytes that violate AMQP 0-9-1. Every such error is fatal to a connection: the beginning of the
/// next frame is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The peer speaks another protocol, or another version of AMQP.
    #[error("expected the header of AMQP 0-9-1, got {0:?}")]
    ProtocolHeader([u8; 8]),
    /// A frame of a type that AMQP does not define, or a heartbeat with a payload.
    #[error("unknown frame of type {frame_type} with {} bytes", payload.len())]
    UnknownFrame {
        /// The frame's type.
        frame_type: u8,
        /// The frame's payload.
        payload: Bytes,
    },
    /// A frame with content or a heartbeat on a channel that does not allow it.
    #[error("unexpected frame of type {frame_type} on channel {channel}")]
    UnexpectedFrame {
        /// The frame's type.
        frame_type: u8,
        /// The channel that the frame arrived on.
        channel: u16,
        /// The frame's payload.
        payload: Bytes,
    },
    /// A frame is longer than the peers agreed.
    #[error(
        "frame of type {frame_type} with a payload of {size} bytes exceeds the limit of {limit} bytes"
    )]
    FrameTooLarge {
        /// The frame's type: 1 for a method, 2 for a content header, 3 for a body.
        frame_type: u8,
        /// The size of the frame's payload, in bytes.
        size: u32,
        /// The limit, in bytes.
        limit: u32,
    },
    /// A frame does not end with the octet 206.
    #[error("frame of type {frame_type} ends with {end} instead of 206")]
    FrameEnd {
        /// The frame's type.
        frame_type: u8,
        /// The frame's payload.
        payload: Bytes,
        /// The octet at the frame's end.
        end: u8,
    },
    /// The payload ends before the length that it announced.
    #[error("payload ends within {within}")]
    Truncated {
        /// The type of the field that is cut off.
        within: &'static str,
    },
    /// The payload goes on after its last field.
    #[error("{0} bytes after the last field")]
    TrailingBytes(usize),
    /// A short string of a method is not UTF-8. AMQP requires UTF-8 (0-9-1, 4.2.5.3).
    #[error("short string is not UTF-8: {0:?}")]
    NotUtf8(Vec<u8>),
    /// A float that is NaN or infinite, which RabbitMQ refuses.
    #[error("a float is {0}")]
    NotFinite(&'static str),
    /// A field value of a type that RabbitMQ does not know.
    #[error("unknown field type {0:?}")]
    FieldType(char),
    /// Tables or arrays are nested deeper than allowed.
    #[error("tables and arrays nested deeper than {0} levels")]
    TooDeep(u8),
    /// A method that AMQP 0-9-1 does not define.
    #[error("unknown method {method} of class {class}")]
    UnknownMethod {
        /// The class, for example 60 for `basic`.
        class: u16,
        /// The method within the class.
        method: u16,
    },
    /// A content header of a class that has no content, or with a weight.
    #[error("content header of class {class_id} with weight {weight}")]
    ContentHeader {
        /// The class.
        class_id: u16,
        /// The weight.
        weight: u16,
    },
}
