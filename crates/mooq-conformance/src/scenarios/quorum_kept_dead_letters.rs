//! Quorum queues with the dead-letter strategy `at-least-once`: they keep dead letters until these
//! have arrived.
//!
//! RabbitMQ retries every three minutes, and whenever a policy changes the queue: most scenarios
//! set a policy instead of waiting. Scenarios about the timer shorten it.

use std::sync::Arc;

use mooq_core::{DeliveryMode, ExchangeKind, FieldValue, Publish, Settlement};
use mooq_memory::ApplyTo;
use tokio::task::yield_now;

use super::dead_letters::{death, deaths};
use crate::expect::within;
use crate::raw::{Raw, binding, body, message, queue, quorum_queue_with, table};
use crate::scenario;
use crate::{Fixture, Version};

const REJECT: Settlement = Settlement::Reject { requeue: false };

/// Declares a quorum queue that keeps its dead letters, and takes at most `max_length` + 1
/// messages.
async fn declare_keeping<const N: usize>(
    raw: &Raw,
    name: &str,
    max_length: i64,
    more: [(&str, FieldValue); N],
) {
    let mut declare = quorum_queue_with(
        name,
        [
            ("x-dead-letter-strategy", "at-least-once".into()),
            ("x-overflow", "reject-publish".into()),
            ("x-max-length", max_length.into()),
        ],
    );
    for (key, value) in more {
        declare.arguments.insert(key.try_into().unwrap(), value);
    }
    raw.declare_with(declare).await;
}

/// Makes the queues of the scenario retry their dead letters.
async fn retry(fixture: &Fixture, more: &[(&str, FieldValue)]) {
    let mut definition = table([("message-ttl", 3_600_000.into())]);
    for (key, value) in more {
        definition.insert((*key).try_into().unwrap(), value.clone());
    }
    let (name, pattern) = (fixture.name("retry"), format!("^{}", fixture.name("q")));
    let control = fixture.control();
    control
        .set_policy(&name, &pattern, ApplyTo::Queues, 0, &definition)
        .await;
}

/// Rejects the first `count` messages of a queue.
async fn reject(raw: &Raw, queue: &str, count: usize) {
    for _ in 0..count {
        let fetched = raw.fetch_soon(queue).await;
        raw.settle(fetched.delivery_tag, REJECT);
    }
}

/// Gets messages from a queue as they come.
async fn arrived(raw: &Raw, queue: &str, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let fetched = raw.fetch_soon(queue).await;
        raw.ack(fetched.delivery_tag);
        bodies.push(body(&fetched.message).to_owned());
    }
    bodies
}

/// Publishes to a queue until it takes the message.
async fn until_taken(raw: &mut Raw, queue: &str, body: &str) {
    let taken = async {
        while !raw.is_taken(queue, body).await {
            yield_now().await;
        }
    };
    within(&format!("room in {queue}"), taken).await;
}

#[scenario]
async fn unroutable_dead_letter_stays_and_counts_until_it_has_a_route(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead, exchange) = (
        fixture.name("q"),
        fixture.name("dead"),
        fixture.name("exchange"),
    );
    let dlx = [("x-dead-letter-exchange", exchange.as_str().into())];
    declare_keeping(&raw, &q, 1, dlx).await;
    raw.fill(&q, &["1", "2"]).await;
    reject(&raw, &q, 2).await;
    raw.until_counts(&q, (0, 0)).await;
    assert!(
        !raw.is_taken(&q, "3").await,
        "the kept dead letters still fill the queue"
    );

    raw.declare(&dead).await;
    raw.declare_exchange(&exchange, ExchangeKind::Direct).await;
    raw.bind(&dead, &exchange, &q).await;
    retry(&fixture, &[]).await;
    let mut letters = Vec::new();
    for _ in 0..2 {
        let letter = raw.fetch_soon(&dead).await;
        raw.ack(letter.delivery_tag);
        let headers = &letter.message.properties.headers;
        assert_eq!(deaths(headers), [death(1, "rejected", &q, "", &q)]);
        letters.push(body(&letter.message).to_owned());
    }
    assert_eq!(in_any_order(letters), ["1", "2"]);
    until_taken(&mut raw, &q, "4").await;
    assert_eq!(raw.drain(&q).await, ["4"]);
}

/// The bodies of dead letters that were tried before they had a route: if the route appears midway
/// in a round of retries, later ones come first.
fn in_any_order(mut letters: Vec<String>) -> Vec<String> {
    letters.sort();
    letters
}

#[scenario(alone, short_timeouts)]
async fn unroutable_dead_letter_is_retried_by_a_timer(fixture: Fixture) {
    let _hurried = fixture.control().hurry_dead_letters().await;
    let mut raw = fixture.publisher().await;
    let (q, dead, exchange) = (
        fixture.name("q"),
        fixture.name("dead"),
        fixture.name("exchange"),
    );
    let dlx = [("x-dead-letter-exchange", exchange.as_str().into())];
    declare_keeping(&raw, &q, 1, dlx).await;
    raw.fill(&q, &["1", "2"]).await;
    reject(&raw, &q, 2).await;
    raw.until_counts(&q, (0, 0)).await;
    raw.declare(&dead).await;
    raw.declare_exchange(&exchange, ExchangeKind::Direct).await;
    raw.bind(&dead, &exchange, &q).await;
    let mut other = fixture.raw().await;
    other.consume(&dead).await;
    assert_eq!(in_any_order(other.delivered(2).await), ["1", "2"]);
}

#[scenario(alone, short_timeouts)]
async fn refused_dead_letter_is_retried_by_a_timer(fixture: Fixture) {
    let _hurried = fixture.control().hurry_dead_letters().await;
    let mut raw = fixture.publisher().await;
    let (q, full) = (fixture.name("q"), fixture.name("full"));
    let limits = [
        ("x-max-length", 1.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    raw.declare_with(mooq_core::QueueDeclare {
        arguments: table(limits),
        ..queue(&full)
    })
    .await;
    raw.fill(&full, &["first"]).await;
    let dlx = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", full.as_str().into()),
    ];
    declare_keeping(&raw, &q, 1, dlx).await;
    raw.fill(&q, &["letter"]).await;
    reject(&raw, &q, 1).await;
    raw.until_counts(&q, (0, 0)).await;
    let mut other = fixture.raw().await;
    other.consume(&full).await;
    assert_eq!(other.delivered(1).await, ["first"]);
    other.ack(1);
    assert_eq!(other.delivered(1).await, ["letter"]);
}

#[scenario]
async fn retried_dead_letters_hold_up_those_with_a_route(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead, exchange) = (
        fixture.name("q"),
        fixture.name("dead"),
        fixture.name("exchange"),
    );
    raw.declare(&dead).await;
    raw.declare_exchange(&exchange, ExchangeKind::Direct).await;
    raw.bind(&dead, &exchange, "good").await;
    let source = fixture.name("source");
    raw.declare_exchange(&source, ExchangeKind::Fanout).await;
    let dlx = [("x-dead-letter-exchange", exchange.as_str().into())];
    declare_keeping(&raw, &q, 100, dlx).await;
    raw.bind(&q, &source, "").await;
    let mut expected: Vec<_> = (0..32).map(|number| number.to_string()).collect();
    for body in &expected {
        raw.put(&source, "bad", body).await;
    }
    raw.put(&source, "good", "good").await;
    expected.push("good".into());

    reject(&raw, &q, expected.len()).await;
    raw.until_counts(&q, (0, 0)).await;
    assert_eq!(raw.counts(&dead).await, (0, 0));
    raw.bind(&dead, &exchange, "bad").await;
    retry(&fixture, &[]).await;
    let letters = arrived(&raw, &dead, expected.len()).await;
    assert_eq!(in_any_order(letters), in_any_order(expected));
}

#[scenario]
async fn expired_message_for_its_own_queue_stays(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let circle = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", q.as_str().into()),
        ("x-message-ttl", 1.into()),
    ];
    declare_keeping(&raw, &q, 1, circle).await;
    raw.fill(&q, &["1", "2"]).await;
    raw.until_counts(&q, (0, 0)).await;
    assert!(
        !raw.is_taken(&q, "3").await,
        "the kept dead letters still fill the queue"
    );
}

#[scenario]
async fn a_purge_leaves_dead_letters_to_their_targets(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    raw.declare(&dead).await;
    let dlx = [
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    declare_keeping(&raw, &q, 2, dlx).await;
    // Once one dead letter has arrived, RabbitMQ is ready to forward others.
    raw.fill(&q, &["0"]).await;
    reject(&raw, &q, 1).await;
    assert_eq!(arrived(&raw, &dead, 1).await, ["0"]);
    raw.delete(&dead).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    reject(&raw, &q, 2).await;
    raw.until_counts(&q, (1, 0)).await;

    let purged = raw.channel.purge_queue(q.as_str().try_into().unwrap());
    // Since 4.3 a purge counts kept dead letters, and they no longer count for the limit.
    let counted = fixture.version() >= Version::V4_3;
    assert_eq!(purged.await.unwrap(), if counted { 3 } else { 1 });
    raw.declare(&dead).await;
    retry(&fixture, &[]).await;
    let letters = arrived(&raw, &dead, 2).await;
    assert_eq!(in_any_order(letters), ["1", "2"]);
}

#[scenario]
async fn dead_letters_are_dropped_with_the_strategy(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    let dlx = [
        ("dead-letter-exchange", "".into()),
        ("dead-letter-routing-key", dead.as_str().into()),
        ("overflow", "reject-publish".into()),
        ("max-length", 1.into()),
    ];
    let mut strategy = dlx.to_vec();
    strategy.push(("dead-letter-strategy", "at-least-once".into()));
    retry(&fixture, &strategy).await;
    raw.declare_quorum(&q, []).await;
    raw.fill(&q, &["1", "2"]).await;
    reject(&raw, &q, 2).await;
    raw.until_counts(&q, (0, 0)).await;
    assert!(
        !raw.is_taken(&q, "3").await,
        "the kept dead letters still fill the queue"
    );

    retry(&fixture, &dlx).await;
    until_taken(&mut raw, &q, "4").await;
    raw.declare(&dead).await;
    reject(&raw, &q, 1).await;
    assert_eq!(arrived(&raw, &dead, 1).await, ["4"]);
    assert_eq!(raw.drain(&dead).await, Vec::<String>::new());
}

#[scenario]
async fn dead_letters_are_not_kept_without_reject_publish(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, dead) = (fixture.name("q"), fixture.name("dead"));
    let mut declare = quorum_queue_with(
        &q,
        [
            ("x-dead-letter-strategy", "at-least-once".into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", dead.as_str().into()),
        ],
    );
    declare
        .arguments
        .insert("x-max-length".try_into().unwrap(), 1);
    raw.declare_with(declare).await;
    raw.fill(&q, &["1"]).await;
    reject(&raw, &q, 1).await;
    raw.until_counts(&q, (0, 0)).await;
    raw.fill(&q, &["2"]).await;
    raw.declare(&dead).await;
    retry(&fixture, &[]).await;
    reject(&raw, &q, 1).await;
    assert_eq!(arrived(&raw, &dead, 1).await, ["2"]);
}

#[scenario(alone)]
async fn a_restart_publishes_again_what_one_target_refused(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (q, free, full, exchange) = (
        fixture.name("q"),
        fixture.name("free"),
        fixture.name("full"),
        fixture.name("exchange"),
    );
    let persistent = |queue: &str, body: &str| {
        let mut message = message("", queue, body);
        Arc::make_mut(&mut message.properties).delivery_mode = Some(DeliveryMode::Persistent);
        Publish::new(message)
    };
    raw.declare(&free).await;
    let limits = [
        ("x-max-length", 1.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    raw.declare_with(mooq_core::QueueDeclare {
        arguments: table(limits),
        ..queue(&full)
    })
    .await;
    raw.declare_exchange(&exchange, ExchangeKind::Fanout).await;
    for target in [&free, &full] {
        raw.add(binding(target, &exchange, "")).await;
    }
    raw.put_message(persistent(&full, "first")).await;
    let dlx = [("x-dead-letter-exchange", exchange.as_str().into())];
    declare_keeping(&raw, &q, 10, dlx).await;
    raw.put_message(persistent(&q, "letter")).await;
    reject(&raw, &q, 1).await;
    raw.until_counts(&free, (1, 0)).await;
    assert_eq!(raw.drain(&full).await, ["first"]);

    fixture.control().restart().await;
    let raw = fixture.raw().await;
    // The free queue had confirmed the letter, which the restart forgets: at least once.
    assert_eq!(arrived(&raw, &full, 1).await, ["letter"]);
    assert_eq!(arrived(&raw, &free, 2).await, ["letter", "letter"]);
}
