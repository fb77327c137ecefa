//! Decoding of messages.

use mooq_codecs::Decode;
use mooq_core::{Error, ErrorKind, FieldTable, Message, Result};

/// Decodes the body of a message. A message that was not taken in full has no value.
///
/// # Errors
/// `Decode`.
pub(crate) fn decode<T>(codec: &impl Decode<T>, message: &Message) -> Result<T> {
    match message.properties.headers.too_deep() {
        None => codec.decode(&message.body, &message.properties),
        Some(header) => Err(Error::new(
            ErrorKind::Decode,
            format!(
                "the message's header '{header}' nests deeper than {} levels of tables and arrays, \
                 and was not taken",
                FieldTable::MAX_DEPTH
            ),
        )),
    }
}
