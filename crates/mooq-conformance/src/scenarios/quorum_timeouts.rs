//! Consumer timeouts of quorum queues: since RabbitMQ 4.3.

use mooq::{Delivery, ErrorKind};
use mooq_core::{Consume, ConsumerTag, FieldValue, QueueDeclare, Settlement};

use crate::raw::{Raw, body, consumer, quorum_queue_with, table, text};
use crate::scenario;
use crate::{Fixture, within};

/// A timeout that passes soon, in milliseconds.
const SOON: i32 = 3000;

/// The close text of a channel without a consumer to cancel.
const TIMED_OUT: &str = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. \
                         Timeout value used: -1 ms. This timeout value can be configured, see \
                         consumers doc guide to learn more";

fn hasty(name: &str) -> QueueDeclare {
    quorum_queue_with(name, [("x-consumer-timeout", FieldValue::from(SOON))])
}

/// A consumer on a channel of its own.
async fn consuming(fixture: &Fixture, queue: &str, prefetch: u16) -> (Raw, ConsumerTag) {
    let raw = fixture.raw().await;
    raw.prefetch(prefetch).await;
    let tag = raw.consume(queue).await;
    (raw, tag)
}

/// Fetches a message, and asserts its redelivered flag.
async fn fetches(raw: &Raw, queue: &str, expected: &str, again: bool) {
    let fetched = raw.fetch_soon(queue).await;
    assert_eq!(body(&fetched.message), expected);
    assert_eq!(fetched.redelivered, again, "{expected}");
    let count = fetched.message.properties.headers.get("x-delivery-count");
    assert_eq!(count, None, "no delivery has failed");
}

/// A queue of three messages, with a consumer that has two overdue deliveries.
async fn overdue(fixture: &Fixture, queue: &str) -> (Raw, Raw, ConsumerTag) {
    let mut publisher = fixture.publisher().await;
    publisher.declare_with(hasty(queue)).await;
    publisher.fill(queue, &["1", "2", "3"]).await;
    // Both at once: every overdue round cancels the consumer.
    let (mut raw, tag) = consuming(fixture, queue, 2).await;
    assert_eq!(raw.delivered(2).await, ["1", "2"]);
    assert_eq!(raw.cancelled().await, tag);
    publisher.until_counts(queue, (3, 1)).await;
    (publisher, raw, tag)
}

#[scenario(since = V4_3)]
async fn overdue_delivery_comes_back_and_its_consumer_is_cancelled(fixture: Fixture) {
    let q = fixture.name("q");
    let (publisher, mut raw, tag) = overdue(&fixture, &q).await;
    raw.cancel(&tag).await;
    // Late settlements change nothing.
    raw.ack(1);
    raw.settle(2, Settlement::Reject { requeue: false });
    raw.nothing_from(&q).await;
    for (body, again) in [("1", true), ("2", true), ("3", false)] {
        fetches(&publisher, &q, body, again).await;
    }
}

#[scenario(since = V4_3)]
async fn a_consumer_that_settles_late_gets_messages_again(fixture: Fixture) {
    let q = fixture.name("q");
    let (publisher, mut raw, _tag) = overdue(&fixture, &q).await;
    raw.ack(1);
    raw.nothing_from(&q).await;
    publisher.until_counts(&q, (3, 1)).await;
    // The client got `basic.cancel`, and may ignore deliveries of this consumer.
    raw.ack(2);
    publisher.until_counts(&q, (1, 1)).await;
}

#[scenario(since = V4_3)]
async fn each_delivery_has_its_own_time(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare_with(hasty(&q)).await;
    let (mut first, tag) = consuming(&fixture, &q, 1).await;
    publisher.fill(&q, &["1"]).await;
    assert_eq!(first.delivered(1).await, ["1"]);
    let (mut second, _) = consuming(&fixture, &q, 1).await;
    assert_eq!(first.cancelled().await, tag);
    // Another consumer gets the message, with its own time.
    let delivery = second.delivery().await;
    assert_eq!((text(&delivery), delivery.redelivered), ("1", true));
    // The first consumer counts although it gets nothing.
    publisher.until_counts(&q, (0, 2)).await;
    second.ack(delivery.delivery_tag);
    first.ack(1);
    publisher.until_counts(&q, (0, 2)).await;
}

#[scenario(since = V4_3)]
async fn a_consumer_may_have_more_time_than_its_queue(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare_with(hasty(&q)).await;
    let mut patient = fixture.raw().await;
    patient.prefetch(1).await;
    patient
        .consume_with(Consume {
            arguments: table([("x-consumer-timeout", 86_400_000.into())]),
            ..consumer(&q)
        })
        .await;
    publisher.fill(&q, &["1", "2"]).await;
    assert_eq!(patient.delivered(1).await, ["1"]);
    // A later consumer runs into its timeout.
    let (mut hasty, tag) = consuming(&fixture, &q, 1).await;
    assert_eq!(hasty.delivered(1).await, ["2"]);
    assert_eq!(hasty.cancelled().await, tag);
    patient.ack(1);
    assert_eq!(patient.delivered(1).await, ["2"]);
}

#[scenario(since = V4_3)]
async fn overdue_fetched_message_closes_its_channel(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare_with(hasty(&q)).await;
    publisher.fill(&q, &["1", "2"]).await;
    let mut raw = fixture.raw().await;
    fetches(&raw, &q, "1", false).await;
    raw.closes(406, (0, 0), TIMED_OUT).await;
    publisher.until_counts(&q, (2, 0)).await;
    fetches(&publisher, &q, "1", true).await;
    fetches(&publisher, &q, "2", false).await;
}

#[scenario(since = V4_3)]
async fn a_consumer_that_is_cancelled_already_cannot_be_told(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    publisher.declare_with(hasty(&q)).await;
    let (mut raw, tag) = consuming(&fixture, &q, 1).await;
    publisher.fill(&q, &["1", "2"]).await;
    assert_eq!(raw.delivered(1).await, ["1"]);
    raw.cancel(&tag).await;
    raw.closes(406, (0, 0), TIMED_OUT).await;
    publisher.until_counts(&q, (2, 0)).await;
    fetches(&publisher, &q, "1", true).await;
}

#[scenario(since = V4_3)]
async fn the_next_consumer_becomes_active_when_the_active_one_is_overdue(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let q = fixture.name("q");
    let mut declare = hasty(&q);
    let key = "x-single-active-consumer".try_into().unwrap();
    declare.arguments.insert(key, true);
    publisher.declare_with(declare).await;
    let (mut active, tag) = consuming(&fixture, &q, 1).await;
    publisher.fill(&q, &["1", "2"]).await;
    assert_eq!(active.delivered(1).await, ["1"]);
    let (mut next, _) = consuming(&fixture, &q, 1).await;
    assert_eq!(active.cancelled().await, tag);
    assert_eq!(next.delivered(1).await, ["1"]);
    // The consumer stays the active one.
    active.ack(1);
    active.nothing_from(&q).await;
    next.ack(1);
    assert_eq!(next.delivered(1).await, ["2"]);
    next.ack(2);
    publisher.until_counts(&q, (0, 1)).await;
}

#[scenario(since = V4_3)]
async fn a_callback_that_takes_too_long_ends_its_consumer_and_loses_nothing(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let publisher = fixture.raw().await;
    let q = fixture.name("q");
    publisher.declare_with(hasty(&q)).await;
    let (settled, mut settles) = tokio::sync::mpsc::unbounded_channel();
    let (finish, finished) = tokio::sync::watch::channel(false);
    chan.register_callback(&q)
        .prefetch(1)
        .callback(move |msg: Delivery<String>| {
            let (settled, mut finished) = (settled.clone(), finished.clone());
            async move {
                finished.wait_for(|finished| *finished).await.unwrap();
                settled.send(msg.ack().await).unwrap();
            }
        })
        .await
        .unwrap();
    chan.publish("", "body").routing_key(&q).await.unwrap();
    let processing = conn.clone();
    let processing = tokio::spawn(async move { processing.process_events().await });
    // The message is back, and its consumer gone.
    publisher.until_counts(&q, (1, 0)).await;
    finish.send(true).unwrap();
    let err = within("the consumer's end", processing).await.unwrap();
    assert_eq!(err.unwrap_err().kind(), ErrorKind::ConsumerCancelled);
    // RabbitMQ accepts the late ack and ignores it.
    within("the outcome", settles.recv())
        .await
        .unwrap()
        .unwrap();
    let again = chan.get::<String>(&q).await.unwrap().unwrap();
    assert!(again.redelivered);
    again.ack().await.unwrap();
    publisher.until_counts(&q, (0, 0)).await;
    conn.close().await.unwrap();
}

/// The broker's own timeout does not matter.
#[scenario(since = V4_3, alone, short_timeouts)]
async fn a_classic_queue_waits_for_ever(fixture: Fixture) {
    let (classic, quorum) = (fixture.name("classic"), fixture.name("quorum"));
    let mut publisher = fixture.publisher().await;
    publisher.declare(&classic).await;
    let _hurried = fixture.control().hurry_channels().await;
    publisher.fill(&classic, &["1"]).await;
    let (mut raw, _) = consuming(&fixture, &classic, 1).await;
    assert_eq!(raw.delivered(1).await, ["1"]);
    // Waits for longer than the broker's timeout, and as long as a quorum queue does.
    overdue(&fixture, &quorum).await;
    raw.nothing_from(&classic).await;
    raw.ack(1);
    raw.nothing_from(&classic).await;
    assert_eq!(publisher.counts(&classic).await, (0, 1));
}
