//! Consuming: by callback, by stream, one at a time.

mod dispatch;
mod get;
mod handler;
mod outcome;
mod process_events;
mod register;
mod registered;
mod registration;
mod runner;
mod signal;
mod stream;

pub(crate) use dispatch::Dispatch;
pub use get::Get;
pub use outcome::{Callback, CallbackError, FailurePolicy, IntoOutcome, Outcome};
pub use process_events::ProcessEvents;
pub use register::{NoCallback, RegisterConsumer, WithCallback};
pub use registered::Consumer;
pub use stream::{ConsumeQueue, Deliveries};
