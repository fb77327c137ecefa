//! Messages of failed assertions, word for word.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mooq::memory::{DeadLetterReason, InMemoryBroker, PublishOutcome, Recording, Settled};
use mooq::{Channel, ConnectOptions, Connection};
use serde_json::json;

use crate::{publish, set_up};

/// The message of an assertion that fails.
fn failure(assertion: impl FnOnce()) -> String {
    let failed = catch_unwind(AssertUnwindSafe(assertion));
    let panic = failed.expect_err("the assertion holds");
    *panic.downcast::<String>().expect("it says why")
}

/// Two orders and an invoice, recorded.
async fn shop() -> (InMemoryBroker, Channel, Recording) {
    let (broker, _conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.declare_exchange("orders", "direct").await.unwrap();
    chan.declare_exchange("invoices", "topic").await.unwrap();
    chan.declare_queue("to-bill").await.unwrap();
    chan.bind_queue("to-bill", "orders", "placed")
        .await
        .unwrap();
    for pieces in [3, 4] {
        chan.publish("orders", &json!({"pieces": pieces}))
            .routing_key("placed")
            .await
            .unwrap();
    }
    chan.publish("invoices", &json!({"order": 7, "cents": 700}))
        .routing_key("fr")
        .header("retries", 2)
        .await
        .unwrap();
    (broker, chan, recording)
}

#[tokio::test]
async fn names_and_keys_are_globs() {
    let broker = InMemoryBroker::start();
    let recording = broker.record(100);
    let chan = mooq::connect(&broker).await.unwrap();
    let chan = chan.create_channel().await.unwrap();
    chan.declare_exchange("shop.orders", "topic").await.unwrap();
    for queue in ["notify.mail", "notify.sms", "bill"] {
        chan.declare_queue(queue).await.unwrap();
        chan.bind_queue(queue, "shop.orders", "order.*")
            .await
            .unwrap();
    }
    let publish = chan.publish("shop.orders", "tea").routing_key("order.new");
    publish.await.unwrap();
    recording.publishes().exchange("shop.*").assert_once();
    recording.publishes().routing_key("order.*").assert_once();
    recording.publishes().routing_key("refund.*").assert_never();
    recording.publishes().routed_to("notify.*").assert_once();
    recording.publishes().routed_to("ship.*").assert_never();
    for queue in ["notify.mail", "notify.sms", "bill"] {
        chan.get_one::<String>(queue)
            .await
            .unwrap()
            .reject()
            .await
            .unwrap();
    }
    recording.deliveries().queue("notify.*").assert_times(2);
    recording.dead_letters().queue("notify.*").assert_times(2);
    recording.dead_letters().queue("*").assert_times(3);
}

/// Consumers of two services may have the same tag.
#[tokio::test]
async fn records_tell_connections_apart() {
    let broker = InMemoryBroker::start();
    let recording = broker.record(100);
    for (name, body) in [("shop", "tea"), ("billing", "bill")] {
        let options = ConnectOptions::default().name(name);
        let conn = Connection::open(Arc::new(broker.transport()), options)
            .await
            .unwrap();
        let chan = conn.create_channel().await.unwrap();
        chan.publish("", body).routing_key(name).await.unwrap();
        chan.declare_queue(name).await.unwrap();
        chan.publish("", body).routing_key(name).await.unwrap();
        let mut deliveries = chan.consume::<String>(name).tag("t").await.unwrap();
        deliveries
            .next()
            .await
            .unwrap()
            .unwrap()
            .ack()
            .await
            .unwrap();
    }
    recording.publishes().connection("shop").assert_times(2);
    recording.deliveries().connection("bill*").assert_once();
    recording.deliveries().consumer("t").assert_times(2);
    let failed = failure(|| {
        let billed = recording.deliveries().connection("billing");
        billed.queue("shop").assert_once();
    });
    assert_eq!(
        failed,
        "\
expected exactly 1 delivery with
    connection: \"billing\"
    queue: \"shop\"
found no delivery among 2 recorded; the nearest other is delivery 1:
    connection: \"shop\" (differs)
    queue: \"shop\"
recorded deliveries:
    1: from queue \"shop\" to \"t\" of \"shop\", exchange \"\", routing key \"shop\", body \"tea\", acked
    2: from queue \"billing\" to \"t\" of \"billing\", exchange \"\", routing key \"billing\", body \"bill\", acked"
    );
    let failed = failure(|| recording.publishes().connection("x").assert_once());
    let publish = "1: exchange \"\", routing key \"shop\", body \"tea\", by \"shop\", unroutable";
    assert!(failed.contains(publish), "{failed}");
}

#[tokio::test]
async fn assertions_hold_for_existing_records() {
    let (_broker, _chan, recording) = shop().await;
    recording.publishes().assert_times(3);
    recording
        .publishes()
        .exchange("orders")
        .assert_at_least_once();
    recording
        .publishes()
        .json(&json!({"cents": 700, "order": 7}))
        .assert_once();
    recording
        .publishes()
        .routing_key("placed")
        .routed_to("to-bill")
        .assert_times(2);
    recording.publishes().body(r#"{"pieces":3}"#).assert_once();
    recording.publishes().header("retries", 2).assert_once();
    recording
        .publishes()
        .outcome(PublishOutcome::Unroutable)
        .assert_once();
    recording.publishes().exchange("refunds").assert_never();
    recording.deliveries().assert_never();
    let at_once = recording
        .publishes()
        .matching("is small", |p| p.message.body.len() < 15);
    at_once.assert_json_in_order(&[json!({"pieces": 3}), json!({"pieces": 4})]);
}

#[tokio::test]
async fn a_miss_shows_what_comes_nearest() {
    let (_broker, _chan, recording) = shop().await;
    let invoice = json!({"order": 7, "cents": 750});
    let failure = failure(|| {
        let invoices = recording.publishes().exchange("invoices");
        invoices.routing_key("fr").json(&invoice).assert_once();
    });
    assert_eq!(
        failure,
        "\
expected exactly 1 publish with
    exchange: \"invoices\"
    routing key: \"fr\"
    body: {\"cents\":750,\"order\":7}
found no publish among 3 recorded; the nearest other is publish 3:
    exchange: \"invoices\"
    routing key: \"fr\"
    body: {\"cents\":700,\"order\":7} (differs)
        at /cents: 700 instead of 750
recorded publishes:
    1: exchange \"orders\", routing key \"placed\", body {\"pieces\":3}, routed to \"to-bill\"
    2: exchange \"orders\", routing key \"placed\", body {\"pieces\":4}, routed to \"to-bill\"
    3: exchange \"invoices\", routing key \"fr\", body {\"cents\":700,\"order\":7}, unroutable"
    );
}

#[tokio::test]
async fn each_thing_that_differs_is_named() {
    let (_broker, _chan, recording) = shop().await;
    let failure = failure(|| {
        recording
            .publishes()
            .header("retries", 3)
            .routed_to("archive")
            .outcome(PublishOutcome::Routed)
            .body("text")
            .matching("is large", |publish| publish.message.body.len() > 1_000)
            .routing_key("fr")
            .assert_at_least_once();
    });
    assert_eq!(
        failure,
        "\
expected at least 1 publish with
    header \"retries\": I32(3)
    routed to: \"archive\"
    outcome: routed
    body: text
    is large: true
    routing key: \"fr\"
found no publish among 3 recorded; the nearest other is publish 1:
    header \"retries\": none (differs)
    routed to: \"to-bill\" (differs)
    outcome: routed
    body: {\"pieces\":3} (differs)
    is large: false (differs)
    routing key: \"placed\" (differs)
recorded publishes:
    1: exchange \"orders\", routing key \"placed\", body {\"pieces\":3}, routed to \"to-bill\"
    2: exchange \"orders\", routing key \"placed\", body {\"pieces\":4}, routed to \"to-bill\"
    3: exchange \"invoices\", routing key \"fr\", body {\"cents\":700,\"order\":7}, unroutable"
    );
}

#[tokio::test]
async fn assert_never_lists_what_it_found() {
    let (_broker, _chan, recording) = shop().await;
    let failure = failure(|| recording.publishes().exchange("orders").assert_never());
    assert_eq!(
        failure,
        "\
expected no publish with
    exchange: \"orders\"
found 2 publishes among 3 recorded:
    1: exchange \"orders\", routing key \"placed\", body {\"pieces\":3}, routed to \"to-bill\"
    2: exchange \"orders\", routing key \"placed\", body {\"pieces\":4}, routed to \"to-bill\""
    );
}

#[tokio::test]
async fn failure_of_an_empty_recording_says_0_recorded() {
    let (broker, _conn, _chan) = set_up().await;
    let recording = broker.record(100);
    let failure = failure(|| recording.deliveries().assert_times(2));
    assert_eq!(
        failure,
        "\
expected exactly 2 deliveries
found no delivery among 0 recorded"
    );
}

#[tokio::test]
async fn another_order_is_shown_beside_what_was_expected() {
    let (broker, _conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.declare_queue("numbers").await.unwrap();
    for number in [1, 3, 2] {
        publish(&chan, "numbers", number).await;
    }
    let failure = failure(|| {
        let numbers = recording.publishes().routing_key("numbers");
        numbers.assert_json_in_order(&[1, 2, 3]);
    });
    assert_eq!(
        failure,
        "\
expected exactly these publishes in this order with
    routing key: \"numbers\"
bodies:
    1: 1
    2: 2
    3: 3
found 3 publishes, which differ from number 2 on:
    1: 1
    2: 3
    3: 2"
    );
}

#[tokio::test]
async fn a_full_recording_asserts_only_what_it_knows() {
    let (broker, _conn, chan) = set_up().await;
    let recording = broker.record(2);
    chan.declare_queue("numbers").await.unwrap();
    for number in [1, 2, 3] {
        publish(&chan, "numbers", number).await;
    }
    recording.publishes().json(&1).assert_at_least_once();
    let missing = failure(|| recording.publishes().json(&3).assert_never());
    assert_eq!(
        missing,
        "\
expected no publish with
    body: 3
found no publish among 2 recorded
the recording was full at its limit of 2: 1 more came and are not in it"
    );
    let in_order = failure(|| recording.publishes().assert_json_in_order(&[1, 2]));
    assert!(
        in_order.ends_with(
            "found 2 publishes:\n    1: 1\n    2: 2\n\
             the recording was full at its limit of 2: 1 more came and are not in it"
        ),
        "{in_order}"
    );
}

#[tokio::test]
async fn deliveries_and_dead_letters_tell_of_their_queues() {
    let (broker, _conn, chan) = set_up().await;
    let recording = broker.record(100);
    chan.declare_queue("refused").await.unwrap();
    chan.declare_queue("jobs")
        .argument("x-dead-letter-exchange", "")
        .argument("x-dead-letter-routing-key", "refused")
        .await
        .unwrap();
    publish(&chan, "jobs", "dig").await;
    let job = chan.get_one::<String>("jobs").await.unwrap();
    job.reject().await.unwrap();

    let acked = failure(|| {
        let jobs = recording.deliveries().queue("jobs").consumer("digger");
        jobs.settled(Settled::Acked).assert_once();
    });
    assert_eq!(
        acked,
        "\
expected exactly 1 delivery with
    queue: \"jobs\"
    consumer: \"digger\"
    settled: acked
found no delivery among 1 recorded; the nearest other is delivery 1:
    queue: \"jobs\"
    consumer: whoever fetched it (differs)
    settled: rejected (differs)
recorded deliveries:
    1: from queue \"jobs\" to whoever fetched it, exchange \"\", routing key \"jobs\", body \"dig\", rejected"
    );
    let expired = failure(|| {
        let dead = recording.dead_letters().queue("jobs");
        dead.reason(DeadLetterReason::Expired).assert_once();
    });
    assert_eq!(
        expired,
        "\
expected exactly 1 dead letter with
    queue: \"jobs\"
    reason: expired
found no dead letter among 1 recorded; the nearest other is dead letter 1:
    queue: \"jobs\"
    reason: rejected (differs)
recorded dead letters:
    1: from queue \"jobs\", rejected, exchange \"\", routing key \"refused\", body \"dig\", routed to \"refused\""
    );
}
