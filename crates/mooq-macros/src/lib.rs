//! The attribute of mooq's tests. It is used as `mooq::test`: the facade exports it with its
//! feature `test`, beside the runtime that its code calls, `mooq::testing`.

mod expand;
mod options;
mod variable;

use proc_macro::TokenStream;

/// A test with a broker of its own: on memory, or on a real RabbitMQ if the environment variable
/// `MOOQ_TEST_BROKER` says so.
///
/// Stands in place of `#[test]`, on an async function. Each of its arguments is made for it, by
/// its type:
///
/// | Argument | What the test gets |
/// |---|---|
/// | `Connection` | a connection to its broker; several are several connections |
/// | `Channel` | a channel on a connection of its own |
/// | `TestBroker` | the broker: its URL, its virtual host, further connections |
/// | `InMemoryBroker` | the in-memory broker, with all that only it can do; needs `memory` |
/// | a type of yours | whatever its `FromBroker` makes |
///
/// A test returns `()` or a `Result`, as with `#[test]`, and `#[should_panic]` and `#[ignore]` mean
/// what they do there. It runs on a current-thread tokio runtime, in a thread of its own.
///
/// # Options
///
/// | Option | Meaning |
/// |---|---|
/// | `memory` | needs the in-memory broker, for faults, recordings, `wait_idle`: where the tests run on RabbitMQ it is shown as ignored, with the reason |
/// | `paused` | tokio's clock is paused, and time passes as soon as there is nothing else to do; implies `memory` |
/// | `seeds = 0..100` | runs once with each seed, for every choice that RabbitMQ leaves open; implies `memory`. `MOOQ_SEED` names one |
/// | `multi_thread` | on a multi-thread runtime |
/// | `limit = Duration::from_secs(5)` | how long it may take, any expression that is a `Duration`; 60 s if not said |
///
/// # Environment
///
/// | Variable | Meaning |
/// |---|---|
/// | `MOOQ_TEST_BROKER` | not set or `memory`: the in-memory broker. `rabbitmq`: RabbitMQ in a container, one for all tests of the process; needs the feature `testcontainers`. `amqp://user:password@host:port`: a RabbitMQ that runs |
/// | `MOOQ_RABBITMQ_IMAGE` | the container's image, with the management plugin: `rabbitmq:4-management` if not set |
/// | `MOOQ_TEST_MANAGEMENT` | where the management plugin of a RabbitMQ that runs is, as `http://host:port`: port 15672 of its host if not set |
/// | `MOOQ_TEST_LIMIT` | how many seconds every test may take, whatever it says itself; `0` for no limit, as for a debugger |
///
/// On RabbitMQ each test has a virtual host of its own, which is deleted when it ends. A RabbitMQ
/// that was asked for and is not there fails the tests.
///
/// # Examples
/// ```test_harness
/// use mooq::{Connection, Delivery, ExchangeKind::Topic};
///
/// #[mooq::test]
/// async fn an_order_is_audited(conn: Connection) -> mooq::Result<()> {
///     let chan = conn.create_channel().await?;
///     chan.declare_queue("audit").await?;
///     chan.register_producer("orders", Topic).await?;
///     chan.bind_queue("audit", "orders", "order.#").await?;
///
///     chan.publish("orders", "a pencil").routing_key("order.new").await?;
///     assert_eq!(chan.get::<String>("audit").await?.ack().await?, "a pencil");
///     Ok(())
/// }
/// ```
///
/// What only the in-memory broker can do:
/// ```test_harness
/// use std::time::Duration;
///
/// use mooq::{Channel, InMemoryBroker};
///
/// #[mooq::test(paused)]
/// async fn an_offer_ends_after_a_day(broker: InMemoryBroker, chan: Channel) -> mooq::Result<()> {
///     let day = Duration::from_secs(24 * 60 * 60);
///     chan.declare_queue("offers").await?;
///     chan.publish("", "half price").routing_key("offers").expiration(day).await?;
///
///     tokio::time::advance(day).await;
///     broker.wait_idle().await;
///     assert_eq!(broker.queues("offers")[0].ready, 0);
///     Ok(())
/// }
/// ```
///
/// An `InMemoryBroker` needs `memory`, so that the test says that it cannot run on RabbitMQ:
/// ```compile_fail,E0277,test_harness
/// #[mooq::test]
/// async fn an_order_is_audited(broker: mooq::InMemoryBroker) {}
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, function: TokenStream) -> TokenStream {
    let on = variable::broker();
    expand::test(options.into(), function.into(), on)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
