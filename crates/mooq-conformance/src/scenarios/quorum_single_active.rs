//! Quorum queues with a single active consumer.

use mooq_core::Consume;

use crate::expect::method::BASIC_GET;
use crate::raw::{Raw, consumer, table};
use crate::scenario;
use crate::{Fixture, Version};

async fn declare(raw: &Raw, queue: &str) {
    let arguments = [
        ("x-single-active-consumer", true.into()),
        ("x-delivery-limit", 20.into()),
    ];
    raw.declare_quorum(queue, arguments).await;
}

/// A channel that consumes with a prefetch count and a priority.
async fn consuming(fixture: &Fixture, queue: &str, prefetch: u16, priority: i32) -> Raw {
    let raw = fixture.raw().await;
    raw.prefetch(prefetch).await;
    raw.consume_with(Consume {
        tag: "t".try_into().unwrap(),
        arguments: table([("x-priority", priority.into())]),
        ..consumer(queue)
    })
    .await;
    raw
}

#[scenario]
async fn get_is_refused_beside_a_single_active_consumer(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let name = q.as_str().try_into().unwrap();
    let outcome = raw.channel.get(name, false).await;
    let quorum = if fixture.version() < Version::V4_2 {
        "quorum"
    } else {
        "<<\"quorum\">>"
    };
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain access to locked queue '{q}' in vhost '/'. basic.get \
         operations are not supported by {quorum} queues with single active consumer"
    );
    raw.refused(outcome, 405, BASIC_GET, &text).await;
}

#[scenario]
async fn first_consumer_is_served_alone_and_counted_alone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let mut first = consuming(&fixture, &q, 1, 0).await;
    let mut second = consuming(&fixture, &q, 1, 0).await;
    raw.fill(&q, &["1", "2"]).await;
    assert_eq!(first.delivered(1).await, ["1"]);
    second.nothing_from(&q).await;
    assert_eq!(raw.counts(&q).await, (1, 1));
    first.ack(1);
    assert_eq!(first.delivered(1).await, ["2"]);
}

#[scenario]
async fn next_consumer_is_served_once_the_active_one_is_cancelled(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let mut first = consuming(&fixture, &q, 1, 0).await;
    let mut second = consuming(&fixture, &q, 1, 0).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert_eq!(first.delivered(1).await, ["1"]);
    first.cancel(&"t".try_into().unwrap()).await;
    // Unacked deliveries of the first consumer do not keep the queue from serving and counting the
    // second.
    assert_eq!(second.delivered(1).await, ["2"]);
    raw.until_counts(&q, (1, 2)).await;
    first.requeue(1);
    raw.until_counts(&q, (2, 1)).await;
    second.ack(1);
    assert_eq!(second.delivered(1).await, ["1"]);
}

#[scenario]
async fn next_consumer_is_served_once_the_active_one_is_gone(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let mut first = consuming(&fixture, &q, 2, 0).await;
    let mut second = consuming(&fixture, &q, 3, 0).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert_eq!(first.delivered(2).await, ["1", "2"]);
    first.connection.close().await.unwrap();
    assert_eq!(second.delivered(3).await, ["1", "2", "3"]);
}

#[scenario(since = V4_0)]
async fn consumer_of_higher_priority_takes_over_when_all_is_settled(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let mut low = consuming(&fixture, &q, 2, 0).await;
    raw.fill(&q, &["1", "2", "3", "4"]).await;
    assert_eq!(low.delivered(2).await, ["1", "2"]);
    let mut high = consuming(&fixture, &q, 1, 5).await;
    low.ack(1);
    low.settled().await;
    low.nothing_from(&q).await;
    high.nothing_from(&q).await;
    low.ack(2);
    assert_eq!(high.delivered(1).await, ["3"]);
    low.nothing_from(&q).await;

    high.connection.close().await.unwrap();
    assert_eq!(low.delivered(2).await, ["3", "4"]);
}

#[scenario(since = V4_0)]
async fn consumer_of_higher_priority_takes_over_at_once_if_all_is_settled(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let mut low = consuming(&fixture, &q, 1, 0).await;
    let mut high = consuming(&fixture, &q, 1, 5).await;
    raw.fill(&q, &["1"]).await;
    assert_eq!(high.delivered(1).await, ["1"]);
    low.nothing_from(&q).await;
}

#[scenario(since = V4_0)]
async fn next_consumer_among_equals_is_the_one_that_takes_most(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let first = consuming(&fixture, &q, 1, 0).await;
    let mut modest = consuming(&fixture, &q, 1, 0).await;
    let mut eager = consuming(&fixture, &q, 5, 0).await;
    first.cancel(&"t".try_into().unwrap()).await;
    raw.fill(&q, &["1", "2"]).await;
    assert_eq!(eager.delivered(2).await, ["1", "2"]);
    modest.nothing_from(&q).await;
}

#[scenario(before = V4_0)]
async fn next_consumer_is_the_oldest_whatever_its_priority(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    let first = consuming(&fixture, &q, 1, 0).await;
    let mut older = consuming(&fixture, &q, 1, 0).await;
    let mut higher = consuming(&fixture, &q, 5, 5).await;
    first.cancel(&"t".try_into().unwrap()).await;
    raw.fill(&q, &["1"]).await;
    assert_eq!(older.delivered(1).await, ["1"]);
    higher.nothing_from(&q).await;
}

#[scenario]
async fn exclusive_consumer_is_no_error(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    declare(&raw, &q).await;
    raw.consume_with(Consume {
        exclusive: true,
        ..consumer(&q)
    })
    .await;
    raw.publish("", &q, "m");
    loop {
        if let mooq_core::ChannelEvent::Deliver(delivery) = raw.event().await {
            assert_eq!(crate::raw::text(&delivery), "m");
            break;
        }
    }
}
