//! CBOR.

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, Properties, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::error::{not_expressible, not_of_type};

/// CBOR ([RFC 8949](https://www.rfc-editor.org/rfc/rfc8949)), by serde. Any `Serialize` value can be
/// published, any `DeserializeOwned` value consumed.
///
/// Structs are maps from field names. Bodies that nest deeper than 128 levels are decode errors, and
/// so is anything after the value.
///
/// # Examples
/// ```
/// use mooq::Cbor;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("readings").await?;
/// chan.publish_with("", &(21.5, "C"), Cbor).routing_key("readings").await?;
///
/// let reading = chan.get_one::<(f64, String)>("readings").codec(Cbor).await?;
/// assert_eq!(reading.ack().await?, (21.5, "C".to_owned()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Cbor;

/// Levels of nesting, as serde_json allows: decoding recurses, and stacks end.
const MAX_DEPTH: usize = 128;

impl Cbor {
    /// The content type of published messages (RFC 8949, section 9.5).
    pub const CONTENT_TYPE: &'static str = "application/cbor";
}

impl<T: Serialize + ?Sized> Encode<T> for Cbor {
    fn encode(&self, value: &T) -> Result<Encoded> {
        let mut body = Vec::new();
        ciborium::into_writer(value, &mut body).map_err(|e| not_expressible("CBOR", e))?;
        Ok(Encoded::new(body.into_boxed_slice(), Self::CONTENT_TYPE))
    }
}

impl<T: DeserializeOwned> Decode<T> for Cbor {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<T> {
        let mut rest = &body[..];
        let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH);
        let value = value.map_err(|e| not_of_type::<T>("CBOR", e))?;
        match rest.len() {
            0 => Ok(value),
            after => Err(Error::new(
                ErrorKind::Decode,
                format!("the body has {after} bytes after its CBOR value"),
            )),
        }
    }
}

impl ContentTypes for Cbor {
    fn content_types(&self) -> &'static [&'static str] {
        &[Self::CONTENT_TYPE]
    }
}
