//! What runs mooq's tests: each with a broker of its own, in memory or on a real RabbitMQ.
//!
//! Most tests use the attribute `#[mooq::test]`, whose documentation says what the environment
//! variables mean. What it does can be done without it as well: [`Test`] is what it expands to, and
//! [`TestBroker::start`] gives a test that has another attribute a broker.
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
//!     let chan = broker.connect().await?.create_channel().await?;
//!     chan.declare_queue("numbers").await?;
//!     chan.publish("", &42).routing_key("numbers").await?;
//!     assert_eq!(chan.get::<i32>("numbers").await?.ack().await?, 42);
//!     Ok(())
//! }
//! ```

mod argument;
mod broker;
mod choice;
mod limit;
#[cfg(feature = "rabbit")]
mod rabbitmq;
mod run;

pub use argument::{AnyBroker, FromBroker, MemoryOnly, argument};
pub use broker::TestBroker;
pub use run::Test;
