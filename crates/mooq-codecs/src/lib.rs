//! The codecs of mooq: values to message bodies and back.
//!
//! Services use them through the facade, `mooq`, which has them at its root. This crate has no I/O
//! and no async runtime.
//!
//! | Items | Purpose |
//! |---|---|
//! | [`Encode`], [`Decode`], [`Encoded`] | the interface of a codec, for your own |
//! | [`Json`], [`Text`], [`RawBytes`] | always there |
//! | `MsgPack`, `Cbor`, `Protobuf` | with the features `msgpack`, `cbor` and `protobuf` |
//! | [`ByContentType`], [`ContentTypes`] | a set of codecs, chosen by the message's content type |
//! | `Compressed` | gzip and zstd around any codec, with the features `gzip` and `zstd` |
//! | [`ByType`] | versions of a schema, told apart by the message's `type` |
//! | [`Draft`] | a message that is being written, for crates that build on this one |
//! | [`CodecError`] | the source of an error, to match on |

mod by_content_type;
mod by_type;
#[cfg(feature = "cbor")]
mod cbor;
mod codec;
#[cfg(any(feature = "gzip", feature = "zstd"))]
mod compressed;
#[cfg(any(feature = "gzip", feature = "zstd"))]
mod compression;
mod draft;
mod error;
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
mod plain;
#[cfg(feature = "protobuf")]
mod protobuf;

pub use by_content_type::ByContentType;
pub use by_type::ByType;
#[cfg(feature = "cbor")]
pub use cbor::Cbor;
pub use codec::{ContentTypes, Decode, Encode, Encoded};
#[cfg(any(feature = "gzip", feature = "zstd"))]
pub use compressed::Compressed;
pub use draft::Draft;
pub use error::CodecError;
pub use json::Json;
#[cfg(feature = "msgpack")]
pub use msgpack::MsgPack;
pub use plain::{RawBytes, Text};
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
