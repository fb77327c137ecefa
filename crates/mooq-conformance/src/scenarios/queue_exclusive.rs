//! Exclusive queues: their connection, and their deletion.

use mooq_core::QueueDeclare;

use crate::Fixture;
use crate::expect::method::{
    BASIC_CONSUME, BASIC_GET, QUEUE_BIND, QUEUE_DECLARE, QUEUE_DELETE, QUEUE_PURGE,
};
use crate::raw::{binding, consumer, passive_queue, queue};
use crate::scenario;

/// The reply text for a queue that is exclusive to another connection, or not exclusive as
/// declared.
pub(super) fn locked(queue: &str) -> String {
    format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. \
         It could be originally declared on another connection or the exclusive property value \
         does not match that of the original declaration."
    )
}

#[scenario]
async fn exclusive_queue_is_used_by_its_declaring_connection_alone(fixture: Fixture) {
    let owner = fixture.raw().await;
    let mut other = fixture.publisher().await;
    let q = fixture.name("q");
    let exclusive = QueueDeclare {
        exclusive: true,
        ..queue(&q)
    };
    let name = || q.as_str().try_into().unwrap();
    let text = locked(&q);
    owner.declare_with(exclusive.clone()).await;

    let outcome = other.channel.declare_queue(exclusive.clone()).await;
    other.refused(outcome, 405, QUEUE_DECLARE, &text).await;
    let outcome = other.channel.declare_queue(queue(&q)).await;
    other.refused(outcome, 405, QUEUE_DECLARE, &text).await;
    let outcome = other.channel.declare_queue(passive_queue(&q)).await;
    other.refused(outcome, 405, QUEUE_DECLARE, &text).await;
    let outcome = other.channel.consume(consumer(&q)).await;
    other.refused(outcome, 405, BASIC_CONSUME, &text).await;
    let outcome = other.channel.get(name(), true).await;
    other.refused(outcome, 405, BASIC_GET, &text).await;
    let outcome = other.channel.purge_queue(name()).await;
    other.refused(outcome, 405, QUEUE_PURGE, &text).await;
    let outcome = other.channel.delete_queue(name(), false, false).await;
    other.refused(outcome, 405, QUEUE_DELETE, &text).await;
    let outcome = other.channel.bind(binding(&q, "amq.fanout", "")).await;
    other.refused(outcome, 405, QUEUE_BIND, &text).await;

    other.confirm_select().await;
    other.put("", &q, "anyone may publish").await;
    let same_connection = owner.sibling().await;
    assert_eq!(same_connection.drain(&q).await, ["anyone may publish"]);
}

#[scenario]
async fn the_exclusive_flag_must_match_on_the_same_connection(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let exclusive = QueueDeclare {
        exclusive: true,
        ..queue(&q)
    };
    raw.declare_with(exclusive.clone()).await;
    let outcome = raw.channel.declare_queue(queue(&q)).await;
    raw.refused(outcome, 405, QUEUE_DECLARE, &locked(&q)).await;

    // Exclusive queues are never durable, so that flag does not matter.
    for durable in [true, false] {
        let declare = QueueDeclare {
            durable,
            ..exclusive.clone()
        };
        raw.declare_with(declare).await;
    }
}

#[scenario]
async fn an_exclusive_queue_goes_with_its_connection_not_its_channel(fixture: Fixture) {
    let mut owner = fixture.raw().await;
    let other = fixture.raw().await;
    let (q, shared) = (fixture.name("q"), fixture.name("shared"));
    let exclusive = QueueDeclare {
        exclusive: true,
        ..queue(&q)
    };
    owner.declare_with(exclusive).await;
    owner.declare(&shared).await;
    owner.channel.close().await.unwrap();
    owner.reopen().await;
    assert_eq!(owner.counts(&q).await, (0, 0));

    owner.connection.close().await.unwrap();
    assert!(!other.has_queue(&q).await);
    assert!(other.has_queue(&shared).await);
}
