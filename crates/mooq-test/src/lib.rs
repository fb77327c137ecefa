//! Tests with a broker of their own, in memory or on a real RabbitMQ.
//!
//! Most tests use the attribute `#[mooq::test]`, whose documentation lists the environment
//! variables. The same is possible without the attribute: [`Test`] is the type it expands to, and
//! [`TestBroker::start`] starts a broker for a test that has another attribute.
//!
//! ```test_harness
//! use mooq::testing::{Test, TestBroker};
//!
//! // As #[mooq::test] has it.
//! #[test]
//! fn a_number_stays_in_its_queue() {
//!     let test = Test::new("a_number_stays_in_its_queue");
//!     test.run(|broker| async move { numbers(&broker).await.unwrap() });
//! }
//!
//! // With any other attribute.
//! #[tokio::test]
//! async fn a_number_stays_in_its_queue_too() -> mooq::Result<()> {
//!     numbers(&TestBroker::start()?).await
//! }
//!
//! async fn numbers(broker: &TestBroker) -> mooq::Result<()> {
//!     let chan = mooq::connect(broker).await?.create_channel().await?;
//!     chan.declare_queue("numbers").await?;
//!     chan.publish("", &42).routing_key("numbers").await?;
//!     assert_eq!(chan.get_one::<i32>("numbers").await?.ack().await?, 42);
//!     Ok(())
//! }
//! ```

mod argument;
mod broker;
mod choice;
mod limit;
#[cfg(feature = "rabbit")]
mod rabbitmq;
mod report;
mod run;
mod seeds;
#[cfg(feature = "server")]
mod socket;

pub use argument::{AnyBroker, FromBroker, MemoryOnly, argument};
pub use broker::{TestBroker, TestUser};
pub use run::{Test, expect_no_memory};
pub use seeds::for_each_seed;
