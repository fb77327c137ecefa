//! The arguments of tests.

use std::future::Future;

use mooq_client::{Channel, Connection};
use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::InMemoryBroker;

use crate::broker::TestBroker;
use crate::run::fail;

/// Marks tests that run on memory and on RabbitMQ.
#[derive(Debug)]
pub enum AnyBroker {}

/// Marks tests that declare a need for the in-memory broker: `#[mooq::test(memory)]`.
#[derive(Debug)]
pub enum MemoryOnly {}

/// An argument of a test: [`Connection`], [`Channel`], [`TestBroker`], and, if the test needs the
/// in-memory broker (`On` is [`MemoryOnly`]), an [`InMemoryBroker`].
///
/// # Examples
/// A setup that several tests share can be an argument too:
/// ```test_harness
/// use mooq::testing::{FromBroker, TestBroker};
/// use mooq::{Channel, Connection};
///
/// struct Shop {
///     service: Connection,
///     customer: Channel,
/// }
///
/// impl<On> FromBroker<On> for Shop {
///     async fn from_broker(broker: &TestBroker) -> mooq::Result<Self> {
///         let service = mooq::connect(broker).await?;
///         let customer = mooq::connect(broker).await?.create_channel().await?;
///         customer.declare_queue("orders").await?;
///         Ok(Self { service, customer })
///     }
/// }
///
/// #[mooq::test]
/// async fn an_order_waits_for_the_service(shop: Shop) -> mooq::Result<()> {
///     shop.customer.publish("", "a pencil").routing_key("orders").await?;
///     let chan = shop.service.create_channel().await?;
///     assert_eq!(chan.get_one::<String>("orders").await?.ack().await?, "a pencil");
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of this test",
    label = "`#[mooq::test]` does not know how to make this",
    note = "it makes a `Connection`, a `Channel` or a `TestBroker`",
    note = "an `InMemoryBroker` needs `#[mooq::test(memory)]`: the test cannot run on RabbitMQ",
    note = "a type of your own needs `mooq::testing::FromBroker`"
)]
pub trait FromBroker<On>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// Any error: the test fails with it.
    fn from_broker(broker: &TestBroker) -> impl Future<Output = Result<Self>>;
}

impl<On> FromBroker<On> for TestBroker {
    async fn from_broker(broker: &TestBroker) -> Result<Self> {
        Ok(broker.clone())
    }
}

impl<On> FromBroker<On> for Connection {
    async fn from_broker(broker: &TestBroker) -> Result<Self> {
        broker.open().await
    }
}

impl<On> FromBroker<On> for Channel {
    async fn from_broker(broker: &TestBroker) -> Result<Self> {
        broker.open().await?.create_channel().await
    }
}

impl FromBroker<MemoryOnly> for InMemoryBroker {
    async fn from_broker(broker: &TestBroker) -> Result<Self> {
        let broker = broker.memory().cloned();
        broker.ok_or_else(|| {
            Error::new(
                ErrorKind::NotAllowed,
                "an InMemoryBroker needs a test in memory: MOOQ_TEST_BROKER names another broker",
            )
        })
    }
}

/// Makes an argument. `#[mooq::test]` calls this.
///
/// # Panics
/// If the argument cannot be made, so that the test fails.
pub async fn argument<T: FromBroker<On>, On>(broker: &TestBroker) -> T {
    match T::from_broker(broker).await {
        Ok(argument) => argument,
        Err(err) => fail(format!("an argument of the test cannot be made: {err}")),
    }
}
