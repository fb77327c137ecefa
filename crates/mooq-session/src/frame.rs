//! Requests that would make RabbitMQ close the connection are rejected locally: tables with values
//! that it does not take (541), and data that does not fit in one frame (501; RabbitMQ accepts 8
//! bytes more than was agreed, but does not promise to).

use mooq_core::{Error, ErrorKind, FieldTable, Properties, Result};

/// Bytes of a frame's type, channel, size and end (AMQP 0-9-1, section 4.2.3).
const FRAME: usize = 8;

/// Bytes before the properties in a content header: class, weight and size of the body (section
/// 4.2.6.1).
const CONTENT_HEADER: usize = 12;

/// Maximum number of bytes in a method besides its table: three short strings and some numbers.
const METHOD: usize = 1_024;

/// Checks the properties of a message to publish.
///
/// # Errors
/// `InvalidArgument` if a message with these properties cannot be sent.
pub fn check_properties(properties: &Properties, frame_max: u32) -> Result<()> {
    let size = properties.encoded_len();
    check(
        "the properties of the message",
        size,
        FRAME + CONTENT_HEADER,
        frame_max,
    )
}

/// Checks the arguments of a method.
///
/// # Errors
/// `InvalidArgument` if no method with these arguments can be sent.
pub fn check_arguments(arguments: &FieldTable, frame_max: u32) -> Result<()> {
    arguments.check("argument")?;
    check(
        "the arguments",
        arguments.encoded_len(),
        FRAME + METHOD,
        frame_max,
    )
}

fn check(what: &str, size: usize, beside: usize, frame_max: u32) -> Result<()> {
    let room = (frame_max as usize).saturating_sub(beside);
    if size <= room {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "{what} take {size} bytes, and there is room for {room} in a frame of {frame_max}, \
             which is the broker's frame_max"
        ),
    ))
}
