//! From values to bodies and back.

use std::cell::RefCell;

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const JSON_CONTENT_TYPE: &str = "application/json";
pub(crate) const BYTES_CONTENT_TYPE: &str = "application/octet-stream";

/// Turns values of type `T` into bodies.
pub trait Encode<T: ?Sized> {
    /// The content type that the messages carry, for example `application/json`.
    fn content_type(&self) -> &'static str;

    /// The body for `value`.
    ///
    /// # Errors
    /// `Encode`, with the cause as its source.
    fn encode(&self, value: &T) -> Result<Bytes>;
}

/// Turns bodies into values of type `T`.
pub trait Decode<T> {
    /// The value in `body`.
    ///
    /// # Errors
    /// `Decode`, with the cause as its source.
    fn decode(&self, body: &Bytes) -> Result<T>;
}

/// JSON, by serde: the default. Whatever is `Serialize` can be published, whatever is
/// `DeserializeOwned` consumed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn content_type(&self) -> &'static str {
        JSON_CONTENT_TYPE
    }

    fn encode(&self, value: &T) -> Result<Bytes> {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => write_json(&mut scratch, value),
            // Writing this value writes another one.
            Err(_) => write_json(&mut Vec::new(), value),
        })
    }
}

thread_local! {
    /// Where JSON is written while its length is not known. The body is a copy of the very
    /// length: in memory, it may wait in its queue for long.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How much room for JSON a thread keeps, in bytes.
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

/// Bodies as they are: `Bytes`, or anything that is bytes to publish.
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
