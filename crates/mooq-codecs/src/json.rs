//! JSON.

use std::cell::RefCell;

use bytes::Bytes;
use mooq_core::{Properties, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::error::{not_expressible, not_of_type};

/// JSON, by serde: the default. Any `Serialize` value can be published, any `DeserializeOwned`
/// value consumed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl Json {
    /// The content type of published messages.
    pub const CONTENT_TYPE: &'static str = "application/json";
}

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(&self, value: &T) -> Result<Encoded> {
        let body = SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => write_json(&mut scratch, value),
            // The value encodes another one while it is written.
            Err(_) => write_json(&mut Vec::new(), value),
        });
        Ok(Encoded::new(body?, Self::CONTENT_TYPE))
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
    serde_json::to_writer(&mut *scratch, value).map_err(|e| not_expressible("JSON", e))?;
    if scratch.capacity() > SCRATCH_KEPT {
        return Ok(std::mem::take(scratch).into_boxed_slice().into());
    }
    Ok(Bytes::copy_from_slice(scratch))
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<T> {
        serde_json::from_slice(body).map_err(|e| not_of_type::<T>("JSON", e))
    }
}

impl ContentTypes for Json {
    fn content_types(&self) -> &'static [&'static str] {
        &[Self::CONTENT_TYPE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_body_has_no_room_to_spare() {
        let body = Json.encode("hi").unwrap().body;
        assert_eq!(body, r#""hi""#);
        assert_eq!(Vec::from(body).capacity(), 4);
    }

    #[test]
    fn a_body_larger_than_the_room_that_is_kept_is_whole() {
        let long = "x".repeat(2 * SCRATCH_KEPT);
        assert_eq!(Json.encode(&long).unwrap().body.len(), long.len() + 2);
        assert_eq!(Json.encode("hi").unwrap().body, r#""hi""#);
    }

    #[test]
    fn a_value_may_encode_another_while_it_is_encoded() {
        struct Envelope;
        impl Serialize for Envelope {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                let inner = Json.encode("inner").map_err(serde::ser::Error::custom)?;
                s.serialize_bytes(&inner.body)
            }
        }
        let body = Json.encode(&("outer", Envelope)).unwrap().body;
        assert_eq!(body, r#"["outer",[34,105,110,110,101,114,34]]"#);
    }
}
