//! The RabbitMQ transport of mooq, over [amqprs](https://docs.rs/amqprs).
//!
//! [`RabbitTransport`] is all there is to see: it opens connections that the runtime above
//! (mooq-client) drives through the traits of [`mooq_core::transport`].
//!
//! amqprs speaks the protocol; this crate gives it the manners that those traits ask for: futures
//! that may be dropped, one request at a time on a channel, typed reasons, and an end for every
//! wait. How it is built, from the outside in:
//!
//! | Module | Its one job |
//! |---|---|
//! | `transport`, `open`, `unusable` | connect and log in, and say what failed |
//! | `tls`, `flush` | TLS around it, and nothing left lying in it |
//! | `connection` | open channels, close, keep the connection while it is used |
//! | `channel` | AMQP's methods, each as a command in the channel's queue |
//! | `command`, `queue`, `pump` | take the commands in order and perform them, one at a time |
//! | `gate` | nothing is sent on a channel that the broker has closed |
//! | `callbacks`, `consumer`, `events` | what the broker says unasked, in its order |
//! | `state`, `session` | a channel's and a connection's end, and the reason of it |
//! | `confirms` | which publishes a close has to wait for |
//! | `numbers`, `reading` | what wears a connection out, and what ends it again and again |
//! | `convert` | mooq's words in amqprs' types, and back |
//!
//! # TLS
//! `amqps` is TLS 1.2 or 1.3 by [rustls](https://docs.rs/rustls), with ring for its cryptography,
//! which is chosen here and not by the process. The broker's certificate is verified, as
//! [`TlsOptions`](mooq_core::TlsOptions) say, and what is wrong with it is in the error, of kind
//! `TlsFailed`. When the broker refuses a login, a second connection is opened to see whether it
//! is TLS that fails, since amqprs does not tell. Logging in is by name and password, over TLS too.
//!
//! # Features
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `tls` | yes | `amqps`; without it that is `UnsupportedScheme` |
//!
//! # Limits
//! - With TLS a channel of each connection is taken, on which the broker is asked for an answer
//!   when nothing else is sent: amqprs does not flush, and what it sent last could lie in TLS.
//! - Certificates that are revoked are not known to be.
//! - `connection.blocked` is never announced, since amqprs does not ask for it: while the broker
//!   blocks, publishes wait without a word.
//! - Up to 8,192 messages of any size wait in amqprs' own queue on each connection, beyond those
//!   that a channel's queue holds.
//! - A connection on which the broker has closed 1,500 channels ends with `ConnectionLost`, since
//!   amqprs never uses their numbers again, and another one takes its place. It ends in good order:
//!   what it took before is sent, and confirms of it are waited for, up to 5 s.
//! - The order of deliveries is the broker's within each consumer; between consumers of one
//!   channel it is kept only roughly.
//! - A message with a header whose text is not UTF-8 ends the connection (amqprs cannot read it),
//!   goes back to its queue, and ends the next one. When that has happened three times in a row,
//!   the error and a warning name the queue.
//! - When a peer has stopped reading, amqprs' writer stays in the socket until the operating system
//!   gives it up. Nothing else waits for it: all calls end when two heartbeats have passed.
//! - amqprs' feature `traces`, which mooq does not enable, shows the password in trace events.

mod callbacks;
mod channel;
mod command;
mod confirms;
mod connection;
mod consumer;
mod convert;
mod events;
mod flush;
mod gate;
mod numbers;
mod open;
mod pump;
mod queue;
mod reading;
mod session;
mod state;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod transport;
mod unusable;

pub use transport::RabbitTransport;
