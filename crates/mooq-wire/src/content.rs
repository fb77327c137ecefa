//! Content: the frames after a method that carries a message (AMQP 0-9-1, 4.2.6).
//!
//! A [`ContentHeader`] announces the size of the body and lists the message's properties; frames
//! with pieces of the body follow until it is complete. An [`Assembler`], one for each channel,
//! puts method, header and body together again.

use bytes::{Bytes, BytesMut};
use mooq_core::Properties;

use crate::error::DecodeError;
use crate::frame::Payload;
use crate::limits::Limits;
use crate::method::Method;
use crate::properties;
use crate::reader::Reader;
use crate::writer::Writer;

/// The only class with content.
pub const BASIC: u16 = 60;

/// A content header.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentHeader {
    /// The class of the method before the header.
    pub class_id: u16,
    /// Size of the whole body, in bytes.
    pub body_size: u64,
    /// The message's properties.
    pub properties: Properties,
}

impl ContentHeader {
    /// Decodes the payload of a header frame.
    ///
    /// # Errors
    /// A class other than `basic`, or the error of a malformed property. Text that is not UTF-8 is no
    /// error: see [`Verbatim`](mooq_core::Verbatim).
    pub fn decode(payload: Bytes, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::lenient(payload, limits);
        let class_id = reader.u16()?;
        // The weight, which is not used. RabbitMQ refuses any other value.
        let weight = reader.u16()?;
        let body_size = reader.u64()?;
        if class_id != BASIC || weight != 0 {
            return Err(DecodeError::ContentHeader { class_id, weight });
        }
        let header = Self {
            class_id,
            body_size,
            properties: properties::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(header)
    }
}

/// Writes the payload of a header frame.
pub(crate) fn write_header(properties: &Properties, body_size: usize, writer: &mut Writer<'_>) {
    writer.u16(BASIC);
    writer.u16(0);
    writer.u64(body_size as u64);
    properties::write(properties, writer);
}

/// A method, with its content if it has any.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The method.
    pub method: Method,
    /// Properties and body, for methods that have content.
    pub content: Option<(Properties, Bytes)>,
}

/// Frames of a channel in an order that AMQP does not allow (505), in RabbitMQ's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssemblyError {
    /// A content frame where a method was due.
    #[error("expected method frame, got non method frame instead")]
    ExpectedMethod,
    /// Another frame where a content header was due.
    #[error("expected content header for class {BASIC}, got non content header frame instead")]
    ExpectedHeader,
    /// A content header of another class than the method's.
    #[error("expected content header for class {BASIC}, got one for class {0} instead")]
    OtherClass(u16),
    /// Another frame where a piece of a body was due.
    #[error("expected content body, got non content body frame instead")]
    ExpectedBody,
    /// The pieces of a body are longer than the size that its header announced.
    #[error("content body of {got} bytes, where its header announced {announced}")]
    BodyTooLong {
        /// Size that the header announced, in bytes.
        announced: u64,
        /// Size of the body so far, in bytes.
        got: u64,
    },
    /// A payload that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Puts methods and their content together, for one channel.
#[derive(Debug, Default)]
pub struct Assembler {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Method,
    Header(Method),
    Body(Box<Incomplete>),
}

/// A method and the part of its content that has arrived.
#[derive(Debug)]
struct Incomplete {
    method: Method,
    header: ContentHeader,
    body: Body,
    /// Size of the pieces so far, in bytes.
    got: u64,
    /// False if the pieces are dropped.
    keeps_body: bool,
}

/// The part of a body that has arrived.
#[derive(Debug)]
pub enum Body {
    /// No piece, or one, which is shared and not copied.
    One(Bytes),
    /// Several pieces. The buffer grows as they arrive, and not by the announced size.
    Many(BytesMut),
}

impl Assembler {
    /// An assembler that waits for a method.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns true if the content of a method is still incomplete.
    #[must_use]
    pub fn expects_content(&self) -> bool {
        !matches!(self.state, State::Method)
    }

    /// The method whose content is still incomplete.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        match &self.state {
            State::Method => None,
            State::Header(method) => Some(method),
            State::Body(incomplete) => Some(&incomplete.method),
        }
    }

    /// Size of the body that is being assembled, in bytes, as its header announces it.
    #[must_use]
    pub fn announced_body_size(&self) -> Option<u64> {
        match &self.state {
            State::Body(incomplete) => Some(incomplete.header.body_size),
            _ => None,
        }
    }

    /// Drops the body that is being assembled, with the pieces that are still to come: only their
    /// sizes count, and the content ends with an empty body. For callers that refuse a message for
    /// its size, but not before it is complete.
    pub fn drop_body(&mut self) {
        if let State::Body(incomplete) = &mut self.state {
            incomplete.keeps_body = false;
            incomplete.body = Body::One(Bytes::new());
        }
    }

    /// Takes the payload of the channel's next frame. Returns `None` until the method and its
    /// content are complete.
    ///
    /// # Errors
    /// A frame that is not due, or that cannot be decoded. The caller then has to close the
    /// connection: the part assembled so far is dropped.
    pub fn push(
        &mut self,
        payload: Payload,
        limits: &Limits,
    ) -> Result<Option<Assembled>, AssemblyError> {
        match (std::mem::take(&mut self.state), payload) {
            (State::Method, Payload::Method(bytes)) => {
                let method = Method::decode(bytes, limits)?;
                if !method.has_content() {
                    let content = None;
                    return Ok(Some(Assembled { method, content }));
                }
                self.state = State::Header(method);
                Ok(None)
            }
            (State::Method, _) => Err(AssemblyError::ExpectedMethod),
            (State::Header(method), Payload::ContentHeader(bytes)) => {
                let header = ContentHeader::decode(bytes, limits).map_err(|err| match err {
                    DecodeError::ContentHeader { weight: 1.., .. } => AssemblyError::ExpectedHeader,
                    DecodeError::ContentHeader { class_id, .. } => {
                        AssemblyError::OtherClass(class_id)
                    }
                    other => other.into(),
                })?;
                self.extend(Box::new(Incomplete {
                    method,
                    header,
                    body: Body::One(Bytes::new()),
                    got: 0,
                    keeps_body: true,
                }))
            }
            (State::Header(_), _) => Err(AssemblyError::ExpectedHeader),
            (State::Body(mut incomplete), Payload::Body(piece)) => {
                incomplete.got += piece.len() as u64;
                if incomplete.keeps_body {
                    incomplete.body.push(piece);
                }
                self.extend(incomplete)
            }
            (State::Body(_), _) => Err(AssemblyError::ExpectedBody),
        }
    }

    /// Ends the content if its body is complete.
    fn extend(&mut self, incomplete: Box<Incomplete>) -> Result<Option<Assembled>, AssemblyError> {
        let announced = incomplete.header.body_size;
        let got = incomplete.got;
        if got > announced {
            return Err(AssemblyError::BodyTooLong { announced, got });
        }
        if got < announced {
            self.state = State::Body(incomplete);
            return Ok(None);
        }
        let Incomplete {
            method,
            header,
            body,
            ..
        } = *incomplete;
        let content = Some((header.properties, body.whole()));
        Ok(Some(Assembled { method, content }))
    }
}

impl Body {
    /// Adds the next piece.
    pub fn push(&mut self, piece: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *first = piece,
            Self::One(first) => {
                let mut pieces = BytesMut::with_capacity(2 * (first.len() + piece.len()));
                pieces.extend_from_slice(first);
                pieces.extend_from_slice(&piece);
                *self = Self::Many(pieces);
            }
            Self::Many(pieces) => pieces.extend_from_slice(&piece),
        }
    }

    /// Returns all pieces as one.
    #[must_use]
    pub fn whole(self) -> Bytes {
        match self {
            Self::One(piece) => piece,
            Self::Many(pieces) => pieces.freeze(),
        }
    }
}
