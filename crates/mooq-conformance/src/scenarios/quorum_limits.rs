//! Quorum queues: length limits and expiry.

use std::sync::Arc;

use mooq_core::{FieldValue, Properties, Publish};

use crate::raw::{message, quorum_queue, quorum_queue_with, table};
use crate::scenario;
use crate::{Fixture, Version};

#[scenario]
async fn full_quorum_queue_drops_its_oldest_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-max-length", 2.into())]).await;
    raw.fill(&q, &["1", "2", "3", "4"]).await;
    assert_eq!(raw.drain(&q).await, ["3", "4"]);
}

#[scenario(before = V4_3)]
async fn quorum_queue_full_of_bytes_drops_its_oldest_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-max-length-bytes", 5.into())])
        .await;
    raw.fill(&q, &["12", "34", "5", "6"]).await;
    assert_eq!(raw.drain(&q).await, ["34", "5", "6"]);
}

#[scenario(since = V4_3)]
async fn properties_count_for_a_limit_in_bytes(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-max-length-bytes", 10.into())])
        .await;
    // Each message counts two bytes for absent properties: 4, 4, 3 and 3.
    raw.fill(&q, &["12", "34", "5", "6"]).await;
    assert_eq!(raw.drain(&q).await, ["34", "5", "6"]);
    // An expiration of six digits takes seven bytes more.
    let mut message = message("", &q, "7");
    let properties = Arc::make_mut(&mut message.properties);
    properties.expiration = Some("600000".try_into().unwrap());
    raw.put_message(Publish::new(message)).await;
    assert_eq!(raw.drain(&q).await, ["7"]);
    let mut message = self::message("", &q, "78");
    let properties = Arc::make_mut(&mut message.properties);
    properties.expiration = Some("600000".try_into().unwrap());
    raw.put_message(Publish::new(message)).await;
    assert_eq!(raw.drain(&q).await, [""; 0]);
}

#[scenario]
async fn requeued_message_is_the_oldest(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(
        &q,
        [("x-max-length", 2.into()), ("x-delivery-limit", 20.into())],
    )
    .await;
    raw.fill(&q, &["1", "2"]).await;
    let fetched = raw.fetch(&q).await;
    raw.fill(&q, &["3"]).await;
    assert_eq!(raw.counts(&q).await, (2, 1));
    raw.requeue(fetched.delivery_tag);
    raw.until_counts(&q, (2, 0)).await;
    assert_eq!(raw.drain(&q).await, ["2", "3"]);
}

#[scenario]
async fn requeued_message_reaches_a_ready_consumer_before_the_limit_strikes(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(
        &q,
        [("x-max-length", 1.into()), ("x-delivery-limit", 20.into())],
    )
    .await;
    let mut consuming = fixture.raw().await;
    consuming.prefetch(1).await;
    consuming.consume(&q).await;
    raw.fill(&q, &["1", "2"]).await;
    assert_eq!(consuming.delivered(1).await, ["1"]);
    consuming.requeue(1);
    assert_eq!(consuming.delivered(1).await, ["1"]);
    assert_eq!(raw.counts(&q).await, (1, 1));
}

/// A queue that is full with 3 messages refuses every message after the fourth.
async fn refuses_from_the_fifth_on(fixture: Fixture, limit: &str, three_messages: i32) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let arguments = [
        (limit, three_messages.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    raw.declare_quorum(&q, arguments).await;
    let mut taken = Vec::new();
    for body in ["1", "2", "3", "4", "5", "6"] {
        taken.push(raw.is_taken(&q, body).await);
    }
    assert_eq!(taken, [true, true, true, true, false, false]);
    // A channel that has not published before is refused as well.
    assert!(!fixture.publisher().await.is_taken(&q, "7").await);
    assert_eq!(raw.drain(&q).await, ["1", "2", "3", "4"]);
}

#[scenario]
async fn a_full_quorum_queue_takes_one_more_before_it_refuses(fixture: Fixture) {
    refuses_from_the_fifth_on(fixture, "x-max-length", 3).await;
}

#[scenario]
async fn quorum_queue_full_of_bytes_takes_one_more_before_it_refuses(fixture: Fixture) {
    // Since 4.3 each message counts two bytes more, for absent properties.
    let one = if fixture.version() >= Version::V4_3 {
        3
    } else {
        1
    };
    refuses_from_the_fifth_on(fixture, "x-max-length-bytes", 3 * one).await;
}

#[scenario]
async fn a_publisher_is_refused_until_four_fifths_of_the_limit_are_left(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(
        &q,
        [
            ("x-max-length", 5.into()),
            ("x-overflow", "reject-publish".into()),
        ],
    )
    .await;
    raw.fill(&q, &["1", "2", "3", "4", "5", "6"]).await;
    assert!(!raw.is_taken(&q, "7").await);
    let drained = raw.sibling().await;
    drained.fetch(&q).await;
    assert_eq!(raw.counts(&q).await, (5, 1));
    assert!(!raw.is_taken(&q, "7").await);
    // The queue is not over its limit now, so a new channel may fill it over the limit again.
    assert!(fixture.publisher().await.is_taken(&q, "8").await);
    assert!(!raw.is_taken(&q, "7").await);
    drained.fetch(&q).await;
    drained.fetch(&q).await;
    raw.until_taken(&q, "9").await;
    assert_eq!(raw.drain(&q).await, ["4", "5", "6", "8", "9"]);
}

#[scenario]
async fn reject_publish_dlx_drops_the_oldest(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    raw.declare_quorum(
        &q,
        [
            ("x-max-length", 1.into()),
            ("x-overflow", "reject-publish-dlx".into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", dead.as_str().into()),
        ],
    )
    .await;
    raw.fill(&q, &["1", "2"]).await;
    raw.until_counts(&dead, (1, 0)).await;
    assert_eq!(raw.drain(&dead).await, ["1"]);
    assert_eq!(raw.drain(&q).await, ["2"]);
}

#[scenario]
async fn a_refusal_does_not_fail_a_transaction(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(
        &q,
        [
            ("x-max-length", 0.into()),
            ("x-overflow", "reject-publish".into()),
        ],
    )
    .await;
    raw.fill(&q, &["over"]).await;
    let tx = raw.sibling().await;
    tx.methods().tx_select().await.unwrap();
    tx.publish("", &q, "lost");
    tx.methods().tx_commit().await.unwrap();
    assert_eq!(raw.drain(&q).await, ["over"]);
}

#[scenario]
async fn message_with_ttl_0_reaches_a_ready_consumer_alone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-message-ttl", 0.into())]).await;
    raw.fill(&q, &["lost"]).await;
    raw.until_counts(&q, (0, 0)).await;
    let mut consuming = fixture.raw().await;
    consuming.consume(&q).await;
    raw.fill(&q, &["delivered"]).await;
    assert_eq!(consuming.delivered(1).await, ["delivered"]);
}

#[scenario]
async fn a_message_expires_by_its_own_time_or_the_queues(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, by_queue) = (fixture.name("q"), fixture.name("by-queue"));
    raw.declare_with(quorum_queue(&q)).await;
    raw.declare_quorum(&by_queue, [("x-message-ttl", 1.into())])
        .await;
    for queue in [&q, &by_queue] {
        let mut mortal = message("", queue, "mortal");
        let mut properties = Properties::default();
        let expiration = if queue == &q { "1" } else { "3600000" };
        properties.expiration = Some(expiration.try_into().unwrap());
        mortal.properties = properties.into();
        raw.put_message(Publish::new(mortal)).await;
        raw.until_counts(queue, (0, 0)).await;
    }
    raw.fill(&q, &["stays"]).await;
    assert_eq!(raw.drain(&q).await, ["stays"]);
}

/// The dead letters of a full queue of four messages, two of which overflow.
async fn dead_letters_of_a_full_queue(fixture: &Fixture, how: &str) -> Vec<String> {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name(how), fixture.name(&format!("dead-{how}")));
    raw.declare(&dead).await;
    let arguments = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    let mut declare = quorum_queue_with(&q, arguments);
    if how == "returned" {
        declare
            .arguments
            .insert("x-max-length".try_into().unwrap(), 2);
    }
    raw.declare_with(declare).await;
    let policy = |limit| table([("max-length", FieldValue::from(limit))]);
    let mut leaving = raw.sibling().await;
    match how {
        "returned" => {
            leaving.prefetch(2).await;
            leaving.consume(&q).await;
            raw.fill(&q, &["1", "2"]).await;
            assert_eq!(leaving.delivered(2).await, ["1", "2"]);
            raw.fill(&q, &["3", "4"]).await;
            leaving.channel.close().await.unwrap();
        }
        _ => {
            raw.fill(&q, &["1", "2", "3", "4"]).await;
            let queues = mooq_memory::ApplyTo::Queues;
            let pattern = format!("^{q}$");
            let control = fixture.control();
            control
                .set_policy(&q, &pattern, queues, 0, &policy(2))
                .await;
        }
    }
    raw.until_counts(&dead, (2, 0)).await;
    raw.drain(&dead).await
}

#[scenario(before = V4_3)]
async fn overflow_of_one_command_dies_newest_first(fixture: Fixture) {
    for how in ["returned", "lowered"] {
        let dead = dead_letters_of_a_full_queue(&fixture, how).await;
        assert_eq!(dead, ["2", "1"], "{how}");
    }
    assert_eq!(pushed_out_by_bytes(&fixture).await, ["3", "2", "1"]);
}

#[scenario(since = V4_3)]
async fn overflow_of_one_command_dies_in_order(fixture: Fixture) {
    for how in ["returned", "lowered"] {
        let dead = dead_letters_of_a_full_queue(&fixture, how).await;
        assert_eq!(dead, ["1", "2"], "{how}");
    }
    assert_eq!(pushed_out_by_bytes(&fixture).await, ["1", "2", "3"]);
}

/// The messages that a single large one pushes out of a queue.
async fn pushed_out_by_bytes(fixture: &Fixture) -> Vec<String> {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("bytes"), fixture.name("dead-bytes"));
    raw.declare(&dead).await;
    let arguments = [
        ("x-max-length-bytes", 100.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    raw.declare_quorum(&q, arguments).await;
    // Room for the large message and one other, with the bytes that 4.3 counts beside the bodies.
    let small = |n: &str| n.repeat(10);
    let bodies = [
        small("1"),
        small("2"),
        small("3"),
        small("4"),
        "x".repeat(85),
    ];
    raw.fill(&q, &bodies.each_ref().map(String::as_str)).await;
    raw.until_counts(&dead, (3, 0)).await;
    let dead = raw.drain(&dead).await;
    dead.iter().map(|body| body[..1].to_owned()).collect()
}

/// The order in which messages of two priorities die that expire one after another.
async fn order_of_expiry(fixture: &Fixture) -> Vec<String> {
    let mut raw = fixture.raw().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    raw.declare_quorum(
        &q,
        [
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", dead.as_str().into()),
        ],
    )
    .await;
    for (body, priority, expiration) in [
        ("last", 9, "2700"),
        ("second", 9, "1800"),
        ("first", 1, "900"),
    ] {
        let mut message = message("", &q, body);
        let properties = Arc::make_mut(&mut message.properties);
        properties.priority = Some(priority);
        properties.expiration = Some(expiration.try_into().unwrap());
        // Published right after one another: waiting for a confirm in between may take long.
        raw.send(Publish::new(message));
    }
    raw.consume(&dead).await;
    raw.delivered(3).await
}

#[scenario(since = V4_3)]
async fn messages_of_each_priority_expire_by_themselves(fixture: Fixture) {
    // The second high message has to wait for the first.
    assert_eq!(order_of_expiry(&fixture).await, ["first", "last", "second"]);
}

#[scenario(before = V4_3)]
async fn expired_message_waits_for_those_that_leave_first(fixture: Fixture) {
    assert_eq!(order_of_expiry(&fixture).await, ["last", "second", "first"]);
}

#[scenario]
async fn expired_message_behind_a_fetched_one_is_counted(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let [q, witness, dead] = ["q", "witness", "dead"].map(|name| fixture.name(name));
    raw.declare_quorum(&q, []).await;
    raw.declare(&dead).await;
    let to_dead = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    raw.declare_quorum(&witness, to_dead).await;
    for no_ack in [false, true] {
        raw.fill(&q, &["fetched"]).await;
        for queue in [&q, &witness] {
            let mut message = message("", queue, "expired");
            let properties = Arc::make_mut(&mut message.properties);
            properties.expiration = Some("0".try_into().unwrap());
            raw.put_message(Publish::new(message)).await;
        }
        // Both have expired once the witness's dead letter is there.
        let letter = raw.fetch_soon(&dead).await;
        raw.ack(letter.delivery_tag);
        let fetched = raw.channel.get(q.as_str().try_into().unwrap(), no_ack);
        let fetched = fetched.await.unwrap().unwrap();
        // A settlement at once has the queue drop expired messages before it counts.
        assert_eq!(fetched.message_count, u32::from(!no_ack), "{no_ack}");
        assert!(raw.get(&q).await.is_none());
    }
}
