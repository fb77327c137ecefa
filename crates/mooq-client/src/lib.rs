//! The mooq runtime: connections, channels, producers and consumers over any transport.
//!
//! Services use it through the facade, `mooq`, whose documentation begins with a tutorial. Everything
//! here is written against the traits of [`mooq_core::transport`], so that it behaves the same over
//! RabbitMQ and in memory.
//!
//! | Module | What it does |
//! |---|---|
//! | [`Connection`], [`ConnectOptions`] | connecting, closing, processing events |
//! | [`Recovery`], [`ConnectionState`], [`Event`] | what is lost comes back, and how to watch it |
//! | [`Channel`] | declaring, binding, and all that is registered on a channel |
//! | [`Publish`] | publishing, and its confirm |
//! | [`RegisterConsumer`], [`Callback`], [`ProcessEvents`] | consuming by callback |
//! | [`ConsumeQueue`], [`Get`] | consuming as a stream, or one message |
//! | [`Delivery`] | a message and its settlement |
//! | [`Encode`], [`Decode`] | codecs: [`Json`], [`RawBytes`], and yours |

mod channel;
mod codec;
mod confirmation;
mod connection;
mod consumer;
mod deadline;
mod deferred;
mod delivery;
#[cfg(test)]
mod faulty;
mod frame;
mod lock;
mod options;
mod presence;
mod publish;
mod recovery;

pub use channel::{Bind, Channel, DeclareQueue, DeleteExchange, DeleteQueue, RegisterProducer};
pub use codec::{Decode, Encode, Json, RawBytes};
pub use confirmation::{Confirmation, Published};
pub use connection::{Connection, ConnectionState, Event, Events};
pub use consumer::{
    Callback, CallbackError, ConsumeQueue, Consumer, Deliveries, FailurePolicy, Get, IntoOutcome,
    NoCallback, Outcome, ProcessEvents, RegisterConsumer, WithCallback,
};
pub use delivery::Delivery;
pub use options::ConnectOptions;
pub use publish::Publish;
pub use recovery::{OnLoss, Recovery, WhileDisconnected};
