//! Routes of dead letters: their keys, circles of queues, and the counts in `x-death`.

use mooq_core::{Deliver, Settlement};
use mooq_core::{ExchangeKind, FieldTable, FieldValue, Message, Properties, Publish, QueueDeclare};

use super::dead_letters::{death, deaths};
use crate::raw::{Raw, message, message_with, queue, table, text};
use crate::scenario;
use crate::{Fixture, Version, within};

impl Raw {
    /// Declares a queue with a dead-letter exchange and, if it is not empty, a dead-letter key.
    async fn declare_dying(&self, name: &str, exchange: &str, key: &str, more: FieldTable) {
        let mut arguments = more;
        let mut set = |argument: &str, value: &str| {
            arguments.insert(argument.try_into().unwrap(), value);
        };
        set("x-dead-letter-exchange", exchange);
        if !key.is_empty() {
            set("x-dead-letter-routing-key", key);
        }
        self.declare_with(QueueDeclare {
            arguments,
            ..queue(name)
        })
        .await;
    }

    /// Rejects the next delivery, and returns it.
    async fn reject_next(&mut self) -> Deliver {
        let delivery = self.delivery().await;
        self.settle(delivery.delivery_tag, Settlement::Reject { requeue: false });
        delivery
    }
}

/// An `x-message-ttl` of 0: a message without a ready consumer expires at once.
fn no_time() -> FieldTable {
    table([("x-message-ttl", 0.into())])
}

fn headers(delivery: &Deliver) -> &FieldTable {
    &delivery.message.properties.headers
}

/// Keys in an array, as CC and BCC have them.
fn keys(keys: &[&str]) -> FieldValue {
    FieldValue::Array(keys.iter().map(|key| (*key).into()).collect())
}

#[scenario]
async fn dead_letter_circle_without_a_rejection_ends(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (first, second, seen, x) = (
        fixture.name("first"),
        fixture.name("second"),
        fixture.name("seen"),
        fixture.name("x"),
    );
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.declare_dying(&first, "", &second, table([])).await;
    raw.declare_dying(&second, &x, "", no_time()).await;
    raw.declare(&seen).await;
    raw.bind(&first, &x, "").await;
    raw.bind(&seen, &x, "").await;
    consuming.consume(&seen).await;

    let mut properties = Properties::default();
    properties.expiration = Some("0".try_into().unwrap());
    raw.put_message(Publish::new(Message {
        properties: properties.into(),
        ..message("", &first, "m")
    }))
    .await;
    // The copy for the first queue ends, since that queue is in its deaths; the other copy arrives.
    let letter = consuming.delivery().await;
    let reasons: Vec<_> = deaths(headers(&letter))
        .iter()
        .map(|death| death.get("reason").cloned())
        .collect();
    assert_eq!(reasons, [Some("expired".into()), Some("expired".into())]);
    assert_eq!(raw.drain(&first).await, [""; 0]);
}

#[scenario]
async fn dead_letter_circle_goes_on_after_a_rejection(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (first, second) = (fixture.name("first"), fixture.name("second"));
    raw.declare_dying(&first, "", &second, table([])).await;
    raw.declare_dying(&second, "", &first, no_time()).await;
    consuming.consume(&first).await;
    raw.put("", &first, "m").await;
    consuming.reject_next().await;
    for round in 1..=3 {
        let letter = consuming.reject_next().await;
        let expected = [
            death(round, "expired", &second, "", &second),
            death(round, "rejected", &first, "", &first),
        ];
        assert_eq!(deaths(headers(&letter)), expected);
    }
}

// Before 4.0 RabbitMQ reversed the older deaths whenever it added one, and so took the rejection for
// a recent one.
#[scenario(before = V4_0)]
async fn rejected_message_may_circle_without_end(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let [rejecting, first, second, seen, x] =
        ["rejecting", "first", "second", "seen", "x"].map(|name| fixture.name(name));
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.declare_dying(&rejecting, "", &first, table([])).await;
    raw.declare_dying(&first, &x, "", no_time()).await;
    raw.declare_dying(&second, "", &first, no_time()).await;
    raw.declare_with(QueueDeclare {
        arguments: table([("x-max-length", 100.into())]),
        ..queue(&seen)
    })
    .await;
    raw.bind(&second, &x, "").await;
    raw.bind(&seen, &x, "").await;
    consuming.consume(&rejecting).await;
    raw.put("", &rejecting, "m").await;
    consuming.reject_next().await;
    raw.until_counts(&seen, (100, 0)).await;

    // The broker goes on meanwhile, and the end of a queue is the end of the circle.
    let other = fixture.name("other");
    raw.declare(&other).await;
    raw.put("", &other, "o").await;
    assert_eq!(raw.drain(&other).await, ["o"]);
    raw.delete(&second).await;
    let draining = async { while !raw.drain(&seen).await.is_empty() {} };
    within("the end of the circle", draining).await;
}

#[scenario]
async fn x_death_lists_the_deaths_in_several_queues(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let [a, b, c, end] = ["a", "b", "c", "end"].map(|name| fixture.name(name));
    raw.declare_dying(&a, "", &b, no_time()).await;
    raw.declare_dying(&b, "", &c, no_time()).await;
    raw.declare_dying(&c, "", &end, no_time()).await;
    raw.declare(&end).await;
    consuming.consume(&end).await;
    raw.put("", &a, "m").await;
    let letter = consuming.delivery().await;
    // Before 4.0 RabbitMQ reversed the older deaths whenever it added one.
    let newest_first = if fixture.version() < Version::V4_0 {
        [&c, &a, &b]
    } else {
        [&c, &b, &a]
    };
    let expected = newest_first.map(|queue| death(1, "expired", queue, "", queue));
    assert_eq!(deaths(headers(&letter)), expected);
    let first = headers(&letter).get("x-first-death-queue");
    assert_eq!(first, Some(&a.as_str().into()));
}

#[scenario]
async fn a_dead_letter_goes_by_all_keys_of_its_message(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, x, cc, bcc) = (
        fixture.name("q"),
        fixture.name("x"),
        fixture.name("cc"),
        fixture.name("bcc"),
    );
    raw.declare_exchange(&x, ExchangeKind::Direct).await;
    raw.declare_dying(&q, &x, "", table([])).await;
    for key in [&q, &cc, &bcc] {
        let dead = format!("{key}-dead");
        raw.declare(&dead).await;
        raw.bind(&dead, &x, key).await;
    }
    consuming.consume(&q).await;
    let copies = table([("CC", keys(&[&cc])), ("BCC", keys(&[&bcc]))]);
    raw.put_message(Publish::new(message_with("", &q, "m", copies)))
        .await;
    consuming.reject_next().await;
    for key in [&q, &cc, &bcc] {
        let mut listening = fixture.raw().await;
        listening.consume(&format!("{key}-dead")).await;
        let letter = listening.delivery().await;
        assert_eq!(letter.message.routing_key, q.as_str());
        assert_eq!(headers(&letter).get("CC"), Some(&keys(&[&cc])));
        let listed = deaths(headers(&letter))[0].get("routing-keys").cloned();
        assert_eq!(listed, Some(keys(&[&q, &cc])), "BCC is not listed");
    }
}

#[scenario]
async fn dead_letter_key_of_the_queue_replaces_all_keys_of_the_message(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let [q, cc, dead] = ["q", "cc", "dead"].map(|name| fixture.name(name));
    raw.declare_dying(&q, "", &dead, table([])).await;
    raw.declare(&cc).await;
    raw.declare(&dead).await;
    consuming.consume(&q).await;
    let copies = table([("CC", keys(&[&cc]))]);
    raw.put_message(Publish::new(message_with("", &q, "m", copies)))
        .await;
    consuming.reject_next().await;
    let mut listening = fixture.raw().await;
    listening.consume(&dead).await;
    let letter = listening.delivery().await;
    assert_eq!(text(&letter), "m");
    assert_eq!(
        raw.drain(&cc).await,
        ["m"],
        "the queue has the published message alone"
    );
    // From 4.0 on, the dead letter keeps the CC that it was once routed by.
    let kept = (fixture.version() >= Version::V4_0).then(|| keys(&[&cc]));
    assert_eq!(headers(&letter).get("CC"), kept.as_ref());
}

/// A death made up by a client.
fn made_up(queue: &str, reason: &str, count: i64) -> FieldValue {
    let mut death = death(count, reason, queue, "", queue);
    death.insert("time".try_into().unwrap(), FieldValue::Timestamp(7));
    FieldValue::Table(death)
}

#[scenario(since = V4_0)]
async fn x_death_sent_by_a_client_counts_for_nothing(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare_dying(&q, "", &dead, table([])).await;
    raw.declare(&dead).await;
    consuming.consume(&q).await;
    let told = FieldValue::Array(vec![made_up(&q, "rejected", 41)]);
    let publish = message_with("", &q, "m", table([("x-death", told.clone())]));
    raw.put_message(Publish::new(publish)).await;
    let delivery = consuming.reject_next().await;
    assert_eq!(headers(&delivery).get("x-death"), Some(&told));
    let letter = raw.take_next(&dead).await;
    let expected = [death(1, "rejected", &q, "", &q)];
    assert_eq!(deaths(&letter.properties.headers), expected);
}

#[scenario(before = V4_0)]
async fn x_death_sent_by_a_client_is_counted_on(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare_dying(&q, "", &dead, table([])).await;
    raw.declare(&dead).await;
    consuming.consume(&q).await;
    let told = FieldValue::Array(vec![
        made_up("elsewhere", "maxlen", 3),
        made_up(&q, "rejected", 41),
    ]);
    let publish = message_with("", &q, "m", table([("x-death", told)]));
    raw.put_message(Publish::new(publish)).await;
    consuming.reject_next().await;
    let letter = raw.take_next(&dead).await;
    let headers = &letter.properties.headers;
    let expected = [
        made_up(&q, "rejected", 42),
        made_up("elsewhere", "maxlen", 3),
    ];
    assert_eq!(headers.get("x-death"), Some(&expected.to_vec().into()));
    assert_eq!(headers.get("x-first-death-queue"), None);

    // An `x-death` that is no list of deaths is replaced.
    let publish = message_with("", &q, "m", table([("x-death", "a lie".into())]));
    raw.put_message(Publish::new(publish)).await;
    consuming.reject_next().await;
    let letter = raw.take_next(&dead).await;
    let expected = [death(1, "rejected", &q, "", &q)];
    assert_eq!(deaths(&letter.properties.headers), expected);
}

#[scenario(before = V4_0)]
async fn x_death_made_up_by_a_client_ends_a_circle_that_was_none(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare_dying(&q, "", &dead, no_time()).await;
    raw.declare(&dead).await;
    let told = FieldValue::Array(vec![made_up(&dead, "expired", 1)]);
    let publish = message_with("", &q, "a lie", table([("x-death", told)]));
    raw.put_message(Publish::new(publish)).await;
    raw.put("", &q, "m").await;
    let letter = raw.take_next(&dead).await;
    assert_eq!(letter.body, "m");
    assert_eq!(raw.drain(&dead).await, [""; 0]);
}

impl Raw {
    /// Takes the next message of a queue as soon as it is there.
    async fn take_next(&self, queue: &str) -> Message {
        let mut taking = self.sibling().await;
        taking.prefetch(1).await;
        let tag = taking.consume(queue).await;
        let delivery = taking.delivery().await;
        taking.ack(delivery.delivery_tag);
        taking.cancel(&tag).await;
        (*delivery.message).clone()
    }
}
