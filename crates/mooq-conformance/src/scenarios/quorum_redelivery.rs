//! Quorum queues: order and counts of redeliveries.

use mooq_core::{Fetched, FieldValue, Settlement};

use super::dead_letters::{death, deaths};
use crate::raw::{Raw, body, consumer, quorum_queue};
use crate::scenario;
use crate::{Fixture, Version};

const NACK: Settlement = Settlement::Nack { requeue: true };
const REJECT: Settlement = Settlement::Reject { requeue: true };

/// The `x-delivery-count` of a message.
fn delivery_count(fetched: &Fetched) -> Option<&FieldValue> {
    let headers = &fetched.message.properties.headers;
    headers.get("x-delivery-count")
}

impl Raw {
    /// Fetches and requeues the only message of a queue until it dies of the delivery limit.
    async fn deliver_to_death(&self, queue: &str, deliveries: u32, dead: &str) {
        for _ in 0..deliveries {
            let fetched = self.fetch_soon(queue).await;
            self.settle(fetched.delivery_tag, REJECT);
        }
        self.until_counts(dead, (1, 0)).await;
        self.until_counts(queue, (0, 0)).await;
    }
}

#[scenario(since = V4_0, before = V4_3)]
async fn delivery_count_is_on_redeliveries_alone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.fill(&q, &["m"]).await;
    let fetched = raw.fetch(&q).await;
    assert!(!fetched.redelivered);
    assert_eq!(delivery_count(&fetched), None);

    raw.settle(fetched.delivery_tag, NACK);
    let fetched = raw.fetch_soon(&q).await;
    assert!(fetched.redelivered);
    assert_eq!(delivery_count(&fetched), Some(&FieldValue::I64(1)));

    raw.settle(fetched.delivery_tag, REJECT);
    let fetched = raw.fetch_soon(&q).await;
    assert_eq!(delivery_count(&fetched), Some(&FieldValue::I64(2)));

    raw.methods().recover(true).await.unwrap();
    let fetched = raw.fetch_soon(&q).await;
    assert_eq!(delivery_count(&fetched), Some(&FieldValue::I64(3)));

    let other = raw.sibling().await;
    raw.channel.close().await.unwrap();
    let fetched = other.fetch_soon(&q).await;
    assert!(fetched.redelivered);
    assert_eq!(delivery_count(&fetched), Some(&FieldValue::I64(4)));
    assert_eq!(body(&fetched.message), "m");
}

#[scenario]
async fn delivery_count_reaches_consumers_as_well(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.consume(&q).await;
    raw.publish("", &q, "m");
    let mut counts = Vec::new();
    while counts.len() < 3 {
        if let mooq_core::ChannelEvent::Deliver(delivery) = raw.event().await {
            let headers = &delivery.message.properties.headers;
            counts.push((
                delivery.redelivered,
                headers.get("x-delivery-count").cloned(),
            ));
            raw.settle(delivery.delivery_tag, REJECT);
        }
    }
    let expected = [
        (false, None),
        (true, Some(FieldValue::I64(1))),
        (true, Some(FieldValue::I64(2))),
    ];
    assert_eq!(counts, expected);
}

#[scenario]
async fn requeued_messages_precede_the_rest_in_the_order_of_their_return(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-delivery-limit", 20.into())])
        .await;
    raw.fill(&q, &["1", "2", "3", "4", "5"]).await;
    for _ in 0..3 {
        raw.fetch(&q).await;
    }
    for tag in [3, 1, 2] {
        raw.requeue(tag);
    }
    raw.until_counts(&q, (5, 0)).await;
    assert_eq!(raw.drain(&q).await, ["3", "1", "2", "4", "5"]);
}

#[scenario]
async fn requeue_of_many_keeps_the_order_of_their_delivery(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-delivery-limit", 20.into())])
        .await;
    raw.fill(&q, &["1", "2", "3", "4"]).await;
    let mut consuming = raw.sibling().await;
    consuming.prefetch(3).await;
    let tag = consuming.consume(&q).await;
    assert_eq!(consuming.delivered(3).await, ["1", "2", "3"]);
    consuming.cancel(&tag).await;
    consuming.settle_up_to(3, NACK);
    raw.until_counts(&q, (4, 0)).await;
    assert_eq!(raw.drain(&q).await, ["1", "2", "3", "4"]);
}

/// The order of requeueing when a channel ends that has deliveries of two consumers, `z` and then
/// `a`, and fetched messages.
async fn order_of_return(fixture: &Fixture) -> Vec<String> {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let mut leaving = fixture.raw().await;
    raw.fill(&q, &["0"]).await;
    assert_eq!(body(&leaving.fetch(&q).await.message), "0");
    leaving.prefetch(2).await;
    for tag in ["z", "a"] {
        leaving
            .consume_with(mooq_core::Consume {
                tag: tag.try_into().unwrap(),
                ..consumer(&q)
            })
            .await;
    }
    raw.fill(&q, &["1", "2", "3", "4", "5"]).await;
    let mut delivered = leaving.delivered(4).await;
    delivered.sort_unstable();
    assert_eq!(delivered, ["1", "2", "3", "4"]);
    leaving.connection.close().await.unwrap();
    raw.until_counts(&q, (6, 0)).await;
    raw.drain(&q).await
}

#[scenario(since = V4_0)]
async fn closed_channel_requeues_consumer_by_consumer(fixture: Fixture) {
    // The deliveries of the first consumer, of the second, and the fetched messages.
    let order = ["1", "3", "2", "4", "0", "5"];
    assert_eq!(order_of_return(&fixture).await, order);
}

#[scenario(before = V4_0)]
async fn closed_channel_requeues_tag_by_tag(fixture: Fixture) {
    // The fetched messages, and the deliveries of each consumer in the order of their tags.
    let order = ["0", "2", "4", "1", "3", "5"];
    assert_eq!(order_of_return(&fixture).await, order);
}

#[scenario(before = V4_0)]
async fn delivery_count_is_on_every_fetched_message(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.fill(&q, &["m"]).await;
    for count in 0..3 {
        let fetched = raw.fetch_soon(&q).await;
        assert_eq!(fetched.redelivered, count > 0);
        assert_eq!(delivery_count(&fetched), Some(&FieldValue::I64(count)));
        raw.settle(fetched.delivery_tag, NACK);
    }
}

#[scenario(since = V4_3)]
async fn a_rejection_is_a_failed_delivery_and_a_nack_is_none(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.fill(&q, &["m"]).await;
    for (acquired, failed, settlement) in [
        (None, None, NACK),
        (Some(1), None, REJECT),
        (Some(2), Some(1), NACK),
        (Some(3), Some(1), NACK),
    ] {
        let fetched = raw.fetch_soon(&q).await;
        let headers = &fetched.message.properties.headers;
        let acquired = acquired.map(FieldValue::I64);
        assert_eq!(headers.get("x-acquired-count"), acquired.as_ref());
        let failed = failed.map(FieldValue::I64);
        assert_eq!(delivery_count(&fetched), failed.as_ref());
        raw.settle(fetched.delivery_tag, settlement);
    }
}

#[scenario]
async fn a_message_dies_when_it_has_come_back_more_often_than_the_limit(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let dead = fixture.name("dead");
    raw.declare(&dead).await;
    for limit in [0_u32, 2] {
        let q = fixture.name(&limit.to_string());
        raw.declare_quorum(
            &q,
            [
                ("x-delivery-limit", limit.into()),
                ("x-dead-letter-exchange", "".into()),
                ("x-dead-letter-routing-key", dead.as_str().into()),
            ],
        )
        .await;
        raw.fill(&q, &["m"]).await;
        raw.deliver_to_death(&q, limit + 1, &dead).await;
        let letter = raw.fetch(&dead).await;
        raw.ack(letter.delivery_tag);
        // Since 4.3 classic queues count failed deliveries too.
        assert_eq!(letter.redelivered, fixture.version() >= Version::V4_3);
        let headers = &letter.message.properties.headers;
        assert_eq!(deaths(headers), [death(1, "delivery_limit", &q, "", &q)]);
    }
}

#[scenario(since = V4_0)]
async fn delivery_limit_is_20_unless_a_queue_has_one_of_its_own(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
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
    raw.fill(&q, &["m"]).await;
    raw.deliver_to_death(&q, 21, &dead).await;
    assert_eq!(raw.drain(&dead).await, ["m"]);
}

impl Raw {
    /// Declares a queue without a delivery limit: before 4.0 by default, and since by a limit of -1.
    async fn declare_without_limit(&self, fixture: &Fixture, queue: &str) {
        if fixture.version() < Version::V4_0 {
            self.declare_quorum(queue, []).await;
        } else {
            let unlimited = [("x-delivery-limit", (-1).into())];
            self.declare_quorum(queue, unlimited).await;
        }
    }
}

/// Requeues the third and then the first of five messages in a queue without a delivery limit, and
/// returns the order of the next four.
async fn order_without_a_limit(fixture: &Fixture) -> Vec<(String, bool)> {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_without_limit(fixture, &q).await;
    raw.fill(&q, &["1", "2", "3", "4", "5"]).await;
    for _ in 0..3 {
        raw.fetch(&q).await;
    }
    raw.requeue(3);
    raw.requeue(1);
    raw.until_counts(&q, (4, 1)).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        let fetched = raw.fetch(&q).await;
        order.push((body(&fetched.message).to_owned(), fetched.redelivered));
    }
    order
}

#[scenario(before = V4_3)]
async fn requeue_without_a_delivery_limit_goes_behind_the_rest(fixture: Fixture) {
    let order = [("4", false), ("5", false), ("3", true), ("1", true)];
    let order = order.map(|(body, again)| (body.to_owned(), again));
    assert_eq!(order_without_a_limit(&fixture).await, order);
}

#[scenario(since = V4_3)]
async fn requeue_without_a_delivery_limit_precedes_the_rest(fixture: Fixture) {
    let order = [("3", true), ("1", true), ("4", false), ("5", false)];
    let order = order.map(|(body, again)| (body.to_owned(), again));
    assert_eq!(order_without_a_limit(&fixture).await, order);
}

#[scenario]
async fn closed_channel_without_a_delivery_limit_requeues_before_the_rest(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_without_limit(&fixture, &q).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    let leaving = raw.sibling().await;
    for _ in 0..2 {
        leaving.fetch(&q).await;
    }
    leaving.channel.close().await.unwrap();
    raw.until_counts(&q, (3, 0)).await;
    assert_eq!(raw.drain(&q).await, ["1", "2", "3"]);
}

#[scenario(before = V4_0)]
async fn negative_delivery_limit_lets_nothing_come_back(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-delivery-limit", (-1).into())])
        .await;
    raw.fill(&q, &["m"]).await;
    raw.fetch(&q).await;
    raw.requeue(1);
    raw.until_counts(&q, (0, 0)).await;
    assert!(raw.get(&q).await.is_none());
}

#[scenario]
async fn a_transaction_settles_at_its_commit(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-delivery-limit", 20.into())])
        .await;
    raw.fill(&q, &["requeued", "acked"]).await;
    let tx = raw.sibling().await;
    tx.methods().tx_select().await.unwrap();
    for _ in 0..2 {
        tx.fetch(&q).await;
    }
    tx.publish("", &q, "published");
    tx.requeue(1);
    tx.ack(2);
    assert_eq!(raw.counts(&q).await, (0, 2));
    tx.methods().tx_commit().await.unwrap();
    raw.until_counts(&q, (2, 0)).await;
    assert_eq!(raw.drain(&q).await, ["requeued", "published"]);
}
