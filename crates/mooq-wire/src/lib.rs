//! The codec of AMQP 0-9-1 with RabbitMQ's extensions.
//!
//! Bytes enter and leave as frames; in between are the types of `mooq-core`. The crate has no I/O,
//! no clock and no async runtime, and serves both ends of a connection: a server decodes the frames
//! that a client encodes, and the other way round.
//!
//! | Module | Contents |
//! |---|---|
//! | [`frame`] | frames: the decoder, and the protocol header that comes before all frames |
//! | [`method`] | the methods of all classes, each a struct with its fields in wire order |
//! | [`content`] | content headers, and the assembly of a method, its header and its body |
//! | [`field`], [`table`] | the types of fields, and tables of them |
//! | [`output`] | output to a peer: small frames copied into one buffer, bodies shared |
//! | [`limits`], [`error`] | limits on a peer's data, and errors in it |
//!
//! Every length, count and depth is checked before anything is allocated for it, so that a frame
//! costs no more memory than its own size times a small constant.
//!
//! ```
//! use bytes::BytesMut;
//! use mooq_wire::frame::{FrameDecoder, Payload};
//! use mooq_wire::method::{BasicPublish, Method};
//! use mooq_wire::{Limits, Output};
//!
//! let publish = Method::BasicPublish(BasicPublish {
//!     exchange: "".try_into()?,
//!     routing_key: "orders".try_into()?,
//!     mandatory: true,
//!     immediate: false,
//! });
//! let mut output = Output::new();
//! output.method(1, &publish);
//!
//! let mut input = BytesMut::from(&output.to_bytes()[..]);
//! let frame = FrameDecoder::new(Limits::default()).decode(&mut input)?.expect("a whole frame");
//! assert_eq!(frame.channel, 1);
//! let Payload::Method(bytes) = frame.payload else { panic!("not a method frame") };
//! assert_eq!(Method::decode(bytes, &Limits::default())?, publish);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod content;
pub mod error;
pub mod field;
pub mod frame;
pub mod limits;
pub mod method;
pub mod output;
mod properties;
mod reader;
pub mod table;
mod writer;

pub use error::DecodeError;
pub use limits::Limits;
pub use output::Output;
