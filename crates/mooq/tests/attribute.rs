//! `#[mooq::test]`, on the broker that `MOOQ_TEST_BROKER` names, and its failures if that broker is
//! not available: for these, this program runs itself again, for one of its own tests.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::env;
use std::panic;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mooq::memory::{ApplyTo, InMemoryBroker, Policy, Profile};
use mooq::testing::{FromBroker, Test, TestBroker};
use mooq::{Channel, Connection, ErrorKind, FieldTable};

#[mooq::test]
async fn attribute_gives_a_connection(conn: Connection) -> mooq::Result<()> {
    conn.create_channel().await?;
    Ok(())
}

#[mooq::test]
async fn arguments_of_one_test_meet(one: Channel, broker: TestBroker) -> mooq::Result<()> {
    one.declare_queue("greetings").await?;
    let other = mooq::connect(broker.url()).await?;
    let options = broker.options().name("greeter");
    assert_eq!(options.endpoint()?.vhost, *broker.vhost());
    let third = mooq::connect(options).await?.create_channel().await?;

    third.publish("", "hello").routing_key("greetings").await?;
    let chan = other.create_channel().await?;
    assert_eq!(
        chan.get_one::<String>("greetings").await?.ack().await?,
        "hello"
    );
    Ok(())
}

/// A service that uses another client reaches the broker by its URL.
#[cfg(feature = "server")]
#[mooq::test(wire)]
async fn wire_test_has_a_url_for_other_clients(broker: TestBroker, chan: Channel) {
    assert!(broker.url().starts_with("amqp://"), "{}", broker.url());
    let service = lapin::Connection::connect(broker.url(), Default::default());
    let service = service.await.unwrap().create_channel().await.unwrap();
    let queue = lapin::options::QueueDeclareOptions::default();
    let declared = service.queue_declare("orders".into(), queue, Default::default());
    declared.await.unwrap();

    chan.publish("", "a pencil")
        .routing_key("orders")
        .await
        .unwrap();
    let get = service.basic_get("orders".into(), Default::default());
    let fetched = get.await.unwrap().unwrap();
    assert_eq!(fetched.delivery.data, b"\"a pencil\"");
}

#[cfg(feature = "server")]
#[mooq::test(wire, memory)]
async fn wire_test_may_have_the_broker_itself(at: TestBroker, broker: InMemoryBroker) {
    let service = lapin::Connection::connect(at.url(), Default::default());
    let service = service.await.unwrap();
    assert_eq!(broker.connections("*").len(), 1);
    let outage = broker.faults().stop();
    let refused = lapin::Connection::connect(at.url(), Default::default());
    refused.await.unwrap_err();
    drop(outage);
    drop(service);
}

/// Declares the same names in several tests, which must not share them.
async fn alone(chan: Channel) {
    let queue = chan.declare_queue("the-same-name").await.unwrap();
    assert_eq!(queue.message_count, 0);
    let mine = chan.publish("", "mine").routing_key("the-same-name");
    mine.await.unwrap();
}

#[mooq::test]
async fn broker_of_a_test_is_its_own(chan: Channel) {
    alone(chan).await;
}

#[mooq::test]
async fn broker_of_a_second_test_is_its_own(chan: Channel) {
    alone(chan).await;
}

/// The compiler checks that the test may be awaited across threads.
#[mooq::test(multi_thread)]
async fn a_runtime_can_have_many_threads(chan: Channel) {
    let spawned = tokio::spawn(async move { chan.declare_queue("numbers").await });
    spawned.await.unwrap().unwrap();
}

#[mooq::test]
#[should_panic(expected = "an error that the test meets")]
async fn panic_fails_the_test(_conn: Connection) {
    panic!("an error that the test meets");
}

#[mooq::test(memory)]
async fn the_broker_is_in_memory(broker: InMemoryBroker, chan: Channel) -> mooq::Result<()> {
    chan.declare_queue("orders").await?;
    assert_eq!(broker.queues("*").len(), 1);
    Ok(())
}

#[mooq::test(paused)]
async fn paused_clock_passes_a_day_at_once(
    broker: InMemoryBroker,
    chan: Channel,
) -> mooq::Result<()> {
    let (day, began) = (Duration::from_secs(24 * 60 * 60), Instant::now());
    chan.declare_queue("offers").await?;
    let offer = chan.publish("", "half price").routing_key("offers");
    offer.expiration(day).await?;

    tokio::time::sleep(day).await;
    broker.wait_idle().await; // Until the broker has nothing left to do.
    assert_eq!(broker.queues("offers")[0].ready, 0);
    assert!(began.elapsed() < day / 1000);
    Ok(())
}

#[mooq::test(memory, profile = Profile::V4_3)]
async fn newest_profile_denies_transient_queues(chan: Channel) {
    let refused = chan.declare_queue("orders").transient().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BrokerInternalError, "{refused}");
}

#[mooq::test(memory, profile = Profile::V4_0)]
async fn older_profile_permits_transient_queues(chan: Channel) -> mooq::Result<()> {
    chan.declare_queue("orders").transient().await?;
    Ok(())
}

#[mooq::test]
async fn a_policy_is_set_and_cleared(broker: TestBroker, chan: Channel) -> mooq::Result<()> {
    let full = FieldTable::new()
        .with("max-length", 1)?
        .with("overflow", "reject-publish")?;
    let policy = Policy::new("^orders$", &full)?
        .apply_to(ApplyTo::Queues)
        .priority(7);
    broker.set_policy("at most 1", policy).await?;
    chan.declare_queue("orders").await?;
    chan.publish("", "a pencil").routing_key("orders").await?;
    let refused = chan.publish("", "a pen").routing_key("orders").await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Nacked);

    broker.clear_policy("at most 1").await?;
    broker.clear_policy("at most 1").await?; // Clearing a missing policy is no error.
    chan.publish("", "a pen").routing_key("orders").await
}

#[mooq::test]
async fn a_user_may_do_what_it_is_permitted(broker: TestBroker) -> mooq::Result<()> {
    let billing = broker.add_user("billing").await?;
    assert!(billing.name().starts_with("billing"), "{}", billing.name());
    let conn = mooq::connect(billing.options()).await?;
    conn.create_channel().await?.declare_queue("orders").await?;

    billing.set_permissions("^billing-", ".*", ".*").await?;
    let conn = mooq::connect(billing.options()).await?;
    let chan = conn.create_channel().await?;
    chan.declare_queue("billing-orders").await?;
    let refused = chan.declare_queue("refunds").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessRefused);
    assert!(refused.to_string().contains(billing.name()), "{refused}");

    let invalid = billing.set_permissions("(", "", "").await.unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::InvalidArgument, "{invalid}");
    Ok(())
}

#[mooq::test(seeds = 0..20)]
async fn seeds_are_run(broker: InMemoryBroker, conn: Connection) -> mooq::Result<()> {
    conn.create_channel().await?;
    assert!(broker.is_running());
    Ok(())
}

struct Shop {
    customer: Channel,
}

impl<On> FromBroker<On> for Shop {
    async fn from_broker(broker: &TestBroker) -> mooq::Result<Self> {
        let customer = mooq::connect(broker).await?.create_channel().await?;
        Ok(Self { customer })
    }
}

#[mooq::test]
async fn argument_may_be_of_an_own_type(shop: Shop) {
    let err = shop.customer.get::<String>("orders").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::QueueNotFound);
}

/// The panic message of a failing test.
fn failure(test: impl FnOnce() + panic::UnwindSafe) -> String {
    let panic = panic::catch_unwind(test).unwrap_err();
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[mooq::test(memory)]
async fn hanging_test_fails_and_reports_its_brokers_activity() {
    let hangs = |limit: Duration| {
        let test = Test::new("hangs").limit(limit);
        test.run(|broker| async move {
            let chan = mooq::connect(&broker)
                .await
                .unwrap()
                .create_channel()
                .await
                .unwrap();
            chan.declare_queue("orders").await.unwrap();
            let order = chan.publish("", "a pencil").routing_key("orders");
            order.await.unwrap();
            let _held = chan.get_one::<String>("orders").await.unwrap();
            std::future::pending::<()>().await;
        });
    };
    // On a busy machine a short limit passes before the message is held.
    for limit in [200, 2_000, 20_000].map(Duration::from_millis) {
        let said = failure(|| hangs(limit));
        let expected = format!("the test still runs after {limit:?}, its limit");
        assert!(said.starts_with(&expected), "{said}");
        if said.contains("1 unsettled") {
            return;
        }
    }
    panic!("the failure does not report the broker's activity");
}

#[mooq::test(memory)]
async fn blocking_test_with_a_paused_clock_fails() {
    let said = failure(|| {
        let test = Test::new("blocks")
            .paused()
            .limit(Duration::from_millis(20));
        test.run(|_| async { thread::park() });
    });
    assert!(said.starts_with("the test still runs after 20ms"), "{said}");
}

#[mooq::test(memory)]
async fn a_seed_that_fails_is_the_last() {
    let said = failure(|| {
        let test = Test::new("fails").seeds(3..9);
        test.run(|_| async { panic!("with the first of them") });
    });
    assert_eq!(said, "with the first of them");
}

/// Runs one of the tests above again, which must fail, and returns its output.
fn rerun(test: &str, variables: &[(&str, &str)]) -> String {
    let mut program = Command::new(env::current_exe().unwrap());
    program.args(["--exact", "--include-ignored", test]);
    program.envs(variables.iter().copied());
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        !output.status.success(),
        "the test should fail, but passes: {said}"
    );
    said
}

#[test]
fn a_broker_that_is_unknown_fails_the_test() {
    let said = rerun(
        "attribute_gives_a_connection",
        &[("MOOQ_TEST_BROKER", "rabbit")],
    );
    let expected = "MOOQ_TEST_BROKER is 'rabbit', \
                    expected memory, server, rabbitmq or amqp://user:password@host:port";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_rabbitmq_that_does_not_answer_fails_the_test() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let variables = [
        ("MOOQ_TEST_BROKER", "amqp://127.0.0.1"),
        ("MOOQ_TEST_MANAGEMENT", url.as_str()),
    ];
    let said = rerun("attribute_gives_a_connection", &variables);
    if cfg!(feature = "rabbit") {
        let expected =
            "RabbitMQ's management plugin, which makes virtual hosts and users, does not answer";
        assert!(said.contains(expected), "{said}");
    } else {
        assert!(said.contains("needs mooq's feature 'rabbit'"), "{said}");
    }
}

#[test]
fn no_docker_engine_fails_the_test() {
    let variables = [
        ("MOOQ_TEST_BROKER", "rabbitmq"),
        ("DOCKER_HOST", "tcp://127.0.0.1:1"),
    ];
    let said = rerun("attribute_gives_a_connection", &variables);
    if cfg!(feature = "testcontainers") {
        assert!(said.contains("none starts from image"), "{said}");
        assert!(said.contains("Is there a Docker engine?"), "{said}");
    } else {
        assert!(said.contains("needs mooq's feature"), "{said}");
    }
}

#[test]
fn memory_only_test_fails_on_other_brokers() {
    let said = rerun(
        "the_broker_is_in_memory",
        &[("MOOQ_TEST_BROKER", "amqp://127.0.0.1")],
    );
    assert!(
        said.contains("this test needs the in-memory broker"),
        "{said}"
    );
}
