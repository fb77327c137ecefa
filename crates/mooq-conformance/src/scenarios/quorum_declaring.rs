//! Quorum queues: declaring, arguments that a declare compares, and deleting.

use mooq_core::{FieldValue, QueueDeclare};

use super::queue_exclusive::locked;
use super::queue_options::inequivalent;
use crate::Fixture;
use crate::expect::method::{QUEUE_DECLARE, QUEUE_DELETE};
use crate::raw::{consumer, queue, quorum_queue, quorum_queue_with};
use crate::scenario;
use crate::version::Version;

#[scenario]
async fn a_quorum_queue_is_neither_exclusive_nor_auto_delete_nor_transient(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let mut declare = QueueDeclare {
        auto_delete: true,
        exclusive: true,
        durable: false,
        ..quorum_queue(&q)
    };
    let mut properties = vec!["auto-delete", "exclusive-owner"];
    // From 4.3 on RabbitMQ refuses transient shared queues of every type, with another error.
    if fixture.version() < Version::V4_3 {
        properties.push("non-durable");
    }
    for property in properties {
        let outcome = raw.channel.declare_queue(declare.clone()).await;
        let text = format!(
            "PRECONDITION_FAILED - invalid property '{property}' for queue '{q}' in vhost '/'"
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
        match property {
            "auto-delete" => declare.auto_delete = false,
            _ => declare.exclusive = false,
        }
    }
    // An exclusive queue is not durable, whatever the declare says.
    declare.exclusive = true;
    declare.durable = true;
    let outcome = raw.channel.declare_queue(declare).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue '{q}' in vhost '/'"
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn a_quorum_queue_has_a_name_of_its_clients_choice(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let outcome = raw.channel.declare_queue(quorum_queue("")).await;
    let text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type \
                rabbit_quorum_queue";
    raw.refused(outcome, 406, QUEUE_DECLARE, text).await;
}

#[scenario]
async fn arguments_of_other_queue_types_are_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let cases: [(&str, FieldValue); 7] = [
        ("x-max-priority", 5.into()),
        ("x-queue-mode", "lazy".into()),
        ("x-queue-version", 2.into()),
        ("x-queue-master-locator", "min-masters".into()),
        ("x-max-age", "1D".into()),
        ("x-stream-max-segment-size-bytes", 1000.into()),
        ("x-initial-cluster-size", 1.into()),
    ];
    for (argument, value) in cases {
        let declare = quorum_queue_with(&q, [(argument, value)]);
        let outcome = raw.channel.declare_queue(declare).await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{argument}' for queue '{q}' in vhost '/' of queue \
             type rabbit_quorum_queue"
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn arguments_out_of_range_are_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let cases: [(&str, FieldValue, &str); 16] = [
        ("x-expires", 0.into(), "{value_zero,0}"),
        ("x-message-ttl", (-1).into(), "{value_negative,-1}"),
        (
            "x-dead-letter-routing-key",
            "k".into(),
            "routing_key_but_no_dlx_defined",
        ),
        (
            "x-dead-letter-strategy",
            "at-best".into(),
            "invalid_dlx_strategy",
        ),
        (
            "x-dead-letter-strategy",
            1.into(),
            "{unacceptable_type,signedint}",
        ),
        ("x-max-length", (-1).into(), "{value_negative,-1}"),
        (
            "x-max-length-bytes",
            "a".into(),
            "\"expected integer, got longstr\"",
        ),
        ("x-max-in-memory-length", (-1).into(), "{value_negative,-1}"),
        (
            "x-max-in-memory-bytes",
            "5".into(),
            "\"expected integer, got longstr\"",
        ),
        ("x-overflow", "burst".into(), "invalid_overflow"),
        (
            "x-single-active-consumer",
            1.into(),
            "{unacceptable_type,signedint}",
        ),
        ("x-quorum-initial-group-size", 0.into(), "{value_zero,0}"),
        (
            "x-quorum-initial-group-size",
            (-1).into(),
            "{value_negative,-1}",
        ),
        (
            "x-quorum-initial-group-size",
            "a".into(),
            "\"expected integer, got longstr\"",
        ),
        (
            "x-queue-leader-locator",
            "north".into(),
            "invalid_queue_locator_arg",
        ),
        (
            "x-queue-leader-locator",
            1.into(),
            "{unacceptable_type,signedint}",
        ),
    ];
    for (argument, value, why) in cases {
        let declare = quorum_queue_with(&q, [(argument, value)]);
        let outcome = raw.channel.declare_queue(declare).await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{argument}' for queue '{q}' in vhost '/': {why}"
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn a_quorum_queue_takes_all_its_arguments_and_unknown_ones(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    let arguments = [
        ("x-expires", 3_600_000.into()),
        ("x-message-ttl", 60_000.into()),
        ("x-dead-letter-exchange", "amq.direct".into()),
        ("x-dead-letter-routing-key", "dead".into()),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-max-length", 10.into()),
        ("x-max-length-bytes", 1000.into()),
        ("x-max-in-memory-length", 5.into()),
        ("x-max-in-memory-bytes", 500.into()),
        ("x-overflow", "reject-publish".into()),
        ("x-single-active-consumer", true.into()),
        ("x-quorum-initial-group-size", 3.into()),
        ("x-delivery-limit", 5.into()),
        ("x-queue-leader-locator", "balanced".into()),
        ("x-colour", "blue".into()),
    ];
    raw.declare_quorum(&q, arguments.clone()).await;
    raw.declare_quorum(&q, arguments).await;
    assert_eq!(raw.counts(&q).await, (0, 0));
}

#[scenario]
async fn a_delivery_limit_may_be_anything(fixture: Fixture) {
    let raw = fixture.raw().await;
    let limits: [FieldValue; 4] = [0.into(), (-1).into(), "many".into(), true.into()];
    for (number, limit) in limits.into_iter().enumerate() {
        let q = fixture.name(&number.to_string());
        raw.declare_quorum(&q, [("x-delivery-limit", limit)]).await;
    }
}

#[scenario(since = V4_0)]
async fn a_queue_keeps_its_type(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (quorum, classic) = (fixture.name("quorum"), fixture.name("classic"));
    raw.declare_with(quorum_queue(&quorum)).await;
    raw.declare(&classic).await;

    let outcome = raw.channel.declare_queue(quorum_queue(&classic)).await;
    let text = inequivalent("x-queue-type", &classic, "'quorum'", "'classic'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    let named = [("x-queue-type", "classic".into())];
    let declare = QueueDeclare {
        arguments: crate::raw::table(named),
        ..queue(&quorum)
    };
    let outcome = raw.channel.declare_queue(declare).await;
    let text = inequivalent("x-queue-type", &quorum, "'classic'", "'quorum'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario(before = V4_0)]
async fn a_queue_without_a_type_has_none_to_compare(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (quorum, classic) = (fixture.name("quorum"), fixture.name("classic"));
    raw.declare_with(quorum_queue(&quorum)).await;
    raw.declare(&classic).await;
    let named = "the value 'quorum' of type 'longstr'";

    let outcome = raw.channel.declare_queue(quorum_queue(&classic)).await;
    let text = inequivalent("x-queue-type", &classic, named, "none");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    let outcome = raw.channel.declare_queue(queue(&quorum)).await;
    let text = inequivalent("x-queue-type", &quorum, "none", named);
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn quorum_redeclare_compares_exclusive_durable_auto_delete_arguments(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let mut declare = QueueDeclare {
        exclusive: true,
        durable: false,
        auto_delete: true,
        ..quorum_queue_with(
            &q,
            [("x-max-length", 1.into()), ("x-delivery-limit", 5.into())],
        )
    };

    let outcome = raw.channel.declare_queue(declare.clone()).await;
    raw.refused(outcome, 405, QUEUE_DECLARE, &locked(&q)).await;

    declare.exclusive = false;
    let outcome = raw.channel.declare_queue(declare.clone()).await;
    let text = inequivalent("durable", &q, "'false'", "'true'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    declare.durable = true;
    let outcome = raw.channel.declare_queue(declare.clone()).await;
    let text = inequivalent("auto_delete", &q, "'true'", "'false'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    declare.auto_delete = false;
    for (argument, value) in [("x-max-length", 1), ("x-delivery-limit", 5)] {
        let outcome = raw.channel.declare_queue(declare.clone()).await;
        let value = format!("the value '{value}' of type 'signedint'");
        let text = inequivalent(argument, &q, &value, "none");
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
        declare.arguments.remove(argument);
    }
    raw.declare_with(declare).await;
}

#[scenario]
async fn unknown_arguments_of_a_quorum_queue_are_not_compared(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.declare_quorum(&q, [("x-max-priority", 5.into())]).await;
}

#[scenario]
async fn a_quorum_queue_is_not_deleted_on_conditions(fixture: Fixture) {
    let setup = fixture.raw().await;
    let q = fixture.name("q");
    setup.declare_with(quorum_queue(&q)).await;
    for (if_unused, if_empty, flag) in [
        (true, false, "if-unused"),
        (false, true, "if-empty"),
        (true, true, "if-unused"),
    ] {
        let mut raw = fixture.raw().await;
        let name = q.as_str().try_into().unwrap();
        let outcome = raw.channel.delete_queue(name, if_unused, if_empty).await;
        let text = format!(
            "NOT_IMPLEMENTED - cannot delete queue '{q}' in vhost '/'. queue.delete operations \
             with {flag} flag set are not supported by quorum queues"
        );
        outcome.expect_err(&text);
        raw.closes_connection(540, QUEUE_DELETE, &text).await;
    }
    assert!(setup.has_queue(&q).await);
}

#[scenario]
async fn purging_and_deleting_count_what_is_ready(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    raw.fill(&q, &["unacked", "2", "3"]).await;
    raw.fetch(&q).await;
    let purged = raw.channel.purge_queue(q.as_str().try_into().unwrap());
    assert_eq!(purged.await.unwrap(), 2);
    assert!(raw.get(&q).await.is_none());

    // The unacked message is still there.
    raw.requeue(1);
    assert!(raw.fetch_soon(&q).await.redelivered);
    raw.fill(&q, &["4"]).await;
    assert_eq!(raw.delete(&q).await, 1);
    raw.ack(2);
    raw.nothing_more().await;
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn deleting_a_quorum_queue_cancels_its_consumers(fixture: Fixture) {
    let raw = fixture.raw().await;
    let mut consuming = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare_with(quorum_queue(&q)).await;
    let tag = consuming.consume_with(consumer(&q)).await;
    assert_eq!(raw.delete(&q).await, 0);
    assert_eq!(consuming.cancelled().await, tag);
}

#[scenario(since = V4_3)]
async fn timeouts_of_consumers_are_no_negative_numbers(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    for argument in ["x-consumer-timeout", "x-consumer-disconnected-timeout"] {
        for (value, why) in [
            (FieldValue::from(-1), "{value_negative,-1}"),
            ("1".into(), "\"expected integer, got longstr\""),
            (true.into(), "\"expected integer, got bool\""),
        ] {
            let declare = quorum_queue_with(&q, [(argument, value)]);
            let outcome = raw.channel.declare_queue(declare).await;
            let text = format!(
                "PRECONDITION_FAILED - invalid arg '{argument}' for queue '{q}' in vhost '/': {why}"
            );
            raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
        }
    }
    assert!(!raw.has_queue(&q).await);
}

#[scenario(since = V4_3)]
async fn declaring_again_compares_timeouts_and_delays(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let arguments = || {
        [
            ("x-consumer-disconnected-timeout", 5.into()),
            ("x-consumer-timeout", 10_000.into()),
            // RabbitMQ does not check these arguments.
            ("x-delayed-retry-type", "bogus".into()),
            ("x-delayed-retry-min", "100".into()),
            ("x-delayed-retry-max", (-5).into()),
        ]
    };
    raw.declare_quorum(&q, arguments()).await;
    let shown = |value: &FieldValue| match value {
        FieldValue::String(text) => format!("the value '{text}' of type 'longstr'"),
        other => format!(
            "the value '{}' of type 'signedint'",
            other.as_i64().unwrap()
        ),
    };
    // The error names the first missing argument.
    for at in 0..5 {
        let given: Vec<_> = arguments().into_iter().take(at).collect();
        let mut declare = quorum_queue(&q);
        for (key, value) in given {
            declare.arguments.insert(key.try_into().unwrap(), value);
        }
        let (argument, value): (_, FieldValue) = arguments()[at].clone();
        let outcome = raw.channel.declare_queue(declare).await;
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{q}' in vhost '/': \
             received none but current is {}",
            shown(&value)
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
    raw.declare_quorum(&q, arguments()).await;
}

#[scenario(since = V4_2)]
async fn empty_queue_type_is_a_type_to_compare(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let empty = || {
        let mut declare = queue(&q);
        let key = "x-queue-type".try_into().unwrap();
        declare.arguments.insert(key, "");
        declare
    };
    raw.declare_with(empty()).await;
    raw.declare_with(empty()).await;
    let outcome = raw.channel.declare_queue(queue(&q)).await;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{q}' in vhost '/': \
         received 'classic' but current is ''"
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}
