//! The mooq runtime: connections, channels, producers and consumers over any transport.
//!
//! Services use it through the facade, `mooq`, whose documentation begins with a tutorial. This
//! crate is written against the traits of [`mooq_core::transport`], so it behaves the same over
//! RabbitMQ and in memory.
//!
//! | Items | Purpose |
//! |---|---|
//! | [`Connection`], [`ConnectOptions`] | connecting, closing, processing events |
//! | [`Recovery`], [`ConnectionState`], [`Event`] | reopening lost connections and channels, and watching it |
//! | [`Channel`] | declaring, binding, and everything else that is registered on a channel |
//! | [`Publish`] | publishing, and its confirm |
//! | [`RegisterConsumer`], [`Callback`], [`ProcessEvents`] | consuming by callback |
//! | [`ConsumeQueue`], [`Get`] | consuming as a stream, or one message |
//! | [`Delivery`] | a message and its settlement |
//! | [`Encode`], [`Decode`] | codecs: [`Json`], [`Text`], [`RawBytes`], and your own |

mod channel;
mod codec;
mod confirmation;
mod connection;
mod consumer;
mod deferred;
mod delivery;
#[cfg(test)]
mod faulty;
mod forward;
mod frame;
mod lock;
mod options;
mod presence;
mod publish;
mod queue_arguments;
mod reasons;
mod recovery;
mod timeout;

pub use channel::{Bind, Channel, DeclareQueue, DeleteExchange, DeleteQueue, RegisterProducer};
pub use codec::{Decode, Encode, Json, RawBytes, Text};
pub use confirmation::{Confirmation, Published};
pub use connection::{Connection, ConnectionState, Event, Events};
pub use consumer::{
    Backoff, Callback, CallbackError, ConsumeQueue, Consumer, Deliveries, FailurePolicy, Get,
    GetOne, IntoOutcome, NoCallback, Outcome, ProcessEvents, Processing, RegisterCallback,
    RegisterConsumer, WithCallback,
};
pub use delivery::Delivery;
pub use options::ConnectOptions;
pub use publish::Publish;
pub use queue_arguments::Overflow;
pub use recovery::{OnLoss, Recovery, WhileDisconnected};
