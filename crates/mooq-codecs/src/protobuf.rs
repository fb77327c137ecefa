//! Protocol Buffers.

use bytes::Bytes;
use mooq_core::{Properties, Result};
use prost::Message;

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::error::not_of_type;

/// [Protocol Buffers](https://protobuf.dev), by [prost](https://docs.rs/prost) 0.14: any
/// `prost::Message` can be published and consumed, whether prost-build has made it or it is derived.
///
/// Protocol Buffers do not name their type: bytes of one message often decode as another one, with
/// fields missing or unknown, and an empty body decodes as any message. Where a queue carries more
/// than one type, tell them apart with [`ByType`](crate::ByType). Messages that nest deeper than
/// prost's 100 levels are decode errors.
///
/// # Examples
/// ```
/// use mooq::Protobuf;
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Order {
///     #[prost(uint32, tag = "1")]
///     pieces: u32,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("orders").await?;
/// chan.publish_with("", &Order { pieces: 3 }, Protobuf).routing_key("orders").await?;
///
/// let order = chan.get_one::<Order>("orders").codec(Protobuf).await?;
/// assert_eq!(order.ack().await?.pieces, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Protobuf;

impl Protobuf {
    /// The content type of published messages, which is IANA's. Its older names
    /// `application/x-protobuf`, `application/x-protobuffer` and `application/vnd.google.protobuf`
    /// are accepted too.
    pub const CONTENT_TYPE: &'static str = "application/protobuf";
}

impl<T: Message> Encode<T> for Protobuf {
    fn encode(&self, value: &T) -> Result<Encoded> {
        Ok(Encoded::new(value.encode_to_vec(), Self::CONTENT_TYPE))
    }
}

impl<T: Message + Default> Decode<T> for Protobuf {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<T> {
        // The clone lets fields of type `Bytes` share the body.
        T::decode(body.clone()).map_err(|e| not_of_type::<T>("Protocol Buffers", e))
    }
}

impl ContentTypes for Protobuf {
    fn content_types(&self) -> &'static [&'static str] {
        &[
            Self::CONTENT_TYPE,
            "application/x-protobuf",
            "application/x-protobuffer",
            "application/vnd.google.protobuf",
        ]
    }
}
