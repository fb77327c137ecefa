//! Assembly of a channel's frames into methods and messages.
//!
//! Unlike the assembler of mooq-wire, this one goes on after a message that cannot be read: only
//! that message is lost, since the lengths of its frames are known.

use std::sync::Arc;

use bytes::Bytes;
use mooq_core::Properties;
use mooq_wire::content::{AssemblyError, BASIC, Body, ContentHeader};
use mooq_wire::frame::Payload;
use mooq_wire::method::Method;
use mooq_wire::{DecodeError, Limits};

use super::unreadable::{self, Head};

/// Size up to which a body is copied out of the read buffer, which it would keep in memory.
const COPIED: usize = 4096;

/// Size up to which the last properties are remembered.
const REMEMBERED: usize = 512;

/// A method or message that a channel has received.
#[derive(Debug)]
pub(super) enum Received {
    Method(Method),
    Message(Method, Arc<Properties>, Bytes),
    /// A message that cannot be read, and the reason.
    Unreadable(Head, String),
}

/// Puts a channel's methods and their content together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    state: State,
    /// The last properties as they were sent: most messages have the same as the one before, and
    /// share them.
    last: (Vec<u8>, Arc<Properties>),
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Method,
    Header(Begun),
    Body(Box<Incomplete>),
}

/// A method that waits for its content.
#[derive(Debug)]
enum Begun {
    Readable(Method),
    Unreadable(Head, String),
}

#[derive(Debug)]
struct Incomplete {
    message: Message,
    announced: u64,
    got: u64,
}

#[derive(Debug)]
enum Message {
    Readable(Method, Arc<Properties>, Body),
    Unreadable(Head, String),
}

impl Assembly {
    /// Takes the payload of the channel's next frame.
    ///
    /// # Errors
    /// A frame that is not due or is malformed, which ends the connection.
    pub(super) fn push(
        &mut self,
        payload: Payload,
        limits: &Limits,
    ) -> Result<Option<Received>, AssemblyError> {
        match (std::mem::take(&mut self.state), payload) {
            (State::Method, Payload::Method(payload)) => self.method(&payload, limits),
            (State::Method, _) => Err(AssemblyError::ExpectedMethod),
            (State::Header(begun), Payload::ContentHeader(payload)) => {
                self.header(begun, &payload, limits)
            }
            (State::Header(_), _) => Err(AssemblyError::ExpectedHeader),
            (State::Body(mut incomplete), Payload::Body(piece)) => {
                incomplete.got += piece.len() as u64;
                if let Message::Readable(_, _, body) = &mut incomplete.message {
                    body.push(piece);
                }
                self.extend(incomplete)
            }
            (State::Body(_), _) => Err(AssemblyError::ExpectedBody),
        }
    }

    fn method(
        &mut self,
        payload: &Bytes,
        limits: &Limits,
    ) -> Result<Option<Received>, AssemblyError> {
        let begun = match Method::decode(payload.clone(), limits) {
            Ok(method) if !method.has_content() => return Ok(Some(Received::Method(method))),
            Ok(method) => Begun::Readable(method),
            Err(error @ DecodeError::NotUtf8(_)) => {
                let (head, field) = unreadable::head(payload).ok_or(error)?;
                Begun::Unreadable(head, format!("its {field} is not UTF-8"))
            }
            Err(error) => return Err(error.into()),
        };
        self.state = State::Header(begun);
        Ok(None)
    }

    fn header(
        &mut self,
        begun: Begun,
        payload: &Bytes,
        limits: &Limits,
    ) -> Result<Option<Received>, AssemblyError> {
        let too_short = DecodeError::Truncated {
            within: "a content header",
        };
        let (head, properties) = payload.split_first_chunk().ok_or(too_short)?;
        let announced = announced(*head)?;
        let message = match begun {
            Begun::Unreadable(head, reason) => Message::Unreadable(head, reason),
            Begun::Readable(method) => match self.properties(properties, payload, limits) {
                Ok(properties) => Message::Readable(method, properties, Body::One(Bytes::new())),
                Err(error) => {
                    let reason = format!("its properties are malformed: {error}");
                    Message::Unreadable(head_of(method), reason)
                }
            },
        };
        self.extend(Box::new(Incomplete {
            message,
            announced,
            got: 0,
        }))
    }

    fn properties(
        &mut self,
        encoded: &[u8],
        payload: &Bytes,
        limits: &Limits,
    ) -> Result<Arc<Properties>, DecodeError> {
        if self.last.0 == encoded {
            return Ok(Arc::clone(&self.last.1));
        }
        let properties = Arc::new(ContentHeader::decode(payload.clone(), limits)?.properties);
        if encoded.len() <= REMEMBERED {
            self.last.0.clear();
            self.last.0.extend_from_slice(encoded);
            self.last.1 = Arc::clone(&properties);
        }
        Ok(properties)
    }

    /// Ends the content if its body is complete.
    fn extend(&mut self, incomplete: Box<Incomplete>) -> Result<Option<Received>, AssemblyError> {
        let Incomplete { announced, got, .. } = *incomplete;
        if got > announced {
            return Err(AssemblyError::BodyTooLong { announced, got });
        }
        if got < announced {
            self.state = State::Body(incomplete);
            return Ok(None);
        }
        Ok(Some(match incomplete.message {
            Message::Readable(method, properties, body) => {
                Received::Message(method, properties, whole(body))
            }
            Message::Unreadable(head, reason) => Received::Unreadable(head, reason),
        }))
    }
}

/// Reads class, weight and size from a content header, and returns the size.
fn announced(head: [u8; 12]) -> Result<u64, AssemblyError> {
    let [c0, c1, w0, w1, size @ ..] = head;
    let class_id = u16::from_be_bytes([c0, c1]);
    if class_id != BASIC {
        return Err(AssemblyError::OtherClass(class_id));
    }
    if [w0, w1] != [0, 0] {
        return Err(AssemblyError::ExpectedHeader);
    }
    Ok(u64::from_be_bytes(size))
}

fn head_of(method: Method) -> Head {
    match method {
        Method::BasicDeliver(deliver) => Head::Deliver {
            consumer_tag: deliver.consumer_tag,
            delivery_tag: deliver.delivery_tag,
        },
        Method::BasicGetOk(fetched) => Head::GetOk {
            delivery_tag: fetched.delivery_tag,
        },
        _ => Head::Return,
    }
}

/// Returns a body that does not keep the read buffer in memory if it is small.
fn whole(body: Body) -> Bytes {
    match body {
        Body::One(piece) if piece.len() <= COPIED => Bytes::copy_from_slice(&piece),
        body => body.whole(),
    }
}
