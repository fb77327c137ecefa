//! The mooq runtime: connections, channels, producers and consumers over any transport.
//!
//! Services use it through the facade, `mooq`, whose documentation begins with a tutorial. This
//! crate uses only the traits of [`mooq_core::transport`], so it behaves the same on RabbitMQ and
//! in memory.
//!
//! | Items | Purpose |
//! |---|---|
//! | [`Connection`], [`ConnectOptions`] | connecting, closing, processing events |
//! | [`CredentialsProvider`] | credentials that change |
//! | [`Recovery`], [`ConnectionState`], [`Event`] | reopening lost connections and channels, and watching it |
//! | [`Channel`] | declaring, binding, and everything else that is registered on a channel |
//! | [`Publish`] | publishing, and its confirm |
//! | [`RegisterConsumer`], [`Callback`], [`ProcessEvents`] | consuming by callback |
//! | [`Retry`] | what becomes of a message that fails |
//! | [`ConsumeQueue`], [`Get`] | consuming as a stream, or one message |
//! | [`Delivery`] | a message and its settlement |
//! | [`layers`] | layers around callbacks and publishes |
//! | [`hooks`] | hooks for crates that build on this one |

mod api;
mod runtime;

pub use api::channel::Channel;
pub use api::confirmation::{Confirmation, Outgoing};
pub use api::connection::Connection;
pub use api::consumer::Consumer;
pub use api::declare::{Bind, DeclareQueue, DeleteExchange, DeleteQueue};
pub use api::delay::DelayedPublish;
pub use api::delivery::Delivery;
pub use api::events::Events;
pub use api::exchange::DeclareExchange;
pub use api::get::{Get, GetOne};
pub use api::hooks;
pub use api::layers;
pub use api::options::ConnectOptions;
pub use api::outcome::{Callback, CallbackError, IntoOutcome};
pub use api::process_events::ProcessEvents;
pub use api::processing::Processing;
pub use api::publish::Publish;
pub use api::published::Published;
pub use api::register::{NoCallback, RegisterConsumer, WithCallback};
pub use api::register_callback::RegisterCallback;
pub use api::stream::{ConsumeQueue, Deliveries};
pub use mooq_core::Overflow;
pub use mooq_credentials::CredentialsProvider;
pub use mooq_retry::{Outcome, Retry};
pub use mooq_session::{ConnectionState, Event, Fate, OnLoss, Recovery, WhileDisconnected};
