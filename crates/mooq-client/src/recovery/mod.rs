//! Recovery: how what is lost comes back.
//!
//! | File | What it does |
//! |---|---|
//! | `machine` | the states of a connection that recovers, without any I/O |
//! | `supervisor` | the task that does what the machine says |
//! | `restore` | putting exchanges, queues, bindings, channels and consumers on a new connection |
//! | `topology` | what was declared |
//! | `policy` | what the user chooses |
//!
//! A channel that is lost (with its connection, or alone since the broker closed it) keeps its
//! handle, its consumers and the publishes that wait; what it gets anew is a
//! [`Generation`](crate::channel::Generation).

mod machine;
mod policy;
mod restore;
mod supervisor;
mod topology;

pub use policy::{OnLoss, Recovery, WhileDisconnected};
pub(crate) use restore::open_generation;
pub(crate) use supervisor::supervise;
pub(crate) use topology::Topology;
