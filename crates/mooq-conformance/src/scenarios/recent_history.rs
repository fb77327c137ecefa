//! The exchange `x-recent-history` of the plugin `rabbitmq_recent_history_exchange`, which sends
//! its latest messages to new bindings.

use mooq_core::{ExchangeDeclare, ExchangeKind, FieldValue, Publish};

use crate::Fixture;
use crate::expect::expect_reason;
use crate::expect::method::{EXCHANGE_BIND, EXCHANGE_DECLARE};
use crate::raw::{Raw, body, exchange, exchange_binding, message_with, table};
use crate::scenario;
use crate::version::Version;

fn remembering(name: &str, length: impl Into<FieldValue>) -> ExchangeDeclare {
    ExchangeDeclare {
        arguments: table([("x-recent-history-length", length.into())]),
        ..exchange(name, ExchangeKind::RecentHistory)
    }
}

/// Publishes five messages with different keys to a new exchange that keeps three.
async fn publish_five(fixture: &Fixture, x: &str) -> Raw {
    let mut raw = fixture.publisher().await;
    raw.channel
        .declare_exchange(remembering(x, 3))
        .await
        .unwrap();
    for number in ["1", "2", "3", "4", "5"] {
        raw.put(x, &format!("key {number}"), number).await;
    }
    raw
}

#[scenario]
async fn a_new_binding_brings_the_latest_messages(fixture: Fixture) {
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    let mut raw = publish_five(&fixture, &x).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    for number in ["3", "4", "5"] {
        let fetched = raw.fetch(&q).await;
        raw.ack(fetched.delivery_tag);
        let message = &fetched.message;
        let seen = (body(message), &*message.exchange, &*message.routing_key);
        assert_eq!(seen, (number, x.as_str(), format!("key {number}").as_str()));
        assert!(!fetched.redelivered);
    }
    // From then on the queue gets each new message once.
    raw.put(&x, "key 6", "6").await;
    assert_eq!(raw.drain(&q).await, ["6"]);
}

#[scenario]
async fn a_binding_that_is_there_brings_nothing_and_one_more_brings_all(fixture: Fixture) {
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    let raw = publish_five(&fixture, &x).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    assert_eq!(raw.drain(&q).await, ["3", "4", "5"]);
    raw.bind(&q, &x, "").await;
    assert_eq!(raw.counts(&q).await, (0, 0));
    raw.bind(&q, &x, "other").await;
    assert_eq!(raw.drain(&q).await, ["3", "4", "5"]);
    raw.bind_with(&q, &x, "", table([("any", 1.into())])).await;
    assert_eq!(raw.drain(&q).await, ["3", "4", "5"]);
}

#[scenario]
async fn history_keeps_twenty_messages_by_default(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::RecentHistory).await;
    for number in 0..30 {
        raw.put(&x, "", &number.to_string()).await;
    }
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    let latest: Vec<_> = (10..30).map(|number| number.to_string()).collect();
    assert_eq!(raw.drain(&q).await, latest);
}

#[scenario]
async fn history_length_is_a_positive_integer(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    for (length, shown) in [
        (FieldValue::I32(0), "0"),
        (FieldValue::I64(-1), "-1"),
        (FieldValue::U8(3), "3"),
        ("3".into(), "<<\"3\">>"),
        (FieldValue::Bool(true), "true"),
        (FieldValue::Void, "undefined"),
    ] {
        let outcome = raw.channel.declare_exchange(remembering(&x, length)).await;
        let text = format!(
            "PRECONDITION_FAILED - Invalid argument {shown}, 'x-recent-history-length' must be a \
             positive integer"
        );
        raw.refused(outcome, 406, EXCHANGE_DECLARE, &text).await;
    }
    for length in [
        FieldValue::I8(1),
        FieldValue::I16(1),
        FieldValue::I64(1 << 40),
    ] {
        let declared = raw.channel.declare_exchange(remembering(&x, length)).await;
        declared.unwrap();
    }
}

#[scenario]
async fn a_message_may_ask_not_to_be_kept(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::RecentHistory).await;
    for (text, no_store) in [
        ("kept", FieldValue::Bool(false)),
        ("not kept", FieldValue::Bool(true)),
        ("kept: that is no boolean", "true".into()),
    ] {
        let headers = table([("x-recent-history-no-store", no_store)]);
        let message = message_with(&x, "", text, headers);
        raw.put_message(Publish::new(message)).await;
    }
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    assert_eq!(raw.drain(&q).await, ["kept", "kept: that is no boolean"]);
}

#[scenario]
async fn an_exchange_that_is_bound_gets_the_latest_first(fixture: Fixture) {
    let (x, d, q) = (fixture.name("x"), fixture.name("d"), fixture.name("q"));
    let raw = publish_five(&fixture, &x).await;
    raw.declare_exchange(&d, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.bind(&q, &d, "").await;
    raw.add(exchange_binding(&d, &x, "")).await;
    assert_eq!(raw.drain(&q).await, ["5", "4", "3"]);
}

#[scenario]
async fn history_that_reaches_no_queue_ends_the_connection(fixture: Fixture) {
    let (x, d, q) = (fixture.name("x"), fixture.name("d"), fixture.name("q"));
    let mut raw = publish_five(&fixture, &x).await;
    raw.declare_exchange(&d, ExchangeKind::Direct).await;
    raw.declare(&q).await;
    raw.bind(&q, &d, "key 5").await;
    let err = raw
        .channel
        .bind(exchange_binding(&d, &x, ""))
        .await
        .unwrap_err();
    let keeps_binding = fixture.version() >= Version::V4_0;
    let (method, text) = if keeps_binding {
        let text = "INTERNAL_ERROR - could not find queue/exchange ''";
        (EXCHANGE_BIND, text)
    } else {
        ((0, 0), "INTERNAL_ERROR")
    };
    expect_reason(&err, 541, method, text);
    raw.closes_connection(541, method, text).await;

    let mut raw = fixture.publisher().await;
    assert_eq!(raw.drain(&q).await, ["5"]);
    raw.put(&x, "key 5", "later").await;
    let expected: &[&str] = if keeps_binding { &["later"] } else { &[] };
    assert_eq!(raw.drain(&q).await, expected);
}

#[scenario]
async fn history_goes_with_its_exchange(fixture: Fixture) {
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    let raw = publish_five(&fixture, &x).await;
    let name = x.as_str().try_into().unwrap();
    raw.channel.delete_exchange(name, false).await.unwrap();
    raw.channel
        .declare_exchange(remembering(&x, 3))
        .await
        .unwrap();
    raw.declare(&q).await;
    raw.bind(&q, &x, "").await;
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario]
async fn history_keeps_a_publish_in_a_transaction_at_once(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::RecentHistory).await;
    raw.declare(&q).await;
    raw.methods().tx_select().await.unwrap();
    raw.publish(&x, "", "rolled back");
    raw.methods().tx_rollback().await.unwrap();
    raw.bind(&q, &x, "").await;
    assert_eq!(raw.drain(&q).await, ["rolled back"]);
}
