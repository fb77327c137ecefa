//! Random arguments of queues, and random policies.

use mooq_core::{FieldTable, FieldValue};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::operation::{EXCHANGES, POLICIES, QUEUES, SetPolicy};
use super::strategy::name;

/// A time that outlasts every sequence, in milliseconds.
const LONG: i32 = 3_600_000;

pub(super) fn queue_arguments() -> impl Strategy<Value = FieldTable> {
    let limits = (
        option::weighted(0.3, integer(0..4)),
        option::weighted(0.1, integer(0..24)),
        option::weighted(
            0.3,
            select(&["drop-head", "reject-publish", "reject-publish-dlx"][..]),
        ),
    );
    let times = (
        option::weighted(0.2, prop_oneof![integer(0..1), integer(LONG..LONG + 2)]),
        option::weighted(0.1, integer(LONG..LONG + 2)),
    );
    let dead_letters = option::weighted(
        0.4,
        (
            prop_oneof![2 => Just(""), 1 => select(&EXCHANGES[..])],
            option::weighted(0.8, select(&["q0", "q1", "q2", "q3", "a", "a.b"][..])),
        ),
    );
    let others = (
        option::weighted(0.15, integer(1..4)),
        option::weighted(0.2, prop::bool::weighted(0.8)),
        option::weighted(0.03, wrong_argument()),
    );
    let all = (limits, times, dead_letters, others);
    prop_oneof![
        4 => Just(FieldTable::new()),
        2 => quorum_arguments(),
        6 => all.prop_map(|(limits, times, dead_letters, others)| {
            let text = |text: &str| FieldValue::from(text);
            let (exchange, key) = dead_letters.unzip();
            let (wrong, value) = others.2.unzip();
            let entries = [
                ("x-max-length", limits.0),
                ("x-max-length-bytes", limits.1),
                ("x-overflow", limits.2.map(text)),
                ("x-message-ttl", times.0),
                ("x-expires", times.1),
                ("x-dead-letter-exchange", exchange.map(text)),
                ("x-dead-letter-routing-key", key.flatten().map(text)),
                ("x-max-priority", others.0),
                ("x-single-active-consumer", others.1.map(FieldValue::from)),
                (wrong.unwrap_or(""), value),
            ];
            table(entries.into_iter().filter_map(|(key, value)| Some((key, value?))))
        }),
    ]
}

fn quorum_arguments() -> impl Strategy<Value = FieldTable> {
    let limits = (
        option::weighted(0.3, integer(0..4)),
        option::weighted(0.1, integer(0..24)),
        option::weighted(0.3, integer(0..3)),
        option::weighted(0.2, select(&["drop-head", "reject-publish"][..])),
    );
    let times = (
        option::weighted(0.15, prop_oneof![integer(0..1), integer(LONG..LONG + 2)]),
        option::weighted(0.1, integer(LONG..LONG + 2)),
    );
    let dead_letters = option::weighted(
        0.4,
        (
            select(&["q0", "q1", "q2", "q3", "a"][..]),
            option::weighted(0.2, select(&["at-most-once", "at-least-once"][..])),
        ),
    );
    let single_active = option::weighted(0.3, prop::bool::weighted(0.8));
    let delayed = option::weighted(
        0.1,
        (
            select(&["all", "failed", "returned", "disabled"][..]),
            option::weighted(0.8, integer(LONG..LONG + 2)),
        ),
    );
    let all = (limits, times, dead_letters, single_active, delayed);
    all.prop_map(|(limits, times, dead_letters, single_active, delayed)| {
        let text = |text: &str| FieldValue::from(text);
        let exchange = dead_letters.map(|_| text(""));
        let (key, strategy) = dead_letters.unzip();
        let (delays, delay) = delayed.unzip();
        let entries = [
            ("x-queue-type", Some(text("quorum"))),
            ("x-max-length", limits.0),
            ("x-max-length-bytes", limits.1),
            ("x-delivery-limit", limits.2),
            ("x-overflow", limits.3.map(text)),
            ("x-message-ttl", times.0),
            ("x-expires", times.1),
            ("x-dead-letter-exchange", exchange),
            ("x-dead-letter-routing-key", key.map(text)),
            ("x-dead-letter-strategy", strategy.flatten().map(text)),
            (
                "x-single-active-consumer",
                single_active.map(FieldValue::from),
            ),
            // Only 4.3 knows these arguments.
            ("x-delayed-retry-type", delays.map(text)),
            ("x-delayed-retry-min", delay.flatten()),
        ];
        table(
            entries
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?))),
        )
    })
}

/// A policy for one queue, with at least one of the keys that have most effect.
pub(super) fn set_policy() -> impl Strategy<Value = SetPolicy> {
    let number = |range: std::ops::Range<i32>| range.prop_map(FieldValue::I32);
    let limits = (
        option::weighted(0.4, number(0..4)),
        option::weighted(0.2, number(0..24)),
        option::weighted(0.2, select(&["drop-head", "reject-publish"][..])),
    );
    let ttl = option::weighted(0.3, prop_oneof![number(0..1), number(LONG..LONG + 2)]);
    let dead_letters = option::weighted(
        0.4,
        (
            prop_oneof![2 => Just(""), 1 => select(&EXCHANGES[..])],
            select(&["q0", "q1", "q2", "q3", "a"][..]),
        ),
    );
    let whose = (select(&POLICIES[..]), select(&QUEUES[..]), 0_i64..3);
    (whose, limits, ttl, dead_letters).prop_map(|(whose, limits, ttl, dead_letters)| {
        let text = |text: &str| FieldValue::from(text);
        let (exchange, key) = dead_letters.unzip();
        let entries = [
            ("max-length", limits.0),
            ("max-length-bytes", limits.1),
            ("overflow", limits.2.map(text)),
            ("message-ttl", ttl),
            ("dead-letter-exchange", exchange.map(text)),
            ("dead-letter-routing-key", key.map(text)),
        ];
        let set = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let mut definition = table(set);
        if definition.is_empty() {
            definition = table([("max-length", FieldValue::I32(2))]);
        }
        let (name, queue, priority) = whose;
        SetPolicy {
            name,
            queue: super::strategy::name(queue),
            priority,
            definition,
        }
    })
}

/// An integer, in one of its widths on the wire.
pub(super) fn integer(range: std::ops::Range<i32>) -> impl Strategy<Value = FieldValue> {
    (range, any::<bool>()).prop_map(|(value, wide)| {
        if wide {
            FieldValue::I64(value.into())
        } else {
            FieldValue::I32(value)
        }
    })
}

fn wrong_argument() -> impl Strategy<Value = (&'static str, FieldValue)> {
    select(vec![
        ("x-max-length", FieldValue::I32(-1)),
        ("x-max-length", "many".into()),
        ("x-max-length-bytes", FieldValue::Bool(true)),
        ("x-message-ttl", FieldValue::I32(-1)),
        ("x-message-ttl", "soon".into()),
        ("x-expires", FieldValue::I32(0)),
        ("x-overflow", "drop-tail".into()),
        ("x-max-priority", FieldValue::I32(256)),
        ("x-single-active-consumer", "yes".into()),
        ("x-dead-letter-exchange", FieldValue::I32(1)),
        ("x-queue-mode", "default".into()),
        ("x-queue-type", "classic".into()),
        ("x-delivery-limit", FieldValue::I32(3)),
        ("x-unheard-of", FieldValue::Void),
    ])
}

pub(super) fn table(entries: impl IntoIterator<Item = (&'static str, FieldValue)>) -> FieldTable {
    let entries = entries.into_iter();
    entries.map(|(key, value)| (name(key), value)).collect()
}
