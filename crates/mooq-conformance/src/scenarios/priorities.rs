//! Queues that deliver by priority.

use std::sync::Arc;

use mooq_core::{FieldTable, Message, Properties, Publish, QueueDeclare, Settlement};

use crate::Fixture;
use crate::raw::{Raw, body, message, queue, table};
use crate::scenario;

impl Raw {
    async fn declare_with_priorities(&self, name: &str, levels: i32, more: FieldTable) {
        let mut arguments = more;
        arguments.insert("x-max-priority".try_into().unwrap(), levels);
        self.declare_with(QueueDeclare {
            arguments,
            ..queue(name)
        })
        .await;
    }

    async fn put_by_priority(&mut self, queue: &str, messages: &[(u8, &str)]) {
        for (priority, body) in messages {
            self.put_message(prioritised(queue, *priority, body)).await;
        }
    }
}

fn prioritised(queue: &str, priority: u8, body: &str) -> Publish {
    let mut properties = Properties::default();
    properties.priority = Some(priority);
    Publish::new(Message {
        properties: properties.into(),
        ..message("", queue, body)
    })
}

fn expired(mut publish: Publish) -> Publish {
    Arc::make_mut(&mut publish.message.properties).expiration = Some("0".try_into().unwrap());
    publish
}

#[scenario]
async fn higher_priorities_come_first_and_equal_ones_in_order(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with_priorities(&q, 5, table([])).await;
    raw.put("", &q, "none is 0").await;
    let messages = [
        (1, "1"),
        (5, "5"),
        (0, "0"),
        (3, "3"),
        (9, "9 is 5"),
        (1, "1 again"),
    ];
    raw.put_by_priority(&q, &messages).await;
    let expected = ["5", "9 is 5", "3", "1", "1 again", "none is 0", "0"];
    assert_eq!(raw.drain(&q).await, expected);
}

#[scenario]
async fn priorities_do_not_count_without_x_max_priority(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.put_by_priority(&q, &[(0, "first"), (9, "second")])
        .await;
    assert_eq!(raw.drain(&q).await, ["first", "second"]);
}

#[scenario]
async fn requeued_message_keeps_its_place_within_its_priority(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with_priorities(&q, 2, table([])).await;
    let messages = [(1, "1"), (1, "1 again"), (2, "2")];
    raw.put_by_priority(&q, &messages).await;
    assert_eq!(body(&raw.fetch(&q).await.message), "2");
    let fetched = raw.fetch(&q).await;
    assert_eq!(body(&fetched.message), "1");
    raw.requeue(fetched.delivery_tag);
    assert_eq!(raw.drain(&q).await, ["1", "1 again"]);
}

#[scenario]
async fn a_full_queue_drops_the_highest_priority_first(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let limit = table([("x-max-length", 2.into())]);
    raw.declare_with_priorities(&q, 2, limit).await;
    let messages = [(0, "0"), (2, "2"), (1, "1")];
    raw.put_by_priority(&q, &messages).await;
    assert_eq!(raw.drain(&q).await, ["1", "0"]);
}

#[scenario]
async fn expired_message_above_others_stays_until_one_leaves(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with_priorities(&q, 2, table([])).await;
    raw.put_by_priority(&q, &[(0, "0")]).await;
    for body in ["2", "2 again"] {
        raw.put_message(expired(prioritised(&q, 2, body))).await;
    }
    raw.put_by_priority(&q, &[(0, "0 again")]).await;
    assert_eq!(raw.counts(&q).await, (4, 0));
    let fetched = raw.fetch(&q).await;
    assert_eq!((body(&fetched.message), fetched.message_count), ("2", 2));
    assert_eq!(raw.drain(&q).await, ["0", "0 again"]);
}

#[scenario]
async fn expired_message_above_others_stays_until_one_comes_back(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with_priorities(&q, 2, table([])).await;
    raw.put_by_priority(&q, &[(0, "0"), (0, "0 again")]).await;
    let fetched = raw.fetch(&q).await;
    raw.put_message(expired(prioritised(&q, 2, "2"))).await;
    assert_eq!(raw.counts(&q).await, (2, 0));
    raw.requeue(fetched.delivery_tag);
    assert_eq!(raw.drain(&q).await, ["0", "0 again"]);
}

#[scenario]
async fn expired_message_above_others_stays_until_one_is_too_much(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let limit = table([("x-max-length", 3.into())]);
    raw.declare_with_priorities(&q, 2, limit).await;
    raw.put_by_priority(&q, &[(0, "0")]).await;
    for body in ["2", "2 again"] {
        raw.put_message(expired(prioritised(&q, 2, body))).await;
    }
    assert_eq!(raw.counts(&q).await, (3, 0));
    raw.put_by_priority(&q, &[(0, "0 again")]).await;
    assert_eq!(raw.counts(&q).await, (2, 0));
    assert_eq!(raw.drain(&q).await, ["0", "0 again"]);
}

#[scenario]
async fn rejecting_several_dead_letters_the_highest_priority_first(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut worker = raw.sibling().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let dying = table([
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ]);
    raw.declare_with_priorities(&q, 2, dying).await;
    worker.consume(&q).await;
    let messages = [
        (0, "0"),
        (1, "1"),
        (9, "9 is 2"),
        (0, "0 again"),
        (2, "2"),
        (1, "1 again"),
    ];
    raw.put_by_priority(&q, &messages).await;
    let bodies = worker.delivered(6).await;
    assert_eq!(bodies, messages.map(|(_, body)| body), "as they came");
    worker.settle_up_to(6, Settlement::Nack { requeue: false });
    let expected = ["9 is 2", "2", "1", "1 again", "0", "0 again"];
    raw.receives(&dead, &expected).await;
}
