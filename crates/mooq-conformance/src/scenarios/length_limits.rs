//! Length limits of queues.

use mooq_core::{ChannelEvent, FieldTable, FieldValue, QueueDeclare};

use crate::Fixture;
use crate::raw::{Raw, queue, table};
use crate::scenario;

fn limited(name: &str, arguments: FieldTable) -> QueueDeclare {
    QueueDeclare {
        arguments,
        ..queue(name)
    }
}

impl Raw {
    /// Publishes to a queue that must refuse the message.
    async fn put_in_vain(&mut self, queue: &str, body: &str) {
        self.publish("", queue, body);
        match self.event().await {
            ChannelEvent::Nack { .. } => {}
            other => panic!("expected a nack, not {other:?}"),
        }
    }
}

#[scenario]
async fn full_queue_drops_its_oldest_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (by_count, by_bytes) = (fixture.name("count"), fixture.name("bytes"));
    raw.declare_with(limited(&by_count, table([("x-max-length", 2.into())])))
        .await;
    raw.declare_with(limited(
        &by_bytes,
        table([("x-max-length-bytes", 5.into())]),
    ))
    .await;
    raw.fill(&by_count, &["1", "2", "3", "4"]).await;
    assert_eq!(raw.drain(&by_count).await, ["3", "4"]);
    raw.fill(&by_bytes, &["12", "34", "5", "6"]).await;
    assert_eq!(raw.drain(&by_bytes).await, ["34", "5", "6"]);
    raw.fill(&by_bytes, &["1", "too long"]).await;
    assert_eq!(raw.drain(&by_bytes).await, [""; 0]);
}

#[scenario]
async fn unacked_messages_do_not_count_for_the_length_limit(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(limited(&q, table([("x-max-length", 2.into())])))
        .await;
    raw.fill(&q, &["1", "2"]).await;
    let fetched = raw.fetch(&q).await;
    raw.fill(&q, &["3"]).await;
    assert_eq!(raw.counts(&q).await, (2, 0));

    // The message returns to the head, where the limit drops it.
    raw.requeue(fetched.delivery_tag);
    assert_eq!(raw.drain(&q).await, ["2", "3"]);
}

#[scenario]
async fn length_limit_of_0_lets_only_a_ready_consumer_have_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(limited(&q, table([("x-max-length", 0.into())])))
        .await;
    raw.fill(&q, &["lost"]).await;
    consuming.prefetch(1).await;
    consuming.consume(&q).await;
    raw.fill(&q, &["delivered", "lost as well"]).await;
    assert_eq!(consuming.delivered(1).await, ["delivered"]);
    consuming.ack(1);
    assert!(consuming.get(&q).await.is_none());
    consuming.nothing_more().await;
}

#[scenario]
async fn a_full_queue_may_refuse_new_messages(fixture: Fixture) {
    for policy in ["reject-publish", "reject-publish-dlx"] {
        let mut raw = fixture.publisher().await;
        let q = fixture.name(policy);
        let overflow = FieldValue::from(policy);
        let arguments = table([("x-max-length", 2.into()), ("x-overflow", overflow)]);
        raw.declare_with(limited(&q, arguments)).await;
        raw.fill(&q, &["1", "2"]).await;
        raw.put_in_vain(&q, "3").await;
        let fetched = raw.fetch(&q).await;
        raw.fill(&q, &["4"]).await;
        raw.put_in_vain(&q, "5").await;
        raw.requeue(fetched.delivery_tag);
        assert_eq!(raw.drain(&q).await, ["1", "2", "4"], "{policy}");
    }
}

#[scenario]
async fn full_queue_may_dead_letter_refused_messages(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    for (policy, expected) in [("reject-publish-dlx", "2"), ("reject-publish", "3")] {
        let (q, dead) = (fixture.name(policy), format!("{policy}-dead"));
        let dead = fixture.name(&dead);
        raw.declare(&dead).await;
        let arguments = table([
            ("x-max-length", 1.into()),
            ("x-overflow", policy.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", dead.as_str().into()),
        ]);
        raw.declare_with(limited(&q, arguments)).await;
        raw.fill(&q, &["1"]).await;
        raw.put_in_vain(&q, "2").await;
        raw.put("", &dead, "3").await;
        let mut consuming = fixture.raw().await;
        consuming.consume(&dead).await;
        let first = consuming.delivery().await;
        assert_eq!(crate::raw::text(&first), expected, "{policy}");
        let reason = first.message.properties.headers.get("x-first-death-reason");
        let dlx = policy == "reject-publish-dlx";
        assert_eq!(reason, dlx.then(|| FieldValue::from("maxlen")).as_ref());
    }
}

#[scenario]
async fn a_refusal_by_one_queue_leaves_the_copies_of_others(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, full, roomy) = (
        fixture.name("x"),
        fixture.name("full"),
        fixture.name("roomy"),
    );
    raw.declare_exchange(&x, mooq_core::ExchangeKind::Fanout)
        .await;
    let arguments = table([
        ("x-max-length", 0.into()),
        ("x-overflow", "reject-publish".into()),
    ]);
    raw.declare_with(limited(&full, arguments)).await;
    raw.declare(&roomy).await;
    for queue in [&full, &roomy] {
        raw.bind(queue, &x, "").await;
    }
    raw.publish(&x, "", "m");
    match raw.event().await {
        ChannelEvent::Nack { sequence: 1, .. } => {}
        other => panic!("expected a nack, not {other:?}"),
    }
    raw.receives(&roomy, &["m"]).await;
    assert_eq!(raw.counts(&full).await, (0, 0));
}
