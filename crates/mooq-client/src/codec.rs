//! From values to bodies and back.

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
        let json = serde_json::to_vec(value).map_err(|e| {
            Error::new(ErrorKind::Encode, format!("not expressible as JSON: {e}")).with_source(e)
        })?;
        // Without the room to spare: in memory, a body may wait in its queue for long.
        Ok(json.into_boxed_slice().into())
    }
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
}
