//! A driver of our own: AMQP 0-9-1 by mooq-wire, without amqprs.
//!
//! | Module | Responsibility |
//! |---|---|
//! | `session` | a connection as a state machine, without tokio: bytes, calls and time in; bytes and events out |
//! | `transport`, `open` | connect and log in, and report the step that failed |
//! | `task` | the task of a connection, which reads, writes and keeps the time |
//! | `shared`, `end` | what handles and task share: the session, the mailboxes, the callers that wait, and the end |
//! | `connection`, `channel` | the handles |

mod channel;
mod connection;
mod end;
mod open;
mod session;
mod shared;
mod task;
mod transport;

pub use transport::{NativeOnRuntime, NativeTransport};

use std::sync::atomic::{AtomicBool, Ordering};

static USED_FOR_ALL: AtomicBool = AtomicBool::new(false);

/// Lets every [`RabbitTransport`](crate::RabbitTransport) of this process connect with this driver:
/// for test suites that run with either driver.
#[doc(hidden)]
pub fn use_native_for_all() {
    USED_FOR_ALL.store(true, Ordering::Relaxed);
}

pub(crate) fn is_used_for_all() -> bool {
    USED_FOR_ALL.load(Ordering::Relaxed)
}
