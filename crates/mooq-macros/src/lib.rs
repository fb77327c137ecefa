//! The attributes of mooq's tests. [`macro@test`] is used as `mooq::test`: the facade exports it with
//! its feature `test`, beside the runtime that the generated code calls, `mooq::testing`.
//! [`macro@scenario`] is exported by mooq-conformance.

mod expand;
mod options;
mod scenario;
mod variable;

use proc_macro::TokenStream;

/// A test with a broker of its own: in memory, or on a real RabbitMQ if the environment variable
/// `MOOQ_TEST_BROKER` names one.
///
/// Takes the place of `#[test]`, on an async function. Each argument is made for the test, by its
/// type:
///
/// | Argument | Value |
/// |---|---|
/// | `Connection` | a connection to the test's broker; several arguments are several connections |
/// | `Channel` | a channel on a connection of its own |
/// | `TestBroker` | the broker: its URL, its virtual host, further connections |
/// | `InMemoryBroker` | the in-memory broker, with its additional features; needs `memory` |
/// | a type of yours | the result of its `FromBroker` |
///
/// A test returns `()` or a `Result`, as with `#[test]`, and `#[should_panic]` and `#[ignore]` have
/// the same meaning. The test runs on a current-thread tokio runtime, in a thread of its own.
///
/// # Options
///
/// | Option | Meaning |
/// |---|---|
/// | `memory` | needs the in-memory broker, for faults, recordings, `wait_idle`: if the tests run on RabbitMQ, the test is shown as ignored, with the reason |
/// | `wire` | the broker has an `amqp://` URL, for services that use another client: in memory it listens on a socket, which needs the feature `server` |
/// | `paused` | tokio's clock is paused, and time passes as soon as there is nothing else to do; implies `memory` |
/// | `seeds = 0..100` | runs once with each seed, for every choice that RabbitMQ leaves open; implies `memory`. `MOOQ_SEED` selects one seed |
/// | `profile = Profile::V4_3` | in memory the broker behaves as this version of RabbitMQ; a real RabbitMQ keeps its own version |
/// | `profiles = all`, `profiles = [V4_0, V4_3]` | in memory, a test for each version, named after it: `…_on_4_3`; on a real RabbitMQ, one test |
/// | `multi_thread` | runs on a multi-thread runtime |
/// | `limit = Duration::from_secs(5)` | time limit, any expression that is a `Duration`; 60 s by default |
///
/// # Environment
///
/// | Variable | Meaning |
/// |---|---|
/// | `MOOQ_TEST_BROKER` | not set or `memory`: the in-memory broker. `server`: the same over a socket, to which tests connect as to a RabbitMQ, but for those that need `memory`; needs the features `server` and `rabbit`. `rabbitmq`: RabbitMQ in a container, one for all tests of the process; needs the feature `testcontainers`. `amqp://user:password@host:port`: a running RabbitMQ |
/// | `MOOQ_RABBITMQ_IMAGE` | the container's image, with the management plugin: `rabbitmq:4.0-management` by default |
/// | `MOOQ_TEST_MANAGEMENT` | address of a running RabbitMQ's management plugin, as `http://host:port`: port 15672 of its host by default |
/// | `MOOQ_TEST_PROFILE` | version of RabbitMQ that the in-memory broker behaves as, in tests that do not set it themselves: `4.3` |
/// | `MOOQ_TEST_TIMELINE` | events of the in-memory broker that are printed when a test fails: a number, `all`, `mermaid` for the diagram too, or `off`; 100 by default |
/// | `MOOQ_TEST_TIMELINE_DIR` | directory for the files with all events of a test that failed, and their diagram: `mooq-timelines` beside the directory of the test's binary by default |
/// | `MOOQ_TEST_LIMIT` | time limit of every test in seconds, which overrides the test's own; `0` for no limit, as for a debugger |
///
/// `MOOQ_TEST_BROKER` is also read when the tests are compiled, because a test can only be shown as
/// ignored if that is known then. Cargo recompiles the tests when the variable changes. A binary
/// that was compiled for RabbitMQ and is run in memory fails: beside each ignored test there is
/// another, named `…_is_ignored_on_rabbitmq`, that names the remedy.
///
/// On RabbitMQ each test has a virtual host of its own, which is deleted when the test ends. If
/// RabbitMQ is selected but not available, the tests fail.
///
/// # Examples
/// ```test_harness
/// use mooq::{Connection, Delivery, ExchangeKind::Topic};
///
/// #[mooq::test]
/// async fn an_order_is_audited(conn: Connection) -> mooq::Result<()> {
///     let chan = conn.create_channel().await?;
///     chan.declare_queue("audit").await?;
///     chan.declare_exchange("orders", Topic).await?;
///     chan.bind_queue("audit", "orders", "order.#").await?;
///
///     chan.publish("orders", "a pencil").routing_key("order.new").await?;
///     assert_eq!(chan.get_one::<String>("audit").await?.ack().await?, "a pencil");
///     Ok(())
/// }
/// ```
///
/// A feature that only the in-memory broker has:
/// ```test_harness
/// use std::time::Duration;
///
/// use mooq::memory::InMemoryBroker;
/// use mooq::Channel;
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
/// A service that uses another client, here lapin, connects to the broker's URL. With `memory`, the
/// test also has the broker itself in its hand, with its faults and recordings:
/// ```test_harness
/// use mooq::memory::InMemoryBroker;
/// use mooq::testing::TestBroker;
///
/// #[mooq::test(wire, memory)]
/// async fn a_service_declares_its_queue(at: TestBroker, broker: InMemoryBroker) -> lapin::Result<()> {
///     let service = lapin::Connection::connect(at.url(), Default::default()).await?;
///     let channel = service.create_channel().await?;
///     let declare = channel.queue_declare("orders".into(), Default::default(), Default::default());
///     declare.await?;
///
///     assert_eq!(broker.queues("orders").len(), 1);
///     Ok(())
/// }
/// ```
///
/// A test that shows the effects of an upgrade of RabbitMQ:
/// ```test_harness
/// use mooq::Channel;
///
/// #[mooq::test(profiles = all)]
/// async fn an_order_is_kept(chan: Channel) -> mooq::Result<()> {
///     chan.declare_queue("orders").quorum().await?;
///     chan.publish("", "a pencil").routing_key("orders").await?;
///     assert_eq!(chan.get_one::<String>("orders").await?.ack().await?, "a pencil");
///     Ok(())
/// }
/// ```
///
/// A test has one version or several:
/// ```compile_fail,test_harness
/// use mooq::memory::Profile;
///
/// #[mooq::test(profile = Profile::V4_3, profiles = all)]
/// async fn an_order_is_kept() {}
/// ```
///
/// An `InMemoryBroker` needs `memory`, so that the test declares that it cannot run on RabbitMQ:
/// ```compile_fail,E0277,test_harness
/// #[mooq::test]
/// async fn an_order_is_audited(broker: mooq::memory::InMemoryBroker) {}
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, function: TokenStream) -> TokenStream {
    let on = variable::broker();
    expand::test(options.into(), function.into(), on)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// A scenario of mooq-conformance, which documents it.
#[proc_macro_attribute]
pub fn scenario(options: TokenStream, function: TokenStream) -> TokenStream {
    scenario::scenario(options.into(), function.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
