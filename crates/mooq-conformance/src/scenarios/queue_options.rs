//! Queues: properties and arguments that a declare compares or refuses.

use mooq_core::{FieldTable, FieldValue, QueueDeclare};

use super::queue_exclusive::locked;
use crate::expect::method::QUEUE_DECLARE;
use crate::raw::{queue, table};
use crate::scenario;
use crate::{Fixture, Version};

fn with_arguments(name: &str, arguments: FieldTable) -> QueueDeclare {
    QueueDeclare {
        arguments,
        ..queue(name)
    }
}

pub(super) fn inequivalent(arg: &str, queue: &str, received: &str, current: &str) -> String {
    format!(
        "PRECONDITION_FAILED - inequivalent arg '{arg}' for queue '{queue}' in vhost '/': received \
         {received} but current is {current}"
    )
}

#[scenario(before = V4_2)]
async fn queue_type_without_a_name_is_unknown(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let empty = with_arguments(&q, table([("x-queue-type", "".into())]));
    let outcome = raw.channel.declare_queue(empty).await;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue '{q}' in vhost '/': \
         \"unsupported queue type ''\""
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn queue_redeclare_compares_exclusive_durable_auto_delete_arguments(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let mut declare = QueueDeclare {
        exclusive: true,
        durable: false,
        auto_delete: true,
        arguments: table([("x-max-length", 1.into())]),
        ..queue(&q)
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
    let outcome = raw.channel.declare_queue(declare.clone()).await;
    let value = "the value '1' of type 'signedint'";
    let text = inequivalent("x-max-length", &q, value, "none");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn queue_argument_that_differs_is_named_with_both_values(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let arguments = table([
        ("x-message-ttl", 1000.into()),
        ("x-overflow", "drop-head".into()),
    ]);
    raw.declare_with(with_arguments(&q, arguments.clone()))
        .await;
    raw.declare_with(with_arguments(&q, arguments.clone()))
        .await;

    let outcome = raw.channel.declare_queue(queue(&q)).await;
    let value = "the value '1000' of type 'signedint'";
    let text = inequivalent("x-message-ttl", &q, "none", value);
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    let other = table([
        ("x-message-ttl", 2000.into()),
        ("x-overflow", "drop-head".into()),
    ]);
    let outcome = raw.channel.declare_queue(with_arguments(&q, other)).await;
    let text = inequivalent("x-message-ttl", &q, "'2000'", "'1000'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    let other = table([
        ("x-message-ttl", 1000.into()),
        ("x-overflow", "reject-publish".into()),
    ]);
    let outcome = raw.channel.declare_queue(with_arguments(&q, other)).await;
    let text = inequivalent("x-overflow", &q, "'reject-publish'", "'drop-head'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn every_argument_of_a_queue_is_compared(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let cases: [(&str, FieldValue, &str); 8] = [
        (
            "x-expires",
            3_600_000.into(),
            "'3600000' of type 'signedint'",
        ),
        (
            "x-dead-letter-exchange",
            "x".into(),
            "'x' of type 'longstr'",
        ),
        ("x-max-length", 5.into(), "'5' of type 'signedint'"),
        ("x-max-length-bytes", 5.into(), "'5' of type 'signedint'"),
        ("x-max-priority", 5.into(), "'5' of type 'signedint'"),
        (
            "x-overflow",
            "drop-head".into(),
            "'drop-head' of type 'longstr'",
        ),
        (
            "x-single-active-consumer",
            true.into(),
            "'true' of type 'bool'",
        ),
        ("x-message-ttl", 5.into(), "'5' of type 'signedint'"),
    ];
    for (argument, value, named) in cases {
        let q = fixture.name(argument);
        raw.declare(&q).await;
        let arguments = table([(argument, value)]);
        let outcome = raw
            .channel
            .declare_queue(with_arguments(&q, arguments))
            .await;
        let text = inequivalent(argument, &q, &format!("the value {named}"), "none");
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
}

#[scenario]
async fn queue_arguments_compare_integers_of_every_width(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let limit = |value: FieldValue| with_arguments(&q, table([("x-max-length", value)]));
    raw.declare_with(limit(100_i8.into())).await;
    for same in [
        FieldValue::U8(100),
        FieldValue::I16(100),
        FieldValue::U16(100),
        FieldValue::I32(100),
        FieldValue::U32(100),
        FieldValue::I64(100),
    ] {
        raw.declare_with(limit(same)).await;
    }
    let outcome = raw.channel.declare_queue(limit(101_i64.into())).await;
    let text = inequivalent("x-max-length", &q, "'101'", "'100'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn unknown_queue_arguments_are_not_compared(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    let unknown = table([("x-whatever", 1.into()), ("other", "a".into())]);
    raw.declare_with(with_arguments(&q, unknown)).await;
    raw.declare(&q).await;
    let changed = table([("x-whatever", "2".into())]);
    raw.declare_with(with_arguments(&q, changed)).await;
}

#[scenario]
async fn a_queue_without_a_type_is_classic(fixture: Fixture) {
    let raw = fixture.raw().await;
    let (plain, typed) = (fixture.name("plain"), fixture.name("typed"));
    let classic = || table([("x-queue-type", "classic".into())]);
    raw.declare(&plain).await;
    raw.declare_with(with_arguments(&plain, classic())).await;
    raw.declare_with(with_arguments(&typed, classic())).await;
    raw.declare(&typed).await;
}

#[scenario]
async fn arguments_out_of_range_are_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let cases: [(&str, FieldValue, &str); 18] = [
        ("x-message-ttl", (-1).into(), "{value_negative,-1}"),
        (
            "x-message-ttl",
            "5".into(),
            "\"expected integer, got longstr\"",
        ),
        (
            "x-message-ttl",
            1.0.into(),
            "\"expected integer, got double\"",
        ),
        (
            "x-message-ttl",
            315_360_000_001_i64.into(),
            "{value_too_large,315360000001}",
        ),
        ("x-expires", 0.into(), "{value_zero,0}"),
        ("x-expires", (-1).into(), "{value_negative,-1}"),
        ("x-expires", true.into(), "\"expected integer, got bool\""),
        ("x-max-length", (-1).into(), "{value_negative,-1}"),
        (
            "x-max-length-bytes",
            "1".into(),
            "\"expected integer, got longstr\"",
        ),
        ("x-max-priority", 256.into(), "{max_value_exceeded,256}"),
        ("x-max-priority", (-1).into(), "{value_negative,-1}"),
        (
            "x-dead-letter-routing-key",
            "k".into(),
            "routing_key_but_no_dlx_defined",
        ),
        (
            "x-dead-letter-routing-key",
            1.into(),
            "{unacceptable_type,signedint}",
        ),
        ("x-overflow", "whatever".into(), "invalid_overflow"),
        ("x-overflow", 1.into(), "{unacceptable_type,signedint}"),
        (
            "x-single-active-consumer",
            1.into(),
            "{unacceptable_type,signedint}",
        ),
        (
            "x-queue-type",
            "whatever".into(),
            "\"unsupported queue type 'whatever'\"",
        ),
        ("x-queue-type", 1.into(), "{unacceptable_type,signedint}"),
    ];
    for (argument, value, why) in cases {
        let arguments = table([(argument, value)]);
        let outcome = raw
            .channel
            .declare_queue(with_arguments(&q, arguments))
            .await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{argument}' for queue '{q}' in vhost '/': {why}"
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn a_dead_letter_exchange_must_be_a_name(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let arguments = table([("x-dead-letter-exchange", 1.into())]);
    let outcome = raw
        .channel
        .declare_queue(with_arguments(&q, arguments))
        .await;
    let text = format!(
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue \
         '{q}' in vhost '/'"
    );
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn arguments_of_another_queue_type_are_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let cases: [(&str, FieldValue); 3] = [
        ("x-delivery-limit", 5.into()),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-quorum-initial-group-size", 3.into()),
    ];
    for (argument, value) in cases {
        let arguments = table([(argument, value)]);
        let outcome = raw
            .channel
            .declare_queue(with_arguments(&q, arguments))
            .await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{argument}' for queue '{q}' in vhost '/' of queue \
             type rabbit_classic_queue"
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
    assert!(!raw.has_queue(&q).await);
}

#[scenario]
async fn a_long_value_is_broken_as_erlang_breaks_it(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let values = || {
        let values = ["a long value", "another one", "one more of them"];
        FieldValue::from(values.map(FieldValue::from).to_vec())
    };
    let shown = |below: &str| {
        format!(
            "[{{longstr,<<\"a long value\">>}},\n{below}{{longstr,<<\"another one\">>}},\n{below}\
             {{longstr,<<\"one more of them\">>}}]"
        )
    };
    let arguments = table([("x-expires", values())]);
    let outcome = raw.channel.declare_queue(with_arguments(&q, arguments));
    let outcome = outcome.await;
    let received = format!("the value '{}' of type 'array'", shown(&" ".repeat(12)));
    let text = inequivalent("x-expires", &q, &received, "none");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;

    // Next to another value the text has no type, and begins further left.
    let limited = table([("x-expires", 3_600_000.into())]);
    let q = fixture.name("l");
    raw.declare_with(with_arguments(&q, limited)).await;
    let arguments = table([("x-expires", values())]);
    let outcome = raw.channel.declare_queue(with_arguments(&q, arguments));
    let outcome = outcome.await;
    let received = format!("'{}'", shown("  "));
    let text = inequivalent("x-expires", &q, &received, "'3600000'");
    raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
}

#[scenario]
async fn queue_type_is_shown_as_erlang_shows_strings(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    let unprintable = |bytes: &str| {
        let prefix = "unsupported queue type '"
            .bytes()
            .map(|byte| byte.to_string() + ",");
        format!("[{}{bytes},39]", prefix.collect::<String>())
    };
    let is_unicode = fixture.version() >= Version::V4_0;
    for (kind, shown) in [
        ("a\"\\", "\"unsupported queue type 'a\\\"\\\\'\"".to_owned()),
        ("é", "\"unsupported queue type 'é'\"".to_owned()),
        ("\u{1}", unprintable("1")),
        (
            "日",
            unprintable(if is_unicode { "26085" } else { "230,151,165" }),
        ),
    ] {
        let arguments = table([("x-queue-type", kind.into())]);
        let outcome = raw.channel.declare_queue(with_arguments(&q, arguments));
        let outcome = outcome.await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue '{q}' in vhost '/': {shown}"
        );
        raw.refused(outcome, 406, QUEUE_DECLARE, &text).await;
    }
}
