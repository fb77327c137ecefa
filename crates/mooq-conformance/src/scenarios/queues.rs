//! Queues: names, counts, purging, deleting, and auto-delete.

use mooq_core::{QueueDeclare, QueueName};

use crate::Fixture;
use crate::expect::method::{
    BASIC_CONSUME, BASIC_GET, QUEUE_BIND, QUEUE_DECLARE, QUEUE_DELETE, QUEUE_PURGE, QUEUE_UNBIND,
};
use crate::raw::{binding, consumer, exchange, passive_queue, queue};
use crate::scenario;

#[scenario]
async fn the_broker_names_a_queue_without_a_name(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let first = raw.declare_with(queue("")).await;
    let second = raw.declare_with(queue("")).await;
    for name in [&first, &second] {
        assert!(name.starts_with("amq.gen-"), "{name}");
    }
    assert_ne!(first, second);
    raw.put("", &first, "m").await;
    assert_eq!(raw.counts(&first).await, (1, 0));

    // Only the broker may declare such a name, even if the queue exists.
    let outcome = raw.channel.declare_queue(queue(&first)).await;
    let text = format!("ACCESS_REFUSED - queue name '{first}' contains reserved prefix 'amq.*'");
    raw.refused(outcome, 403, QUEUE_DECLARE, &text).await;
    assert_eq!(raw.delete(&first).await, 1);
    assert_eq!(raw.delete(&second).await, 0);
}

#[scenario]
async fn queue_names_that_begin_with_amq_are_reserved(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let outcome = raw.channel.declare_queue(queue("amq.mine")).await;
    let text = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
    raw.refused(outcome, 403, QUEUE_DECLARE, text).await;
    let outcome = raw.channel.declare_queue(passive_queue("amq.mine")).await;
    let text = "NOT_FOUND - no queue 'amq.mine' in vhost '/'";
    raw.refused(outcome, 404, QUEUE_DECLARE, text).await;
}

#[scenario]
async fn missing_queues_are_named(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let name = || QueueName::try_from(&q).unwrap();
    let text = format!("NOT_FOUND - no queue '{q}' in vhost '/'");

    let outcome = raw.channel.declare_queue(passive_queue(&q)).await;
    raw.refused(outcome, 404, QUEUE_DECLARE, &text).await;
    let outcome = raw.channel.get(name(), false).await;
    raw.refused(outcome, 404, BASIC_GET, &text).await;
    let outcome = raw.channel.consume(consumer(&q)).await;
    raw.refused(outcome, 404, BASIC_CONSUME, &text).await;
    let outcome = raw.channel.purge_queue(name()).await;
    raw.refused(outcome, 404, QUEUE_PURGE, &text).await;
    let outcome = raw.channel.bind(binding(&q, "amq.direct", "k")).await;
    raw.refused(outcome, 404, QUEUE_BIND, &text).await;
}

#[scenario]
async fn deleting_a_missing_queue_counts_nothing(fixture: Fixture) {
    let raw = fixture.raw().await;
    let name = || fixture.name("q").try_into().unwrap();
    assert_eq!(raw.delete(&fixture.name("q")).await, 0);
    let deleted = raw.channel.delete_queue(name(), true, true).await;
    assert_eq!(deleted.unwrap(), 0);
}

#[scenario]
async fn a_declare_counts_ready_messages_and_consumers(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["1", "2", "3"]).await;
    assert_eq!(raw.counts(&q).await, (3, 0));

    raw.prefetch(1).await;
    let tag = raw.consume(&q).await;
    raw.delivery().await;
    assert_eq!(raw.counts(&q).await, (2, 1), "one is unacknowledged");
    let second = raw.channel.declare_queue(queue(&q)).await.unwrap();
    assert_eq!((second.message_count, second.consumer_count), (2, 1));
    raw.cancel(&tag).await;
    assert_eq!(raw.counts(&q).await, (2, 0));
}

#[scenario]
async fn a_passive_declare_asks_for_the_name_alone(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let other = QueueDeclare {
        durable: false,
        auto_delete: true,
        ..passive_queue(&q)
    };
    let declared = raw.channel.declare_queue(other).await.unwrap();
    assert_eq!(declared.name, q.as_str());
}

#[scenario]
async fn empty_queue_name_is_the_queue_declared_last(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (first, last) = (fixture.name("first"), fixture.name("last"));
    raw.declare(&last).await;
    raw.declare(&first).await;
    raw.counts(&last).await;
    let empty = QueueName::default;

    raw.bind("", "amq.direct", &fixture.name("key")).await;
    raw.put("amq.direct", &fixture.name("key"), "bound").await;
    let fetched = raw.channel.get(empty(), true).await.unwrap();
    assert_eq!(
        fetched
            .expect("the bound queue has the message")
            .message_count,
        0
    );
    raw.remove(binding("", "amq.direct", &fixture.name("key")))
        .await;
    raw.put("amq.direct", &fixture.name("key"), "unbound").await;

    raw.fill(&last, &["1", "2"]).await;
    assert_eq!(raw.channel.purge_queue(empty()).await.unwrap(), 2);
    let tag = raw.consume("").await;
    assert_eq!(raw.counts(&last).await, (0, 1));
    raw.cancel(&tag).await;
    raw.put("", &last, "left").await;
    let deleted = raw.channel.delete_queue(empty(), false, false).await;
    assert_eq!(deleted.unwrap(), 1);
    assert!(!raw.has_queue(&last).await);
    assert!(raw.has_queue(&first).await);
}

#[scenario]
async fn empty_queue_name_is_refused_without_a_queue_declared_before(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    // Declares on another channel do not count.
    raw.sibling().await.declare(&fixture.name("q")).await;
    let empty = QueueName::default;
    let text = "NOT_FOUND - no previously declared queue";

    let outcome = raw.channel.get(empty(), false).await;
    raw.refused(outcome, 404, BASIC_GET, text).await;
    let outcome = raw.channel.consume(consumer("")).await;
    raw.refused(outcome, 404, BASIC_CONSUME, text).await;
    let outcome = raw.channel.purge_queue(empty()).await;
    raw.refused(outcome, 404, QUEUE_PURGE, text).await;
    let outcome = raw.channel.delete_queue(empty(), false, false).await;
    raw.refused(outcome, 404, QUEUE_DELETE, text).await;
    let outcome = raw.channel.bind(binding("", "amq.direct", "k")).await;
    raw.refused(outcome, 404, QUEUE_BIND, text).await;
    let outcome = raw.channel.unbind(binding("", "amq.direct", "k")).await;
    raw.refused(outcome, 404, QUEUE_UNBIND, text).await;
}

#[scenario]
async fn binding_without_queue_and_key_uses_the_queues_name_as_key(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, mooq_core::ExchangeKind::Direct)
        .await;
    raw.declare(&q).await;
    raw.bind("", &x, "").await;
    raw.put(&x, "", "not the empty key").await;
    raw.put(&x, &q, "the queue's name").await;
    assert_eq!(raw.drain(&q).await, ["the queue's name"]);

    raw.remove(binding("", &x, "")).await;
    raw.put(&x, &q, "unbound").await;
    assert_eq!(raw.drain(&q).await, [""; 0]);

    raw.bind(&q, &x, "").await;
    raw.put(&x, "", "with a name the key stays empty").await;
    assert_eq!(raw.drain(&q).await, ["with a name the key stays empty"]);
}

#[scenario]
async fn a_purge_takes_and_counts_only_what_is_ready(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["unacked", "ready", "ready"]).await;
    let fetched = raw.fetch(&q).await;
    let purged = raw.channel.purge_queue(q.as_str().try_into().unwrap());
    assert_eq!(purged.await.unwrap(), 2);
    assert!(raw.get(&q).await.is_none());
    raw.requeue(fetched.delivery_tag);
    assert_eq!(raw.drain(&q).await, ["unacked"]);
}

#[scenario]
async fn deleting_if_empty_and_if_unused(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let consuming = fixture.raw().await;
    let q = fixture.name("q");
    let name = || QueueName::try_from(&q).unwrap();
    raw.declare(&q).await;
    consuming.prefetch(1).await;
    consuming.consume(&q).await;
    publisher.fill(&q, &["unacked", "ready"]).await;

    // If both conditions fail, the error names if-empty.
    let not_empty = format!("PRECONDITION_FAILED - queue '{q}' in vhost '/' not empty");
    for if_unused in [false, true] {
        let outcome = raw.channel.delete_queue(name(), if_unused, true).await;
        raw.refused(outcome, 406, QUEUE_DELETE, &not_empty).await;
    }
    let outcome = raw.channel.delete_queue(name(), true, false).await;
    let in_use = format!("PRECONDITION_FAILED - queue '{q}' in vhost '/' in use");
    raw.refused(outcome, 406, QUEUE_DELETE, &in_use).await;

    raw.channel.purge_queue(name()).await.unwrap();
    let deleted = raw.channel.delete_queue(name(), false, true).await;
    assert_eq!(deleted.unwrap(), 0, "unacked messages do not count");
}

#[scenario]
async fn deleting_counts_only_what_is_ready(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["unacked", "ready", "ready"]).await;
    raw.fetch(&q).await;
    assert_eq!(raw.delete(&q).await, 2);
}

#[scenario]
async fn deleting_a_queue_removes_its_bindings(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, mooq_core::ExchangeKind::Fanout)
        .await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    raw.delete(&q).await;
    raw.declare(&q).await;
    raw.put(&x, "", "unbound").await;
    assert_eq!(raw.drain(&q).await, [""; 0]);
    let unused = raw.channel.delete_exchange(x.try_into().unwrap(), true);
    unused.await.unwrap();
}

#[scenario]
async fn an_auto_delete_queue_stays_until_it_had_a_consumer(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(QueueDeclare {
        auto_delete: true,
        ..queue(&q)
    })
    .await;
    raw.fill(&q, &["fetched"]).await;
    let fetching = raw.sibling().await;
    assert_eq!(fetching.drain(&q).await, ["fetched"]);
    fetching.channel.close().await.unwrap();
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario]
async fn long_reply_text_is_cut_and_ends_in_dots(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = "q".repeat(255);
    let outcome = raw.channel.declare_queue(passive_queue(&q)).await;
    let text = format!("NOT_FOUND - no queue '{}...", "q".repeat(230));
    assert_eq!(text.len(), 255);
    raw.refused(outcome, 404, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn an_auto_delete_queue_goes_with_its_last_consumer(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    let auto_delete = QueueDeclare {
        auto_delete: true,
        ..queue(&q)
    };
    raw.declare_with(auto_delete).await;
    publisher.put("", &q, "m").await;
    let fetched = raw.fetch(&q).await;
    raw.ack(fetched.delivery_tag);
    assert!(raw.has_queue(&q).await, "it never had a consumer");

    let first = raw.consume(&q).await;
    let second = raw.sibling().await;
    second.consume(&q).await;
    raw.cancel(&first).await;
    assert!(raw.has_queue(&q).await, "one consumer is left");
    second.channel.close().await.unwrap();
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn an_auto_delete_queue_goes_when_its_last_consumer_is_cancelled(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    let auto_delete = QueueDeclare {
        auto_delete: true,
        ..queue(&q)
    };
    raw.declare_with(auto_delete).await;
    let tag = raw.consume(&q).await;
    raw.cancel(&tag).await;
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn binding_names_the_exchange_where_both_ends_are_missing(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    let outcome = raw.channel.bind(binding(&q, &x, "k")).await;
    let text = format!("NOT_FOUND - no exchange '{x}' in vhost '/'");
    raw.refused(outcome, 404, QUEUE_BIND, &text).await;

    let kind = mooq_core::ExchangeKind::Direct;
    raw.channel
        .declare_exchange(exchange(&x, kind))
        .await
        .unwrap();
    let outcome = raw.channel.bind(binding(&q, &x, "k")).await;
    let text = format!("NOT_FOUND - no queue '{q}' in vhost '/'");
    raw.refused(outcome, 404, QUEUE_BIND, &text).await;
}
