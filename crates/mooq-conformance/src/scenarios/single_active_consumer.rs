//! Single active consumer: one consumer gets everything, and the next takes over when it is gone.

use mooq_core::{Consume, QueueDeclare};

use crate::Fixture;
use crate::expect::method::BASIC_CONSUME;
use crate::raw::{Raw, consumer, queue, table};
use crate::scenario;

impl Raw {
    async fn declare_single_active(&self, name: &str) {
        self.declare_with(QueueDeclare {
            arguments: table([("x-single-active-consumer", true.into())]),
            ..queue(name)
        })
        .await;
    }

    async fn consume_by_priority(&self, queue: &str, priority: i32) {
        self.consume_with(Consume {
            arguments: table([("x-priority", priority.into())]),
            no_ack: true,
            ..consumer(queue)
        })
        .await;
    }
}

#[scenario]
async fn single_active_consumer_gets_everything(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (mut active, mut waiting) = (fixture.raw().await, fixture.raw().await);
    let q = fixture.name("q");
    raw.declare_single_active(&q).await;
    active.prefetch(1).await;
    active.consume(&q).await;
    waiting.consume(&q).await;
    raw.fill(&q, &["1", "2"]).await;
    assert_eq!(active.delivered(1).await, ["1"]);
    // The second consumer gets nothing, though the first is full.
    waiting.nothing_from(&q).await;
    active.ack(1);
    assert_eq!(active.delivered(1).await, ["2"]);
}

#[scenario]
async fn oldest_consumer_takes_over_when_the_active_one_is_cancelled(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (mut active, mut next, mut last) = (
        fixture.raw().await,
        fixture.raw().await,
        fixture.raw().await,
    );
    let q = fixture.name("q");
    raw.declare_single_active(&q).await;
    let tag = active.consume(&q).await;
    next.consume(&q).await;
    last.consume(&q).await;
    raw.fill(&q, &["1"]).await;
    assert_eq!(active.delivered(1).await, ["1"]);
    active.cancel(&tag).await;
    raw.fill(&q, &["2"]).await;
    assert_eq!(next.delivered(1).await, ["2"]);

    // The next consumer gets the unacked messages of the closed channel.
    next.channel.close().await.unwrap();
    assert_eq!(last.delivered(1).await, ["2"]);
    active.nothing_more().await;
}

#[scenario]
async fn consumer_of_highest_priority_takes_over(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (mut active, mut low, mut high) = (
        fixture.raw().await,
        fixture.raw().await,
        fixture.raw().await,
    );
    let q = fixture.name("q");
    raw.declare_single_active(&q).await;
    active.consume_by_priority(&q, 0).await;
    low.consume_by_priority(&q, 0).await;
    high.consume_by_priority(&q, 5).await;
    // The active consumer stays active, whatever the priority of a new one.
    raw.fill(&q, &["1"]).await;
    assert_eq!(active.delivered(1).await, ["1"]);
    active.channel.close().await.unwrap();
    raw.fill(&q, &["2"]).await;
    assert_eq!(high.delivered(1).await, ["2"]);
    low.nothing_from(&q).await;
}

#[scenario]
async fn an_exclusive_consumer_is_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_single_active(&q).await;
    let exclusive = Consume {
        exclusive: true,
        ..consumer(&q)
    };
    let outcome = raw.channel.consume(exclusive).await;
    let text = format!("ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use");
    raw.refused(outcome, 403, BASIC_CONSUME, &text).await;
}
