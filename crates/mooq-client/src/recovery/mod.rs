//! Recovery: how what is lost comes back.
//!
//! | File | What it does |
//! |---|---|
//! | `machine` | the states of a connection that recovers, without any I/O |
//! | `supervisor` | the task that does what the machine says |
//! | `restore` | putting all that was on the lost connection on a new one, and channels with their consumers |
//! | `declaring` | declaring exchanges, queues and bindings again |
//! | `late` | what the broker takes its time over, and what waits for that |
//! | `target` | what things are put on again |
//! | `topology` | what was declared, with its `bindings` |
//! | `policy` | what the user chooses |
//!
//! A channel that is lost (with its connection, or alone since the broker closed it) keeps its
//! handle, its consumers and the publishes that wait; what it gets anew is a
//! [`Generation`](crate::channel::Generation).

mod declaring;
mod late;
mod machine;
mod policy;
mod restore;
mod supervisor;
mod target;
mod topology;

pub use policy::{OnLoss, Recovery, WhileDisconnected};
pub(crate) use restore::open_generation;
pub(crate) use supervisor::supervise;
pub(crate) use topology::Topology;
