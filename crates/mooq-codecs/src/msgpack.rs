//! MessagePack.

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, Properties, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::error::{not_expressible, not_of_type};

/// [MessagePack](https://msgpack.org), by serde. Any `Serialize` value can be published, any
/// `DeserializeOwned` value consumed.
///
/// Structs are encoded as maps from field names, as other languages write them and as JSON has them,
/// so that fields can be added later. Arrays of fields in their order are decoded too. Bodies that
/// nest deeper than 128 levels are decode errors, and so is anything after the value.
///
/// # Examples
/// ```
/// use mooq::MsgPack;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("readings").await?;
/// chan.publish_with("", &(21.5, "C"), MsgPack).routing_key("readings").await?;
///
/// let reading = chan.get_one::<(f64, String)>("readings").codec(MsgPack).await?;
/// assert_eq!(reading.ack().await?, (21.5, "C".to_owned()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MsgPack;

/// Levels of nesting, as serde_json allows: decoding recurses, and stacks end.
const MAX_DEPTH: usize = 128;

impl MsgPack {
    /// The content type of published messages, by which kombu knows MessagePack.
    /// `application/msgpack` and `application/vnd.msgpack`, IANA's name, are accepted too.
    pub const CONTENT_TYPE: &'static str = "application/x-msgpack";
}

impl<T: Serialize + ?Sized> Encode<T> for MsgPack {
    fn encode(&self, value: &T) -> Result<Encoded> {
        let body = rmp_serde::to_vec_named(value).map_err(|e| not_expressible("MessagePack", e))?;
        Ok(Encoded::new(body.into_boxed_slice(), Self::CONTENT_TYPE))
    }
}

impl<T: DeserializeOwned> Decode<T> for MsgPack {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<T> {
        let mut rest = &body[..];
        let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
        deserializer.set_max_depth(MAX_DEPTH);
        let value = T::deserialize(&mut deserializer);
        let value = value.map_err(|e| not_of_type::<T>("MessagePack", e))?;
        match rest.len() {
            0 => Ok(value),
            after => Err(Error::new(
                ErrorKind::Decode,
                format!("the body has {after} bytes after its MessagePack value"),
            )),
        }
    }
}

impl ContentTypes for MsgPack {
    fn content_types(&self) -> &'static [&'static str] {
        &[
            Self::CONTENT_TYPE,
            "application/msgpack",
            "application/vnd.msgpack",
        ]
    }
}
