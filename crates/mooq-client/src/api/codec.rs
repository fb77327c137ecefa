//! Codecs: values to bodies and back.

use std::cell::RefCell;

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, FieldTable, Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const JSON_CONTENT_TYPE: &str = "application/json";
pub(crate) const BYTES_CONTENT_TYPE: &str = "application/octet-stream";
pub(crate) const TEXT_CONTENT_TYPE: &str = "text/plain";

/// Encodes values of type `T` as bodies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot encode `{T}`",
    label = "this codec cannot encode `{T}`",
    note = "`Json` encodes `serde::Serialize` types, `RawBytes` `AsRef<[u8]>` types, `Text` `AsRef<str>` types"
)]
pub trait Encode<T: ?Sized> {
    /// Returns the content type of the messages, for example `application/json`.
    fn content_type(&self) -> &'static str;

    /// Encodes `value`.
    ///
    /// # Errors
    /// `Encode`, with the cause as its source.
    fn encode(&self, value: &T) -> Result<Bytes>;
}

/// Decodes bodies as values of type `T`. A message of a type that the codec cannot decode does not
/// compile:
///
/// ```compile_fail,E0277
/// # fn consume(chan: &mooq::Channel) {
/// use std::time::Instant;
///
/// use mooq::Delivery;
///
/// // "the trait bound `Instant: serde::Deserialize<'de>` is not satisfied"
/// let _ = chan
///     .register_callback("times")
///     .callback(|_: Delivery<Instant>| async {});
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decode to `{T}`",
    label = "this codec cannot decode to `{T}`",
    note = "`Json` decodes to `serde::Deserialize` types that own their data, `RawBytes` to `Bytes` or `Vec<u8>`, `Text` to `String`"
)]
pub trait Decode<T> {
    /// Decodes `body`.
    ///
    /// # Errors
    /// `Decode`, with the cause as its source.
    fn decode(&self, body: &Bytes) -> Result<T>;
}

/// Decodes the body of a message. A message that was not taken in full has no value.
///
/// # Errors
/// `Decode`.
pub(crate) fn decode<T>(codec: &impl Decode<T>, message: &Message) -> Result<T> {
    match message.properties.headers.too_deep() {
        None => codec.decode(&message.body),
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

/// JSON, by serde: the default. Any `Serialize` value can be published, any `DeserializeOwned`
/// value consumed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn content_type(&self) -> &'static str {
        JSON_CONTENT_TYPE
    }

    fn encode(&self, value: &T) -> Result<Bytes> {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => write_json(&mut scratch, value),
            // The value encodes another one while it is written.
            Err(_) => write_json(&mut Vec::new(), value),
        })
    }
}

thread_local! {
    /// Buffer for JSON while its length is not known. The body is a copy of exactly its length,
    /// because it may stay long in its queue in memory.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Number of bytes of the JSON buffer that a thread keeps.
const SCRATCH_KEPT: usize = 64 * 1024;

fn write_json<T: Serialize + ?Sized>(scratch: &mut Vec<u8>, value: &T) -> Result<Bytes> {
    scratch.clear();
    serde_json::to_writer(&mut *scratch, value).map_err(|e| {
        Error::new(ErrorKind::Encode, format!("not expressible as JSON: {e}")).with_source(e)
    })?;
    if scratch.capacity() > SCRATCH_KEPT {
        return Ok(std::mem::take(scratch).into_boxed_slice().into());
    }
    Ok(Bytes::copy_from_slice(scratch))
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, body: &Bytes) -> Result<T> {
        serde_json::from_slice(body).map_err(|e| {
            let expected = std::any::type_name::<T>();
            let message = format!("the body is not JSON of type {expected}: {e}");
            Error::new(ErrorKind::Decode, message).with_source(e)
        })
    }
}

/// Raw bodies: consumed as `Bytes` or `Vec<u8>`, and published from any `AsRef<[u8]>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawBytes;

impl<T: AsRef<[u8]> + ?Sized> Encode<T> for RawBytes {
    fn content_type(&self) -> &'static str {
        BYTES_CONTENT_TYPE
    }

    fn encode(&self, value: &T) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(value.as_ref()))
    }
}

impl Decode<Bytes> for RawBytes {
    fn decode(&self, body: &Bytes) -> Result<Bytes> {
        Ok(body.clone())
    }
}

impl Decode<Vec<u8>> for RawBytes {
    fn decode(&self, body: &Bytes) -> Result<Vec<u8>> {
        Ok(body.to_vec())
    }
}

/// Bodies that are text in UTF-8, without JSON's quotes, as many other clients send strings.
///
/// # Examples
/// ```
/// use mooq::Text;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("hello").await?;
/// chan.publish_with("", "Hello World!", Text).routing_key("hello").await?;
///
/// let hello = chan.get_one::<String>("hello").codec(Text).await?;
/// assert_eq!(hello.ack().await?, "Hello World!");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl<T: AsRef<str> + ?Sized> Encode<T> for Text {
    fn content_type(&self) -> &'static str {
        TEXT_CONTENT_TYPE
    }

    fn encode(&self, value: &T) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(value.as_ref().as_bytes()))
    }
}

impl Decode<String> for Text {
    fn decode(&self, body: &Bytes) -> Result<String> {
        let text = std::str::from_utf8(body).map_err(|e| {
            let message = format!("the body is not text in UTF-8: {e}");
            Error::new(ErrorKind::Decode, message).with_source(e)
        })?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_body_has_no_room_to_spare() {
        let body = Json.encode("hi").unwrap();
        assert_eq!(body, r#""hi""#);
        assert_eq!(Vec::from(body).capacity(), 4);
    }

    #[test]
    fn a_body_larger_than_the_room_that_is_kept_is_whole() {
        let long = "x".repeat(2 * SCRATCH_KEPT);
        assert_eq!(Json.encode(&long).unwrap().len(), long.len() + 2);
        assert_eq!(Json.encode("hi").unwrap(), r#""hi""#);
    }

    #[test]
    fn text_that_is_no_utf_8_is_a_decode_error() {
        let err = Text.decode(&Bytes::from_static(b"\xff")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode);
        assert!(err.to_string().contains("UTF-8"), "{err}");
        let body = Text.encode("gr\u{fc}n").unwrap();
        assert_eq!(Text.decode(&body).unwrap(), "gr\u{fc}n");
    }

    #[test]
    fn a_value_may_encode_another_while_it_is_encoded() {
        struct Envelope;
        impl Serialize for Envelope {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                let inner = Json.encode("inner").map_err(serde::ser::Error::custom)?;
                s.serialize_bytes(&inner)
            }
        }
        let body = Json.encode(&("outer", Envelope)).unwrap();
        assert_eq!(body, r#"["outer",[34,105,110,110,101,114,34]]"#);
    }
}
