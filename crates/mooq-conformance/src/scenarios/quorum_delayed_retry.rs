//! Quorum queues: delayed retry of returned messages.

use std::time::{Duration, Instant};

use mooq_core::{FieldTable, FieldValue, Settlement};

use super::dead_letters::{death, deaths};
use crate::Control;
use crate::Fixture;
use crate::raw::{Raw, body, table};
use crate::scenario;

const NACK: Settlement = Settlement::Nack { requeue: true };
const REJECT: Settlement = Settlement::Reject { requeue: true };

/// A delay that outlasts every scenario, in milliseconds.
const HOUR: i32 = 3_600_000;

impl Raw {
    /// Declares a queue with this type of delayed retry.
    async fn declare_delaying<const N: usize>(
        &self,
        queue: &str,
        which: &str,
        millis: i32,
        more: [(&str, FieldValue); N],
    ) {
        let mut declare = crate::raw::quorum_queue_with(queue, more);
        for (key, value) in [
            ("x-delayed-retry-type", FieldValue::from(which)),
            ("x-delayed-retry-min", millis.into()),
        ] {
            declare.arguments.insert(key.try_into().unwrap(), value);
        }
        self.declare_with(declare).await;
    }

    /// Fetches a message, settles it, and waits until the queue has it back, ready or delayed.
    async fn give_back(&self, queue: &str, settlement: Settlement, ready: u32) {
        let fetched = self.fetch_soon(queue).await;
        self.settle(fetched.delivery_tag, settlement);
        self.until_counts(queue, (ready, 0)).await;
    }
}

#[scenario(since = V4_3)]
async fn delayed_retry_depends_on_its_type(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    for (which, rejected_waits, nacked_waits) in [
        ("all", true, true),
        ("failed", true, false),
        ("returned", false, true),
        ("disabled", false, false),
        ("bogus", false, false),
    ] {
        let q = fixture.name(which);
        raw.declare_delaying(&q, which, HOUR, []).await;
        let ready = |waits: bool| u32::from(!waits);
        for (settlement, waits) in [(REJECT, rejected_waits), (NACK, nacked_waits)] {
            raw.fill(&q, &["m"]).await;
            raw.give_back(&q, settlement, ready(waits)).await;
            raw.channel
                .purge_queue(q.as_str().try_into().unwrap())
                .await
                .unwrap();
        }
        // A recover counts as a nack, the end of a channel as a rejection.
        raw.fill(&q, &["m"]).await;
        let other = raw.sibling().await;
        other.fetch(&q).await;
        other.methods().recover(true).await.unwrap();
        raw.until_counts(&q, (ready(nacked_waits), 0)).await;
        raw.channel
            .purge_queue(q.as_str().try_into().unwrap())
            .await
            .unwrap();
        raw.fill(&q, &["m"]).await;
        other.fetch(&q).await;
        other.channel.close().await.unwrap();
        raw.until_counts(&q, (ready(rejected_waits), 0)).await;
    }
}

#[scenario(since = V4_3)]
async fn delayed_retry_ends_and_leaves_no_trace(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let max = [("x-delayed-retry-max", 500.into())];
    raw.declare_delaying(&q, "all", 200, max).await;
    raw.fill(&q, &["m"]).await;
    let mut fetched = raw.fetch(&q).await;
    // The delay grows with each failed delivery, up to the maximum.
    for (settlement, failed, millis) in [
        (NACK, None, 200),
        (REJECT, Some(1), 200),
        (REJECT, Some(2), 400),
        (REJECT, Some(3), 500),
        (NACK, Some(3), 500),
    ] {
        let since = Instant::now();
        raw.settle(fetched.delivery_tag, settlement);
        fetched = raw.fetch_soon(&q).await;
        assert!(since.elapsed() >= Duration::from_millis(millis));
        assert!(fetched.redelivered);
        let headers = &fetched.message.properties.headers;
        let failed = failed.map(FieldValue::I64);
        assert_eq!(headers.get("x-delivery-count"), failed.as_ref());
    }
}

#[scenario(since = V4_3)]
async fn waiting_consumer_gets_a_delayed_message(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_delaying(&q, "all", 200, []).await;
    let mut consuming = fixture.raw().await;
    consuming.prefetch(1).await;
    consuming.consume(&q).await;
    raw.fill(&q, &["1", "2"]).await;
    assert_eq!(consuming.delivered(1).await, ["1"]);
    consuming.requeue(1);
    // The other message does not wait for the delayed one.
    assert_eq!(consuming.delivered(1).await, ["2"]);
    consuming.ack(2);
    assert_eq!(consuming.delivered(1).await, ["1"]);
}

#[scenario(since = V4_3)]
async fn delayed_message_counts_for_the_length_limit_and_is_not_dropped(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let limit = [
        ("x-max-length", 1.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    raw.declare_delaying(&q, "all", HOUR, limit).await;
    raw.fill(&q, &["1"]).await;
    raw.give_back(&q, NACK, 0).await;
    raw.fill(&q, &["2"]).await;
    let letter = raw.fetch_soon(&dead).await;
    assert_eq!(body(&letter.message), "2");
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario(since = V4_3)]
async fn delayed_message_has_a_delivery_limit(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let limit = [
        ("x-delivery-limit", 0.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    raw.declare_delaying(&q, "all", HOUR, limit).await;
    raw.fill(&q, &["m"]).await;
    raw.give_back(&q, REJECT, 0).await;
    let letter = raw.fetch_soon(&dead).await;
    let headers = &letter.message.properties.headers;
    assert_eq!(deaths(headers), [death(1, "delivery_limit", &q, "", &q)]);
}

#[scenario(since = V4_3)]
async fn delayed_message_expires_when_it_is_ready_again(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let dying = [
        ("x-message-ttl", 1.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    raw.declare_delaying(&q, "all", 300, dying).await;
    let mut consuming = fixture.raw().await;
    let tag = consuming.consume(&q).await;
    raw.fill(&q, &["m"]).await;
    assert_eq!(consuming.delivered(1).await, ["m"]);
    consuming.cancel(&tag).await;
    let since = Instant::now();
    consuming.requeue(1);
    let letter = raw.fetch_soon(&dead).await;
    assert!(since.elapsed() >= Duration::from_millis(300));
    let headers = &letter.message.properties.headers;
    assert_eq!(deaths(headers), [death(1, "expired", &q, "", &q)]);
}

#[scenario(since = V4_3)]
async fn purging_counts_delayed_messages_and_deleting_does_not(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let name = || q.as_str().try_into().unwrap();
    raw.declare_delaying(&q, "all", HOUR, []).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    raw.give_back(&q, NACK, 2).await;
    assert_eq!(raw.channel.purge_queue(name()).await.unwrap(), 3);
    raw.fill(&q, &["4", "5"]).await;
    raw.give_back(&q, NACK, 1).await;
    assert_eq!(raw.delete(&q).await, 1);
}

#[scenario(since = V4_3)]
async fn a_policy_delays_too_and_its_type_comes_before_an_arguments(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_delaying(&q, "failed", HOUR, []).await;
    raw.fill(&q, &["m"]).await;
    raw.give_back(&q, NACK, 1).await;
    let definition = table([
        ("delayed-retry-type", "returned".into()),
        ("delayed-retry-min", HOUR.into()),
    ]);
    set_policy(fixture.control(), &q, &definition).await;
    raw.give_back(&q, REJECT, 1).await;
    raw.give_back(&q, NACK, 0).await;
}

#[scenario(since = V4_3)]
async fn delayed_retry_time_is_the_shorter_of_argument_and_policy(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_delaying(&q, "all", HOUR, []).await;
    set_policy(
        fixture.control(),
        &q,
        &table([("delayed-retry-min", 100.into())]),
    )
    .await;
    raw.fill(&q, &["m"]).await;
    let fetched = raw.fetch(&q).await;
    raw.requeue(fetched.delivery_tag);
    assert_eq!(body(&raw.fetch_soon(&q).await.message), "m");
}

async fn set_policy(control: &dyn Control, queue: &str, definition: &FieldTable) {
    let pattern = format!("^{queue}$");
    let queues = mooq_memory::ApplyTo::Queues;
    control
        .set_policy(queue, &pattern, queues, 0, definition)
        .await;
}
