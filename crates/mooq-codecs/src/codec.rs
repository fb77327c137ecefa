//! The interface of a codec.

use std::sync::Arc;

use bytes::Bytes;
use mooq_core::{Properties, Result, ShortString};

/// Encodes values of type `T` as bodies.
///
/// # Examples
/// ```
/// use mooq::{Encode, Encoded};
///
/// /// One line of comma-separated numbers.
/// struct Csv;
///
/// impl Encode<[u32]> for Csv {
///     fn encode(&self, value: &[u32]) -> mooq::Result<Encoded> {
///         let fields: Vec<_> = value.iter().map(u32::to_string).collect();
///         Ok(Encoded::new(fields.join(","), "text/csv"))
///     }
/// }
///
/// assert_eq!(Csv.encode(&[1, 2, 3])?.body, "1,2,3");
/// # Ok::<(), mooq::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot encode `{T}`",
    label = "this codec cannot encode `{T}`",
    note = "`Json`, `MsgPack` and `Cbor` encode `serde::Serialize` types, `Protobuf` `prost::Message` types, `RawBytes` `AsRef<[u8]>` types, `Text` `AsRef<str>` types"
)]
pub trait Encode<T: ?Sized> {
    /// Encodes `value`.
    ///
    /// # Errors
    /// `Encode`, with the cause as its source.
    fn encode(&self, value: &T) -> Result<Encoded>;
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
    note = "`Json`, `MsgPack` and `Cbor` decode to `serde::Deserialize` types that own their data, `Protobuf` to `prost::Message` types, `RawBytes` to `Bytes` or `Vec<u8>`, `Text` to `String`"
)]
pub trait Decode<T> {
    /// Decodes `body`, the body of a message with these properties. Most codecs need only the body.
    ///
    /// # Errors
    /// `Decode`, with the cause as its source.
    fn decode(&self, body: &Bytes, properties: &Properties) -> Result<T>;
}

/// The content types by which a [`ByContentType`](crate::ByContentType) chooses a codec.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no content types",
    note = "implement `ContentTypes`, or name one with `or_as`"
)]
pub trait ContentTypes {
    /// Returns the content types of the bodies that the codec decodes, in lower case and without
    /// parameters.
    fn content_types(&self) -> &'static [&'static str];
}

/// An encoded body, and the properties that tell a consumer how to decode it. Those that are `None`
/// are absent from the message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// The MIME type of the value, for example `application/json`; at most 255 bytes.
    pub content_type: &'static str,
    /// The compression of the body, for example `gzip`; at most 255 bytes.
    pub content_encoding: Option<&'static str>,
    /// The application's type of the message (`type` in AMQP).
    pub kind: Option<ShortString>,
}

impl Encoded {
    /// A body of this content type, which is neither compressed nor typed.
    pub fn new(body: impl Into<Bytes>, content_type: &'static str) -> Self {
        Self {
            body: body.into(),
            content_type,
            content_encoding: None,
            kind: None,
        }
    }
}

/// A shared codec is a codec: one that is expensive to make serves many publishes and consumers.
macro_rules! shared {
    ($($shared:ty),+) => {$(
        impl<T: ?Sized, C: Encode<T> + ?Sized> Encode<T> for $shared {
            fn encode(&self, value: &T) -> Result<Encoded> {
                (**self).encode(value)
            }
        }

        impl<T, C: Decode<T> + ?Sized> Decode<T> for $shared {
            fn decode(&self, body: &Bytes, properties: &Properties) -> Result<T> {
                (**self).decode(body, properties)
            }
        }

        impl<C: ContentTypes + ?Sized> ContentTypes for $shared {
            fn content_types(&self) -> &'static [&'static str] {
                (**self).content_types()
            }
        }
    )+};
}

shared!(&C, Arc<C>);
