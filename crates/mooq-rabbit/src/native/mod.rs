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
