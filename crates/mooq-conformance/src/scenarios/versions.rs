//! Arguments and patterns that only some versions of RabbitMQ refuse.

use mooq_core::{ErrorScope, ExchangeKind, QueueDeclare};

use crate::expect::Method;
use crate::expect::method::{QUEUE_BIND, QUEUE_DECLARE};
use crate::raw::{binding, queue, table};
use crate::scenario;
use crate::{Fixture, expect_reason};

fn transient(name: &str) -> QueueDeclare {
    QueueDeclare {
        durable: false,
        ..queue(name)
    }
}

#[scenario]
async fn a_transient_queue_may_be_shared(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(transient(&q)).await;
    raw.fill(&q, &["m"]).await;
    assert_eq!(fixture.raw().await.drain(&q).await, ["m"]);
}

/// Asserts that declaring a queue closes the connection, with this text.
async fn costs_the_connection(
    fixture: &Fixture,
    declare: QueueDeclare,
    method: Method,
    text: &str,
) {
    let mut raw = fixture.raw().await;
    let err = raw.channel.declare_queue(declare).await.unwrap_err();
    assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
    expect_reason(&err, 541, method, text);
    raw.closes_connection(541, method, text).await;
}

fn with_master_locator(name: &str, locator: &str) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-queue-master-locator", locator.into())]),
        ..queue(name)
    }
}

#[scenario(before = V4_3)]
async fn a_master_locator_may_be_named(fixture: Fixture) {
    let raw = fixture.raw().await;
    for locator in ["client-local", "min-masters", "random"] {
        let q = fixture.name(locator);
        raw.declare_with(with_master_locator(&q, locator)).await;
    }
}

#[scenario(before = V4_0)]
async fn an_unknown_master_locator_is_an_internal_error(fixture: Fixture) {
    let declare = with_master_locator(&fixture.name("q"), "anywhere");
    costs_the_connection(&fixture, declare, (0, 0), "INTERNAL_ERROR").await;
}

#[scenario(since = V4_0, before = V4_3)]
async fn an_unknown_master_locator_is_as_none(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(with_master_locator(&q, "anywhere")).await;
}

#[scenario(since = V4_3)]
async fn a_master_locator_is_not_permitted(fixture: Fixture) {
    let declare = with_master_locator(&fixture.name("q"), "client-local");
    let text = "INTERNAL_ERROR - Feature `queue_master_locator` is deprecated.\nBy default, this \
                feature is not permitted anymore.\nThe feature will be removed from a future major \
                RabbitMQ version, regardless of the configuration; actual version to be \
                determined.\nTo continue";
    costs_the_connection(&fixture, declare, QUEUE_DECLARE, text).await;
}

#[scenario(before = V4_3)]
async fn a_pattern_may_have_any_number_of_hashes(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "#.a.#.b.#").await;
    for key in ["a.b", "x.a.y.b.z", "b.a"] {
        raw.put(&x, key, key).await;
    }
    assert_eq!(raw.drain(&q).await, ["a.b", "x.a.y.b.z"]);
}

#[scenario(since = V4_3)]
async fn a_pattern_may_have_two_hashes_and_no_more(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    raw.declare(&q).await;
    raw.bind(&q, &x, "#.a.#").await;
    raw.bind(&q, &x, "##.#.#b").await;
    let outcome = raw.channel.bind(binding(&q, &x, "#.a.#.b.#")).await;
    let text = "PRECONDITION_FAILED - Topic binding key '#.a.#.b.#' uses 3 '#' wildcards, at most \
                2 are allowed";
    raw.refused(outcome, 406, QUEUE_BIND, text).await;
    // Outside of topic exchanges a hash is an ordinary character.
    raw.bind(&q, "amq.direct", "#.a.#.b.#").await;
}

#[scenario(before = V4_3)]
async fn the_queue_mode_is_looked_at(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let eager = QueueDeclare {
        arguments: table([("x-queue-mode", "eager".into())]),
        ..queue(&q)
    };
    let outcome = raw.channel.declare_queue(eager).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-queue-mode' for queue '{q}' in vhost '/': \
         \"unsupported queue mode 'eager'\""
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario(since = V4_3)]
async fn the_queue_mode_may_be_anything(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    let eager = QueueDeclare {
        arguments: table([("x-queue-mode", "eager".into())]),
        ..queue(&q)
    };
    raw.declare_with(eager).await;
}

#[scenario(before = V4_0)]
async fn a_leader_locator_is_only_for_other_types(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let located = QueueDeclare {
        arguments: table([("x-queue-leader-locator", "client-local".into())]),
        ..queue(&q)
    };
    let outcome = raw.channel.declare_queue(located).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-queue-leader-locator' for queue '{q}' in vhost '/' \
         of queue type rabbit_classic_queue"
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario(since = V4_0)]
async fn a_leader_locator_is_checked_and_compared(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let located = |locator: &str| QueueDeclare {
        arguments: table([("x-queue-leader-locator", locator.into())]),
        ..queue(&q)
    };
    let outcome = raw.channel.declare_queue(located("anywhere")).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-queue-leader-locator' for queue '{q}' in vhost \
         '/': invalid_queue_locator_arg"
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    raw.declare_with(located("client-local")).await;
    let outcome = raw.channel.declare_queue(located("balanced")).await;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-leader-locator' for queue '{q}' in vhost \
         '/': received 'balanced' but current is 'client-local'"
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}
