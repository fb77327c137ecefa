//! Quorum queues that hold only so much, and only so long.

use mooq_core::{Properties, Publish};

use super::scenarios;
use crate::Fixture;
use crate::raw::{message, quorum_queue};

async fn the_oldest_go_when_a_quorum_queue_is_full(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-max-length", 2.into())]).await;
    raw.fill(&q, &["1", "2", "3", "4"]).await;
    assert_eq!(raw.drain(&q).await, ["3", "4"]);
}

async fn the_oldest_go_when_a_quorum_queue_has_too_many_bytes(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-max-length-bytes", 5.into())])
        .await;
    raw.fill(&q, &["12", "34", "5", "6"]).await;
    assert_eq!(raw.drain(&q).await, ["34", "5", "6"]);
}

async fn what_came_back_is_the_oldest(fixture: Fixture) {
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

async fn what_comes_back_reaches_a_ready_consumer_before_the_limit_strikes(fixture: Fixture) {
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

/// A queue with a limit of 3 messages or bytes refuses every message after the fourth.
async fn refuses_from_the_fifth_on(fixture: Fixture, limit: &str) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let arguments = [(limit, 3.into()), ("x-overflow", "reject-publish".into())];
    raw.declare_quorum(&q, arguments).await;
    let mut taken = Vec::new();
    for body in ["1", "2", "3", "4", "5", "6"] {
        taken.push(raw.is_taken(&q, body).await);
    }
    assert_eq!(taken, [true, true, true, true, false, false]);
    // One that has not published to it before is refused as well.
    assert!(!fixture.publisher().await.is_taken(&q, "7").await);
    assert_eq!(raw.drain(&q).await, ["1", "2", "3", "4"]);
}

async fn a_full_quorum_queue_takes_one_more_before_it_refuses(fixture: Fixture) {
    refuses_from_the_fifth_on(fixture, "x-max-length").await;
}

async fn one_full_of_bytes_takes_one_more_before_it_refuses(fixture: Fixture) {
    refuses_from_the_fifth_on(fixture, "x-max-length-bytes").await;
}

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
    // It is not over its limit now, so whoever is new may fill it over it again.
    assert!(fixture.publisher().await.is_taken(&q, "8").await);
    assert!(!raw.is_taken(&q, "7").await);
    drained.fetch(&q).await;
    drained.fetch(&q).await;
    let taken_again = async {
        while !raw.is_taken(&q, "9").await {
            tokio::task::yield_now().await;
        }
    };
    crate::within("the end of the refusals", taken_again).await;
    assert_eq!(raw.drain(&q).await, ["4", "5", "6", "8", "9"]);
}

async fn refusing_to_the_dead_letter_exchange_is_dropping_the_oldest(fixture: Fixture) {
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
    tx.channel.tx_select().await.unwrap();
    tx.publish("", &q, "lost");
    tx.channel.tx_commit().await.unwrap();
    assert_eq!(raw.drain(&q).await, ["over"]);
}

async fn what_expires_at_once_reaches_a_ready_consumer_alone(fixture: Fixture) {
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

scenarios! { quorum_limits:
    the_oldest_go_when_a_quorum_queue_is_full,
    the_oldest_go_when_a_quorum_queue_has_too_many_bytes [before V4_3],
    what_came_back_is_the_oldest,
    what_comes_back_reaches_a_ready_consumer_before_the_limit_strikes,
    a_full_quorum_queue_takes_one_more_before_it_refuses,
    one_full_of_bytes_takes_one_more_before_it_refuses [before V4_3],
    a_publisher_is_refused_until_four_fifths_of_the_limit_are_left,
    refusing_to_the_dead_letter_exchange_is_dropping_the_oldest,
    a_refusal_does_not_fail_a_transaction,
    what_expires_at_once_reaches_a_ready_consumer_alone,
    a_message_expires_by_its_own_time_or_the_queues,
}
