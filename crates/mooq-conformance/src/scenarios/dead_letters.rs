//! Dead letters: reasons, targets, and the headers that the broker adds.

use mooq_core::{ExchangeKind, FieldTable, FieldValue, QueueDeclare, Settlement};

use crate::raw::{Raw, body, queue, table};
use crate::scenario;
use crate::{Fixture, Version};

/// A queue whose dead letters go to another queue, by the default exchange.
async fn declare_pair(raw: &Raw, fixture: &Fixture, more: FieldTable) -> (String, String) {
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let mut arguments = table([
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ]);
    for (key, value) in more {
        arguments.insert(key, value);
    }
    raw.declare_with(QueueDeclare {
        arguments,
        ..queue(&q)
    })
    .await;
    (q, dead)
}

/// Returns true if the broker writes `x-last-death-*`, as RabbitMQ does from 3.13 on.
fn has_last_death(fixture: &Fixture) -> bool {
    fixture.version() >= Version::V4_0
}

/// The entries of `x-death`, without their time.
pub(super) fn deaths(headers: &FieldTable) -> Vec<FieldTable> {
    let Some(FieldValue::Array(entries)) = headers.get("x-death") else {
        panic!("expected x-death in {headers:?}");
    };
    let entries = entries.iter().map(|entry| match entry {
        FieldValue::Table(entry) => {
            let mut entry = entry.clone();
            match entry.remove("time") {
                Some(FieldValue::Timestamp(_)) => entry,
                other => panic!("expected a time, not {other:?}"),
            }
        }
        other => panic!("expected a table, not {other:?}"),
    });
    entries.collect()
}

pub(super) fn death(
    count: i64,
    reason: &str,
    queue: &str,
    exchange: &str,
    key: &str,
) -> FieldTable {
    table([
        ("count", count.into()),
        ("reason", reason.into()),
        ("queue", queue.into()),
        ("exchange", exchange.into()),
        ("routing-keys", FieldValue::Array(vec![key.into()])),
    ])
}

#[scenario]
async fn a_rejected_message_becomes_a_dead_letter(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = declare_pair(&raw, &fixture, table([])).await;
    raw.fill(&q, &["rejected", "nacked", "acked"]).await;
    consuming.consume(&dead).await;
    for tag in 1..=3 {
        assert_eq!(raw.fetch(&q).await.delivery_tag, tag);
    }
    raw.settle(1, Settlement::Reject { requeue: false });
    raw.settle(2, Settlement::Nack { requeue: false });
    raw.ack(3);
    for expected in ["rejected", "nacked"] {
        let letter = consuming.delivery().await;
        assert!(!letter.redelivered);
        let message = &letter.message;
        assert_eq!(body(message), expected);
        assert_eq!(message.exchange, "");
        assert_eq!(message.routing_key, dead.as_str());
        let mut headers = message.properties.headers.clone();
        assert_eq!(deaths(&headers), [death(1, "rejected", &q, "", &q)]);
        headers.remove("x-death");
        let mut marks = table([
            ("x-first-death-exchange", "".into()),
            ("x-first-death-queue", q.as_str().into()),
            ("x-first-death-reason", "rejected".into()),
        ]);
        if has_last_death(&fixture) {
            for (key, value) in [
                ("x-last-death-exchange", ""),
                ("x-last-death-queue", &q),
                ("x-last-death-reason", "rejected"),
            ] {
                marks.insert(key.try_into().unwrap(), value);
            }
        }
        assert_eq!(headers, marks);
    }
    consuming.nothing_from(&dead).await;
}

#[scenario]
async fn overflowing_message_becomes_a_dead_letter(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = declare_pair(&raw, &fixture, table([("x-max-length", 1.into())])).await;
    consuming.consume(&dead).await;
    raw.fill(&q, &["1", "2"]).await;
    let letter = consuming.delivery().await;
    assert_eq!(body(&letter.message), "1");
    let headers = &letter.message.properties.headers;
    assert_eq!(deaths(headers), [death(1, "maxlen", &q, "", &q)]);
    assert_eq!(raw.drain(&q).await, ["2"]);
}

#[scenario]
async fn expired_message_becomes_a_dead_letter_without_its_expiration(fixture: Fixture) {
    let raw = fixture.raw().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = declare_pair(&raw, &fixture, table([])).await;
    consuming.consume(&dead).await;
    let mut message = crate::raw::message("", &q, "expired");
    let mut properties = mooq_core::Properties::default();
    properties.expiration = Some("0".try_into().unwrap());
    message.properties = properties.into();
    raw.send(mooq_core::Publish::new(message));
    let letter = consuming.delivery().await;
    assert_eq!(body(&letter.message), "expired");
    assert_eq!(letter.message.properties.expiration, None);
    let mut expected = death(1, "expired", &q, "", &q);
    expected.insert("original-expiration".try_into().unwrap(), "0");
    let headers = &letter.message.properties.headers;
    assert_eq!(deaths(headers), [expected]);
}

#[scenario]
async fn x_death_counts_for_each_queue_and_reason_newest_first(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = declare_pair(&raw, &fixture, table([])).await;
    // The second queue dead-letters back to the first.
    raw.delete(&dead).await;
    let back = table([
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", q.as_str().into()),
    ]);
    raw.declare_with(QueueDeclare {
        arguments: back,
        ..queue(&dead)
    })
    .await;
    let mut there = raw.sibling().await;
    there.prefetch(1).await;
    there.consume(&q).await;
    let mut here = raw.sibling().await;
    here.prefetch(1).await;
    here.consume(&dead).await;

    raw.put("", &q, "m").await;
    for round in 1..=2 {
        let letter = there.delivery().await;
        there.settle(letter.delivery_tag, Settlement::Reject { requeue: false });
        let letter = here.delivery().await;
        let headers = &letter.message.properties.headers;
        let mut expected = vec![death(round, "rejected", &q, "", &q)];
        if round > 1 {
            expected.push(death(round - 1, "rejected", &dead, "", &dead));
        }
        assert_eq!(deaths(headers), expected);
        let first = headers
            .get("x-first-death-queue")
            .and_then(FieldValue::as_str);
        assert_eq!(first, Some(q.as_str()));
        here.settle(letter.delivery_tag, Settlement::Reject { requeue: false });
    }
    let letter = there.delivery().await;
    let headers = &letter.message.properties.headers;
    let last = headers
        .get("x-last-death-queue")
        .and_then(FieldValue::as_str);
    assert_eq!(last, has_last_death(&fixture).then_some(dead.as_str()));
}

#[scenario]
async fn dead_letter_keeps_its_keys_without_a_dead_letter_key(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (x, q, dead) = (fixture.name("x"), fixture.name("q"), fixture.name("dead"));
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare(&dead).await;
    raw.bind(&dead, &x, &q).await;
    raw.declare_with(QueueDeclare {
        arguments: table([("x-dead-letter-exchange", x.as_str().into())]),
        ..queue(&q)
    })
    .await;
    consuming.consume(&dead).await;
    raw.fill(&q, &["m"]).await;
    raw.fetch(&q).await;
    raw.settle(1, Settlement::Nack { requeue: false });
    let letter = consuming.delivery().await;
    assert_eq!(letter.message.exchange, x.as_str());
    assert_eq!(letter.message.routing_key, q.as_str());
}

#[scenario]
async fn purged_and_deleted_messages_are_no_dead_letters(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = declare_pair(&raw, &fixture, table([])).await;
    consuming.consume(&dead).await;
    raw.fill(&q, &["purged"]).await;
    let name = q.as_str().try_into().unwrap();
    assert_eq!(raw.channel.purge_queue(name).await.unwrap(), 1);
    raw.fill(&q, &["deleted"]).await;
    assert_eq!(raw.delete(&q).await, 1);
    raw.put("", &dead, "published").await;
    assert_eq!(consuming.delivered(1).await, ["published"]);
    consuming.nothing_from(&dead).await;
}

#[scenario]
async fn a_dead_letter_for_a_missing_exchange_is_dropped(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let missing = fixture.name("missing");
    raw.declare_with(QueueDeclare {
        arguments: table([("x-dead-letter-exchange", missing.as_str().into())]),
        ..queue(&q)
    })
    .await;
    raw.fill(&q, &["1", "2"]).await;
    raw.fetch(&q).await;
    raw.settle(1, Settlement::Reject { requeue: false });
    assert_eq!(raw.drain(&q).await, ["2"]);
    raw.nothing_more().await;
}
