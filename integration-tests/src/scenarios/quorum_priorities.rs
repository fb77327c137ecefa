//! Quorum queues: two priorities, neither of which starves.

use mooq_core::{Properties, Publish};

use super::scenarios;
use crate::Fixture;
use crate::raw::{Raw, body, message, quorum_queue};

impl Raw {
    /// Publishes a message of this priority, whose body tells it.
    async fn put_prioritized(&mut self, queue: &str, body: &str, priority: Option<u8>) {
        let mut message = message("", queue, body);
        let mut properties = Properties::default();
        properties.priority = priority;
        message.properties = properties.into();
        self.put_message(Publish::new(message)).await;
    }
}

async fn two_high_messages_leave_for_each_normal_one(fixture: Fixture) {
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
    let order = ["5", "9", "none", "255", "6", "0", "4"];
    assert_eq!(raw.drain(&q).await, order);
}

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

async fn what_comes_back_precedes_even_high_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.put_prioritized(&q, "normal", None).await;
    let fetched = raw.fetch(&q).await;
    assert_eq!(body(&fetched.message), "normal");
    raw.put_prioritized(&q, "high", Some(9)).await;
    raw.requeue(fetched.delivery_tag);
    raw.until_counts(&q, (2, 0)).await;
    assert_eq!(raw.drain(&q).await, ["normal", "high"]);
}

scenarios! { quorum_priorities:
    two_high_messages_leave_for_each_normal_one [from V4_0, before V4_3],
    a_high_message_does_not_wait_for_a_normal_one_that_came_later,
    what_comes_back_precedes_even_high_messages [from V4_0],
}
