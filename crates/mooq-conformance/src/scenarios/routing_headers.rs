//! Headers exchanges: which arguments match which headers.

use mooq_core::{Binding, Decimal, ExchangeKind, FieldTable, FieldValue, Publish};

use crate::Fixture;
use crate::Version;
use crate::expect::method::QUEUE_BIND;
use crate::raw::{binding, message_with, table};
use crate::scenario;

/// A binding's arguments by name, and the messages that they match.
type Expectation<'a> = (&'a str, FieldTable, &'a [&'a str]);

/// Binds a queue with each of the arguments, publishes every message, and compares what each
/// queue got.
async fn expect_matches(
    fixture: Fixture,
    messages: &[(&str, FieldTable)],
    expectations: &[Expectation<'_>],
) {
    let mut raw = fixture.publisher().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Headers).await;
    for (what, arguments, _) in expectations {
        let q = fixture.name(what);
        raw.declare(&q).await;
        raw.bind_with(&q, &x, "the key is ignored", arguments.clone())
            .await;
    }
    for (body, headers) in messages {
        let message = message_with(&x, "k", body, headers.clone());
        raw.put_message(Publish::new(message)).await;
    }
    for (what, _, expected) in expectations {
        assert_eq!(raw.drain(&fixture.name(what)).await, *expected, "{what}");
    }
}

#[scenario]
async fn x_match_all_needs_every_argument_and_any_needs_one(fixture: Fixture) {
    let messages = [
        ("none", table([])),
        ("a", table([("a", 1.into())])),
        ("b", table([("b", "x".into())])),
        ("both", table([("a", 1.into()), ("b", "x".into())])),
        (
            "more",
            table([("a", 1.into()), ("b", "x".into()), ("c", 3.into())]),
        ),
        ("other", table([("a", 2.into()), ("b", "y".into())])),
    ];
    let pair = || table([("a", 1.into()), ("b", "x".into())]);
    let with = |x_match: &str| pair().with("x-match", x_match).unwrap();
    expect_matches(
        fixture,
        &messages,
        &[
            ("absent", pair(), &["both", "more"]),
            ("all", with("all"), &["both", "more"]),
            ("any", with("any"), &["a", "b", "both", "more"]),
            ("all-with-x", with("all-with-x"), &["both", "more"]),
            (
                "any-with-x",
                with("any-with-x"),
                &["a", "b", "both", "more"],
            ),
        ],
    )
    .await;
}

#[scenario]
async fn x_match_all_without_arguments_matches_everything_and_any_nothing(fixture: Fixture) {
    let messages = [("none", table([])), ("a", table([("a", 1.into())]))];
    let x_match = |x_match: &str| table([("x-match", x_match.into())]);
    expect_matches(
        fixture,
        &messages,
        &[
            ("absent", table([]), &["none", "a"]),
            ("all", x_match("all"), &["none", "a"]),
            ("any", x_match("any"), &[]),
            ("all-with-x", x_match("all-with-x"), &["none", "a"]),
            ("any-with-x", x_match("any-with-x"), &[]),
        ],
    )
    .await;
}

#[scenario]
async fn header_names_that_begin_with_x_count_only_where_asked(fixture: Fixture) {
    let messages = [
        ("none", table([])),
        ("a", table([("a", 1.into())])),
        ("x", table([("x-a", 1.into())])),
        ("both", table([("a", 1.into()), ("x-a", 1.into())])),
    ];
    let with = |x_match: &str| {
        table([
            ("x-match", x_match.into()),
            ("a", 1.into()),
            ("x-a", 1.into()),
        ])
    };
    let only_x = |x_match: &str| table([("x-match", x_match.into()), ("x-a", 1.into())]);
    expect_matches(
        fixture,
        &messages,
        &[
            ("all", with("all"), &["a", "both"]),
            ("any", with("any"), &["a", "both"]),
            ("all-with-x", with("all-with-x"), &["both"]),
            ("any-with-x", with("any-with-x"), &["a", "x", "both"]),
            ("only x, all", only_x("all"), &["none", "a", "x", "both"]),
            ("only x, any", only_x("any"), &[]),
            ("only x, any-with-x", only_x("any-with-x"), &["x", "both"]),
        ],
    )
    .await;
}

#[scenario]
async fn a_void_argument_asks_for_the_name_alone(fixture: Fixture) {
    let messages = [
        ("none", table([])),
        ("void", table([("a", FieldValue::Void)])),
        ("number", table([("a", 1.into())])),
        ("text", table([("a", "x".into())])),
        ("other", table([("b", 1.into())])),
    ];
    let with = |x_match: &str| table([("x-match", x_match.into()), ("a", FieldValue::Void)]);
    expect_matches(
        fixture,
        &messages,
        &[
            ("all", with("all"), &["void", "number", "text"]),
            ("any", with("any"), &["void", "number", "text"]),
            // A void header, in contrast, is a value like others.
            ("number", table([("a", 1.into())]), &["number"]),
        ],
    )
    .await;
}

#[scenario]
async fn header_values_are_compared_and_wire_widths_are_not(fixture: Fixture) {
    let one = |value: FieldValue| table([("a", value)]);
    let messages = [
        ("i8", one(1_i8.into())),
        ("u8", one(1_u8.into())),
        ("i16", one(1_i16.into())),
        ("u16", one(1_u16.into())),
        ("i32", one(1_i32.into())),
        ("u32", one(1_u32.into())),
        ("i64", one(1_i64.into())),
        ("float", one(1.0_f32.into())),
        ("double", one(1.0_f64.into())),
        ("text", one("1".into())),
        ("true", one(true.into())),
        ("time", one(FieldValue::Timestamp(1))),
        ("array", one(FieldValue::Array(vec![1_i8.into()]))),
        (
            "table",
            one(FieldValue::Table(table([("b", 1_i64.into())]))),
        ),
    ];
    let (integers, floats) = (
        ["i8", "u8", "i16", "u16", "i32", "u32", "i64"],
        ["float", "double"],
    );
    // Before 4.0 RabbitMQ compared numbers of different types by value.
    let numbers = [&integers[..], &floats[..], &["time"]].concat();
    let (integers, floats) = if fixture.version() < Version::V4_0 {
        (&numbers[..], &numbers[..])
    } else {
        (&integers[..], &floats[..])
    };
    expect_matches(
        fixture,
        &messages,
        &[
            ("integer", one(1_i8.into()), integers),
            ("long", one(1_i64.into()), integers),
            ("float", one(1.0_f64.into()), floats),
            ("text", one("1".into()), &["text"]),
            ("true", one(true.into()), &["true"]),
            ("false", one(false.into()), &[]),
            ("upper case", table([("A", 1.into())]), &[]),
        ],
    )
    .await;
}

#[scenario]
async fn x_match_must_be_one_of_its_four_values(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Headers).await;
    raw.declare(&q).await;
    let with = |value: FieldValue| Binding {
        arguments: table([("x-match", value)]),
        ..binding(&q, &x, "")
    };
    let outcome = raw.channel.bind(with("some".into())).await;
    let text = "PRECONDITION_FAILED - Invalid x-match field value <<\"some\">>; expected all, any, \
                all-with-x, or any-with-x";
    raw.refused(outcome, 406, QUEUE_BIND, text).await;
    let outcome = raw.channel.bind(with(1.into())).await;
    let text = "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected \
                longstr";
    raw.refused(outcome, 406, QUEUE_BIND, text).await;
}

#[scenario]
async fn a_long_x_match_is_broken_as_erlang_breaks_it(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Headers).await;
    raw.declare(&q).await;
    let array = |values: &[&str]| -> FieldValue {
        let values = values.iter().map(|value| FieldValue::from(*value));
        values.collect::<Vec<_>>().into()
    };
    let (long, longer) = ("x".repeat(20), "x".repeat(40));
    let below = |columns: usize| format!("\n{:columns$}", "");
    let odd = FieldValue::Array(vec![
        FieldValue::F32(0.1),
        FieldValue::F64(1e5),
        FieldValue::I16(-5),
        FieldValue::Void,
        FieldValue::Bytes(vec![0, 255].into()),
        FieldValue::Decimal(Decimal {
            scale: 2,
            value: -1,
        }),
    ]);
    for (value, kind, shown) in [
        (
            array(&[&long]),
            "array",
            format!("[{{longstr,<<\"{long}\">>}}]"),
        ),
        (
            array(&[&format!("{long}x")]),
            "array",
            format!("[{{longstr,{}<<\"{long}x\">>}}]", below(42)),
        ),
        (
            array(&["1", "2", "3"]),
            "array",
            format!(
                "[{{longstr,<<\"1\">>}},{0}{{longstr,<<\"2\">>}},{0}{{longstr,<<\"3\">>}}]",
                below(41)
            ),
        ),
        (
            table([("k", longer.as_str().into())]).into(),
            "table",
            format!("[{{<<\"k\">>,longstr,{}<<\"{longer}\">>}}]", below(42)),
        ),
        (
            odd,
            "array",
            format!(
                "[{{float,0.10000000149011612}},{0}{{double,1.0e5}},{0}{{short,-5}},{0}\
                 {{void,undefined}},{0}{{binary,<<0,255>>}},{0}{{decimal,{{2,4294967295}}}}]",
                below(41)
            ),
        ),
    ] {
        let arguments = table([("x-match", value)]);
        let outcome = raw.channel.bind(Binding {
            arguments,
            ..binding(&q, &x, "")
        });
        let text = format!(
            "PRECONDITION_FAILED - Invalid x-match field type {kind} (value {shown}); expected \
             longstr"
        );
        let outcome = outcome.await;
        raw.refused(outcome, 406, QUEUE_BIND, &text).await;
    }
    let odd = table([("x-match", "é\"\u{1}".into())]);
    let outcome = raw.channel.bind(Binding {
        arguments: odd,
        ..binding(&q, &x, "")
    });
    let outcome = outcome.await;
    let text = "PRECONDITION_FAILED - Invalid x-match field value <<195,169,34,1>>; expected all, \
                any, all-with-x, or any-with-x";
    raw.refused(outcome, 406, QUEUE_BIND, text).await;
}

#[scenario]
async fn bindings_that_differ_in_arguments_are_removed_one_by_one(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Headers).await;
    raw.declare(&q).await;
    let with = |arguments: FieldTable| Binding {
        arguments,
        ..binding(&q, &x, "")
    };
    let (a, b) = (table([("a", 1.into())]), table([("b", 1.into())]));
    raw.add(with(a.clone())).await;
    raw.add(with(b.clone())).await;
    let both = table([("a", 1.into()), ("b", 1.into())]);
    raw.put_message(Publish::new(message_with(&x, "", "one copy", both)))
        .await;
    raw.remove(with(a.clone())).await;
    for (body, headers) in [("a", a), ("b", b)] {
        raw.put_message(Publish::new(message_with(&x, "", body, headers)))
            .await;
    }
    assert_eq!(raw.drain(&q).await, ["one copy", "b"]);
}
