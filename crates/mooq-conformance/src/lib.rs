//! Scenarios about RabbitMQ's behaviour, to be run over any transport of mooq.
//!
//! A scenario is an `async fn(Fixture)` under [`#[scenario]`](scenario) in a file of `scenarios`.
//! [`main`] runs all of them on every [`Backend`], each as a test of its own, named after version,
//! file and function: `v4_0::acks::acks_are_per_channel`. The same scenarios pass on live RabbitMQ
//! 3.10, 4.0 and 4.3.
//!
//! # Testing a transport
//! A test target without a harness is all that a transport of AMQP needs. It is run against the
//! in-memory broker on a socket:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! # use mooq_memory::MemoryTransport as MyTransport;
//! fn main() -> ExitCode {
//!     let brokers = mooq_conformance::served_over(Arc::new(MyTransport::new()), true);
//!     mooq_conformance::main(brokers)
//! }
//! ```
//!
//! The arguments are those of libtest: a filter, `--skip`, `--list`, `--test-threads`.
//!
//! # Testing a broker
//! For any other broker, implement six traits:
//!
//! | Trait | Its job |
//! |---|---|
//! | [`Backend`] | starts brokers of one version |
//! | [`Broker`] | says where a broker is, and gives the two that follow |
//! | [`Control`] | does what no client can, such as adding users and restarting |
//! | [`ClientNetwork`](line::ClientNetwork) | a network between one client and the broker |
//! | [`Condition`] | ends what `Control` or `ClientNetwork` began: an alarm, say |
//! | [`Disturbed`](line::Disturbed) | ends a disturbance of the network |
//!
//! A target runs one backend of each version: the names of its tests would not be unique otherwise.

// The code that `#[scenario]` generates names this crate.
extern crate self as mooq_conformance;

pub mod backend;
pub mod control;
pub mod expect;
pub mod fixture;
pub mod in_memory;
pub mod line;
pub mod raw;
pub mod refusals;
mod scenario;
mod scenarios;
pub mod steps;
pub mod suite;
pub mod version;

#[doc(hidden)]
pub use linkme;
/// Registers an `async fn(Fixture)` as a scenario.
///
/// | Option | Meaning |
/// |---|---|
/// | `since = V4_0` | holds for this version of RabbitMQ and later ones |
/// | `before = V4_3` | holds for earlier versions only |
/// | `alone` | runs while no other scenario uses the broker, because it disturbs them: it restarts the broker, say |
/// | `short_timeouts` | the in-memory broker has the [timeouts](control::CONSUMER_TIMEOUT) that hurried channels and queues have |
///
/// ```
/// use mooq_conformance::{Fixture, scenario};
///
/// #[scenario(since = V4_0)]
/// async fn a_queue_is_empty_at_first(fixture: Fixture) {
///     let (_conn, chan) = fixture.channel().await;
///     let queue = fixture.name("queue");
///     assert_eq!(chan.declare_queue(&queue).await.unwrap().message_count, 0);
/// }
///
/// let all = mooq_conformance::scenarios();
/// assert!(all.iter().any(|scenario| scenario.name.ends_with("a_queue_is_empty_at_first")));
/// ```
pub use mooq_macros::scenario;

pub use backend::{Backend, Broker};
pub use control::{Condition, Control};
pub use expect::{expect_reason, within};
pub use fixture::Fixture;
pub use in_memory::{in_memory, served_over};
pub use raw::Raw;
pub use scenario::{SCENARIOS, Scenario, scenarios};
pub use suite::main;
pub use version::{Version, Versions};
