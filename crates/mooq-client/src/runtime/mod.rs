//! The shell around [`mooq_session`]: one task for each connection, and the locks that its handles
//! share.
//!
//! | File | Contents |
//! |---|---|
//! | `inner` | the state that the handles of a connection share: the session under its lock |
//! | `driver` | the task of a connection: it makes requests, and reads events |
//! | `wire` | channels of the transport, and deliveries that are not settled |
//! | `handles` | references that keep a connection and a channel open |
//! | `opening`, `link` | the first connection, and each after it |
//! | `shutdown` | ending in order |
//! | `callbacks` | running callbacks |
//! | `polling` | per thread: the connection whose callbacks it polls, and the time that a poll takes |
//! | `signal` | a future that is polled only after it was woken, for graceful shutdown |
//! | `handler`, `attempt`, `failing` | one delivery's way through a callback |
//! | `moving` | moving a failed message to the queue in which it waits or is parked |
//! | `buffer` | space for publishes that wait |
//! | `timeout` | the time limit of every call |
//! | `lock` | locking a mutex that may be poisoned |

pub(crate) mod attempt;
mod buffer;
pub(crate) mod callbacks;
mod driver;
mod failing;
pub(crate) mod handler;
mod handles;
mod inner;
mod link;
mod lock;
pub(crate) mod moving;
mod opening;
pub(crate) mod polling;
mod shutdown;
mod signal;
pub(crate) mod timeout;
mod wire;

pub(crate) use handles::{ChannelRef, ConnectionRef};
pub(crate) use inner::Tokio;
pub(crate) use lock::lock;
pub(crate) use opening::open;
pub(crate) use shutdown::{close, shutdown};
pub(crate) use wire::{Unsettled, WireRef};
