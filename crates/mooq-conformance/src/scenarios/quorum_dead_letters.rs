//! Quorum queues: their dead letters, and those that come to them.

use mooq_core::{FieldTable, FieldValue, Properties, Publish, Settlement};

use super::dead_letters::{death, deaths};
use crate::raw::{Raw, body, message, queue, quorum_queue, table};
use crate::scenario;
use crate::{Fixture, Version};

const REJECT: Settlement = Settlement::Reject { requeue: false };

/// A quorum queue whose dead letters go to another queue, by the default exchange.
async fn declare_dying(raw: &Raw, queue: &str, dead: &str, more: &[(&str, FieldValue)]) {
    let mut declare = crate::raw::quorum_queue_with(
        queue,
        [
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", dead.into()),
        ],
    );
    for (key, value) in more {
        let key = (*key).try_into().unwrap();
        declare.arguments.insert(key, value.clone());
    }
    raw.declare_with(declare).await;
}

fn mark<'a>(headers: &'a FieldTable, key: &str) -> Option<&'a str> {
    headers.get(key).and_then(FieldValue::as_str)
}

#[scenario]
async fn a_rejected_message_becomes_a_dead_letter(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    declare_dying(&raw, &q, &dead, &[]).await;
    raw.fill(&q, &["rejected", "nacked"]).await;
    for settlement in [REJECT, Settlement::Nack { requeue: false }] {
        let fetched = raw.fetch(&q).await;
        raw.settle(fetched.delivery_tag, settlement);
        let letter = raw.fetch_soon(&dead).await;
        raw.ack(letter.delivery_tag);
        // Since 4.3 classic queues count failed deliveries too.
        let failed = fixture.version() >= Version::V4_3 && settlement == REJECT;
        assert_eq!(letter.redelivered, failed);
        assert_eq!(body(&letter.message), body(&fetched.message));
        assert_eq!(letter.message.routing_key, dead.as_str());
        let headers = &letter.message.properties.headers;
        assert_eq!(deaths(headers), [death(1, "rejected", &q, "", &q)]);
        assert_eq!(mark(headers, "x-first-death-reason"), Some("rejected"));
    }
    raw.until_counts(&q, (0, 0)).await;
}

#[scenario]
async fn dead_letters_come_at_least_once_where_that_is_asked_for(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let strategy = [
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-overflow", "reject-publish".into()),
    ];
    declare_dying(&raw, &q, &dead, &strategy).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    for _ in 0..3 {
        let fetched = raw.fetch(&q).await;
        raw.settle(fetched.delivery_tag, REJECT);
    }
    raw.until_counts(&dead, (3, 0)).await;
    for expected in ["1", "2", "3"] {
        let letter = raw.fetch(&dead).await;
        raw.ack(letter.delivery_tag);
        assert_eq!(body(&letter.message), expected);
        let headers = &letter.message.properties.headers;
        assert_eq!(deaths(headers), [death(1, "rejected", &q, "", &q)]);
    }
}

#[scenario]
async fn overflowing_and_expired_messages_become_dead_letters(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    declare_dying(&raw, &q, &dead, &[("x-max-length", 1.into())]).await;
    raw.fill(&q, &["1", "2"]).await;
    let letter = raw.fetch_soon(&dead).await;
    assert_eq!(body(&letter.message), "1");
    let headers = &letter.message.properties.headers;
    assert_eq!(deaths(headers), [death(1, "maxlen", &q, "", &q)]);
    assert_eq!(raw.drain(&q).await, ["2"]);

    let mut mortal = message("", &q, "3");
    let mut properties = Properties::default();
    properties.expiration = Some("1".try_into().unwrap());
    mortal.properties = properties.into();
    raw.put_message(Publish::new(mortal)).await;
    let letter = raw.fetch_soon(&dead).await;
    assert_eq!(letter.message.properties.expiration, None);
    let headers = &letter.message.properties.headers;
    let mut expected = death(1, "expired", &q, "", &q);
    expected.insert("original-expiration".try_into().unwrap(), "1");
    assert_eq!(deaths(headers), [expected]);
}

#[scenario(since = V4_0, before = V4_3)]
async fn a_dead_letter_in_a_quorum_queue_counts_its_rejection(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare_with(quorum_queue(&dead)).await;
    declare_dying(&raw, &q, &dead, &[]).await;
    raw.fill(&q, &["m"]).await;
    let fetched = raw.fetch(&q).await;
    raw.settle(fetched.delivery_tag, REJECT);

    // The second queue counts the failed delivery of the first.
    let letter = raw.fetch_soon(&dead).await;
    assert!(letter.redelivered);
    let count = |headers: &FieldTable| headers.get("x-delivery-count").cloned();
    let once = Some(FieldValue::I64(1));
    assert_eq!(count(&letter.message.properties.headers), once);
    // The second queue itself has had no redelivery so far.
    raw.requeue(letter.delivery_tag);
    let letter = raw.fetch_soon(&dead).await;
    assert_eq!(count(&letter.message.properties.headers), once);
    raw.requeue(letter.delivery_tag);
    let letter = raw.fetch_soon(&dead).await;
    let twice = Some(FieldValue::I64(2));
    assert_eq!(count(&letter.message.properties.headers), twice);
}

#[scenario]
async fn a_dead_letter_for_a_missing_exchange_is_dropped(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let missing = fixture.name("missing");
    raw.declare_quorum(&q, [("x-dead-letter-exchange", missing.as_str().into())])
        .await;
    raw.fill(&q, &["1", "2"]).await;
    raw.fetch(&q).await;
    raw.settle(1, REJECT);
    raw.until_counts(&q, (1, 0)).await;
    assert_eq!(raw.drain(&q).await, ["2"]);
    raw.nothing_more().await;
}

#[scenario]
async fn expired_message_in_a_circle_of_queues_ends_there(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (a, b) = (fixture.name("a"), fixture.name("b"));
    let ttl = [("x-message-ttl", 1.into())];
    declare_dying(&raw, &a, &b, &ttl).await;
    declare_dying(&raw, &b, &a, &[]).await;
    raw.fill(&a, &["m"]).await;
    let letter = raw.fetch_soon(&b).await;
    raw.settle(letter.delivery_tag, REJECT);
    // After a rejection the message may come round again.
    let letter = raw.fetch_soon(&b).await;
    let headers = &letter.message.properties.headers;
    let again = [
        death(2, "expired", &a, "", &a),
        death(1, "rejected", &b, "", &b),
    ];
    assert_eq!(deaths(headers), again);
}

#[scenario(since = V4_3)]
async fn a_classic_queue_counts_failed_deliveries_too(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead, last) = (
        fixture.name("q"),
        fixture.name("dead"),
        fixture.name("last"),
    );
    raw.declare(&last).await;
    declare_dying(&raw, &dead, &last, &[]).await;
    let classic = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    raw.declare_with(mooq_core::QueueDeclare {
        arguments: table(classic),
        ..queue(&q)
    })
    .await;
    raw.fill(&q, &["m"]).await;
    // A nack is no failure, a reject is one.
    for settlement in [
        Settlement::Nack { requeue: true },
        Settlement::Reject { requeue: true },
        REJECT,
    ] {
        let fetched = raw.fetch_soon(&q).await;
        let headers = &fetched.message.properties.headers;
        assert_eq!(headers.get("x-delivery-count"), None);
        raw.settle(fetched.delivery_tag, settlement);
    }
    let letter = raw.fetch_soon(&dead).await;
    assert!(letter.redelivered);
    for header in ["x-delivery-count", "x-acquired-count"] {
        let count = letter.message.properties.headers.get(header);
        assert_eq!(count, Some(&FieldValue::I64(2)), "{header}");
    }
    // In a classic queue the count stays as it was, whether the delivery fails once more or not.
    let dropped = Settlement::Nack { requeue: false };
    raw.settle(letter.delivery_tag, dropped);
    let letter = raw.fetch_soon(&last).await;
    assert!(letter.redelivered);
}
