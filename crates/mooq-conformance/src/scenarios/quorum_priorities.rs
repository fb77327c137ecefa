//! Quorum queues: priorities, which differ in each version.

use mooq_core::{Properties, Publish};

use crate::Fixture;
use crate::raw::{Raw, body, message, quorum_queue};
use crate::scenario;

impl Raw {
    /// Publishes a message of this priority, which is also its body.
    async fn put_prioritized(&mut self, queue: &str, body: &str, priority: Option<u8>) {
        let mut message = message("", queue, body);
        let mut properties = Properties::default();
        properties.priority = priority;
        message.properties = properties.into();
        self.put_message(Publish::new(message)).await;
    }
}

/// Publishes messages of several priorities, and returns the order in which they leave.
async fn order_by_priority(fixture: &Fixture) -> Vec<String> {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    for (body, priority) in [
        ("none", None),
        ("0", Some(0)),
        ("4", Some(4)),
        ("5", Some(5)),
        ("9", Some(9)),
        ("255", Some(255)),
        ("6", Some(6)),
    ] {
        raw.put_prioritized(&q, body, priority).await;
    }
    raw.drain(&q).await
}

#[scenario(before = V4_0)]
async fn priorities_do_not_count(fixture: Fixture) {
    let order = ["none", "0", "4", "5", "9", "255", "6"];
    assert_eq!(order_by_priority(&fixture).await, order);
}

#[scenario(since = V4_0, before = V4_3)]
async fn priority_has_two_high_messages_leave_for_each_normal_one(fixture: Fixture) {
    let order = ["5", "9", "none", "255", "6", "0", "4"];
    assert_eq!(order_by_priority(&fixture).await, order);
}

#[scenario(since = V4_3)]
async fn higher_priorities_leave_first(fixture: Fixture) {
    // No priority counts as 4, a priority above 31 as 31.
    let order = ["255", "9", "6", "5", "none", "4", "0"];
    assert_eq!(order_by_priority(&fixture).await, order);
}

#[scenario]
async fn a_high_message_does_not_wait_for_a_normal_one_that_came_later(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    for high in ["1", "2", "3", "4"] {
        raw.put_prioritized(&q, high, Some(9)).await;
    }
    raw.put_prioritized(&q, "5", None).await;
    assert_eq!(raw.drain(&q).await, ["1", "2", "3", "4", "5"]);
}

#[scenario]
async fn requeued_message_precedes_even_high_ones(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-delivery-limit", 20.into())])
        .await;
    raw.put_prioritized(&q, "normal", None).await;
    let fetched = raw.fetch(&q).await;
    assert_eq!(body(&fetched.message), "normal");
    raw.put_prioritized(&q, "high", Some(9)).await;
    raw.requeue(fetched.delivery_tag);
    raw.until_counts(&q, (2, 0)).await;
    assert_eq!(raw.drain(&q).await, ["normal", "high"]);
}

#[scenario(since = V4_0, before = V4_3)]
async fn priority_round_counts_what_goes_straight_to_a_consumer(fixture: Fixture) {
    for (before, order) in [
        (0, ["H0", "L0", "H1", "H2", "L1", "H3", "L2"]),
        (1, ["L0", "H0", "H1", "L1", "H2", "H3", "L2"]),
        (2, ["H0", "H1", "L0", "H2", "H3", "L1", "L2"]),
    ] {
        let mut raw = fixture.publisher().await;
        let q = fixture.name(&before.to_string());
        raw.declare_with(quorum_queue(&q)).await;
        let mut consuming = fixture.raw().await;
        consuming.prefetch(1).await;
        consuming.consume(&q).await;
        for tag in 1..=before {
            raw.fill(&q, &["before"]).await;
            assert_eq!(consuming.delivered(1).await, ["before"]);
            consuming.ack(tag);
            raw.until_counts(&q, (0, 1)).await;
        }
        raw.fill(&q, &["held"]).await;
        assert_eq!(consuming.delivered(1).await, ["held"]);
        raw.fill(&q, &["L0", "L1", "L2"]).await;
        for high in ["H0", "H1", "H2", "H3"] {
            raw.put_prioritized(&q, high, Some(9)).await;
        }
        let mut left = Vec::new();
        for tag in before + 1..=before + 7 {
            consuming.ack(tag);
            left.extend(consuming.delivered(1).await);
        }
        assert_eq!(left, order, "{before} before");
    }
}
