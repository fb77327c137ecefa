//! The replies with which RabbitMQ closes a connection whose bytes, frames or methods are wrong:
//! codes and texts as live brokers send them.

use std::fmt::{self, Write as _};

use mooq_core::CloseReason;
use mooq_wire::DecodeError;
use mooq_wire::content::AssemblyError;
use mooq_wire::method::Method;

/// A method's class and number; zeros for none.
pub(super) type MethodId = (u16, u16);

pub(super) const NO_METHOD: MethodId = (0, 0);

fn reason(code: u16, text: String, (class_id, method_id): MethodId) -> CloseReason {
    CloseReason {
        code,
        text,
        class_id,
        method_id,
    }
}

/// 501: a frame that cannot be read.
fn frame_error(text: impl fmt::Display, method: MethodId) -> CloseReason {
    reason(501, format!("FRAME_ERROR - {text}"), method)
}

/// 503: a method that a client does not send.
pub(super) fn unimplemented_method(method: &Method) -> CloseReason {
    let text = "COMMAND_INVALID - unimplemented method";
    reason(503, text.into(), method.id())
}

/// 504: a method on channel 0 that is not due on it.
pub(super) fn unexpected_method(method: MethodId) -> CloseReason {
    let text = "CHANNEL_ERROR - unexpected method in connection state running";
    reason(504, text.into(), method)
}

/// 504: a method on a channel that is not open, in the words of mooq-engine's `open_channel`.
pub(super) fn expected_open(method: MethodId) -> CloseReason {
    reason(
        504,
        "CHANNEL_ERROR - expected 'channel.open'".into(),
        method,
    )
}

/// 505: a frame that is not due.
fn unexpected_frame(text: impl fmt::Display, method: MethodId) -> CloseReason {
    reason(505, format!("UNEXPECTED_FRAME - {text}"), method)
}

/// The refusal of a malformed frame; `None` if RabbitMQ just closes the socket.
pub(super) fn of_frame(error: &DecodeError) -> Option<CloseReason> {
    Some(match error {
        DecodeError::FrameTooLarge {
            frame_type,
            size,
            limit,
        } => {
            // The limit in RabbitMQ's text leaves out the eight bytes around a payload.
            let limit = limit.saturating_sub(8);
            let problem = format_args!("{{frame_too_large,{size},{limit}}}");
            frame_error(all_octets(*frame_type, &[], Some(problem)), NO_METHOD)
        }
        DecodeError::FrameEnd {
            frame_type,
            payload,
            end,
        } => {
            let problem = format_args!("{{invalid_frame_end_marker,{end}}}");
            frame_error(all_octets(*frame_type, payload, Some(problem)), NO_METHOD)
        }
        DecodeError::UnknownFrame {
            frame_type,
            payload,
        } => frame_error(unknown_frame(*frame_type, payload), NO_METHOD),
        DecodeError::UnexpectedFrame {
            frame_type,
            payload,
            ..
        } => unexpected_frame(all_octets(*frame_type, payload, None), NO_METHOD),
        _ => return None,
    })
}

/// The refusal of a frame on a channel whose method `expected` waits for its content; `None` if
/// RabbitMQ just closes the socket.
pub(super) fn of_assembly(
    error: &AssemblyError,
    expected: Option<MethodId>,
    payload: &[u8],
    tells_excess: bool,
) -> Option<CloseReason> {
    let method = expected.unwrap_or(NO_METHOD);
    Some(match error {
        AssemblyError::BodyTooLong { .. } if tells_excess => {
            frame_error("content body frame exceeds remaining content size", method)
        }
        AssemblyError::BodyTooLong { .. } => unexpected_frame(AssemblyError::ExpectedBody, method),
        AssemblyError::Decode(error) if expected.is_some() => of_header(error, payload)?,
        AssemblyError::Decode(error) => of_method(error, payload)?,
        other => unexpected_frame(other, method),
    })
}

/// 501: a content header that announces a body that no broker takes.
pub(super) fn announced_too_much(size: u64, max: u64, method: MethodId) -> CloseReason {
    let text = format_args!("content body size {size} exceeds maximum allowed size {max}");
    frame_error(text, method)
}

/// The refusal of a content header that cannot be decoded.
fn of_header(error: &DecodeError, payload: &[u8]) -> Option<CloseReason> {
    match error {
        DecodeError::FieldType(_) => None,
        // RabbitMQ's channel crashes, and its reader reports no details.
        DecodeError::NotFinite(_) => Some(reason(541, "INTERNAL_ERROR".into(), NO_METHOD)),
        DecodeError::Truncated { .. } | DecodeError::TrailingBytes(_) => {
            Some(frame_error(unknown_frame(2, payload), NO_METHOD))
        }
        other => of_value(other),
    }
}

/// The refusal of a method that cannot be decoded.
pub(super) fn of_method(error: &DecodeError, payload: &[u8]) -> Option<CloseReason> {
    match error {
        // RabbitMQ's reader crashes on a method that no specification defines, on a field of an
        // unknown type, and on a float that Erlang does not have.
        DecodeError::UnknownMethod { .. }
        | DecodeError::FieldType(_)
        | DecodeError::NotFinite(_) => None,
        DecodeError::Truncated { .. } | DecodeError::TrailingBytes(_) => {
            let Some((id, fields)) = payload.split_at_checked(4) else {
                return Some(frame_error(unknown_frame(1, payload), NO_METHOD));
            };
            let id = (
                u16::from_be_bytes([id[0], id[1]]),
                u16::from_be_bytes([id[2], id[3]]),
            );
            Some(frame_error(format!("cannot decode {}", octets(fields)), id))
        }
        other => of_value(other),
    }
}

/// The refusal of a value that RabbitMQ may take and this broker cannot store.
fn of_value(error: &DecodeError) -> Option<CloseReason> {
    Some(match error {
        DecodeError::NotUtf8(_) => frame_error("Malformed UTF-8 in shortstr", NO_METHOD),
        other => frame_error(other, NO_METHOD),
    })
}

fn unknown_frame(frame_type: u8, payload: &[u8]) -> String {
    all_octets(frame_type, payload, Some(format_args!("unknown_frame")))
}

/// A frame as RabbitMQ shows it, with its problem.
fn all_octets(frame_type: u8, payload: &[u8], problem: Option<fmt::Arguments<'_>>) -> String {
    let shown = match std::str::from_utf8(payload) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| matches!(c, ' '..='~')) => {
            format!("<<\"{text}\">>")
        }
        _ => octets(payload),
    };
    let mut text = format!("type {frame_type}, all octets = {shown}");
    if let Some(problem) = problem {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {problem}");
    }
    text
}

/// Bytes as Erlang writes a binary: `<<0,255>>`. At most as many as fit in a reply text.
fn octets(bytes: &[u8]) -> String {
    let mut text = String::from("<<");
    for (i, byte) in bytes.iter().take(256).enumerate() {
        let comma = if i > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{byte}");
    }
    text.push_str(">>");
    text
}
