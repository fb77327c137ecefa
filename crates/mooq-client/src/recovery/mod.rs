//! Recovery: reopening of lost connections and channels.
//!
//! | File | Contents |
//! |---|---|
//! | `machine` | the state machine of a connection that recovers, without any I/O |
//! | `supervisor` | the task that carries out the machine's actions |
//! | `restore` | restoring the lost connection's state on a new one, and channels with their consumers |
//! | `declaring` | redeclaring exchanges, queues and bindings |
//! | `late` | requests that the broker is slow to answer, and work that waits for them |
//! | `target` | the target of a restoration |
//! | `topology` | the declared topology, with its `bindings` |
//! | `policy` | the user's choices |
//!
//! A lost channel (lost with its connection, or alone because the broker closed it) keeps its
//! handle, its consumers and its waiting publishes. On reopening it gets a new
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
