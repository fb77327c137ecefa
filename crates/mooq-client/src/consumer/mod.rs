//! Consuming by callback, as a stream, or one message at a time.

mod attempt;
mod dispatch;
mod failure;
mod get;
mod handler;
mod outcome;
mod polling;
mod process_events;
mod processing;
mod register;
mod register_callback;
mod registered;
mod registration;
mod runner;
mod signal;
mod stream;

pub(crate) use attempt::{Attempt, Retry};
pub(crate) use dispatch::Dispatch;
pub(crate) use failure::Escape;
pub use failure::{Backoff, FailurePolicy};
pub use get::{Get, GetOne};
pub use outcome::{Callback, CallbackError, IntoOutcome, Outcome};
pub(crate) use polling::in_callback;
pub use process_events::ProcessEvents;
pub use processing::Processing;
pub use register::{NoCallback, RegisterConsumer, WithCallback};
pub use register_callback::RegisterCallback;
pub use registered::Consumer;
pub use stream::{ConsumeQueue, Deliveries};
