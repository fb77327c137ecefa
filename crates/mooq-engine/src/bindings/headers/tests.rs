use super::*;

use slotmap::SlotMap;

fn table<const N: usize>(entries: [(&str, FieldValue); N]) -> FieldTable {
    let mut table = FieldTable::new();
    for (key, value) in entries {
        table.insert(key.try_into().unwrap(), value);
    }
    table
}

fn matches(arguments: &FieldTable, headers: &FieldTable) -> bool {
    matches_in(Profile::V4_0, arguments, headers)
}

fn matches_in(profile: Profile, arguments: &FieldTable, headers: &FieldTable) -> bool {
    let queue = Destination::Queue(SlotMap::with_key().insert(()));
    let mut index = HeadersIndex::new(profile);
    index.add(arguments, queue);
    let mut found = Vec::new();
    index.route(headers, &mut found);
    index.remove(arguments, queue);
    assert!(index.bindings.is_empty() && index.filed.is_empty() && index.unconditional.is_empty());
    !found.is_empty()
}

#[test]
fn all_needs_every_argument_and_any_needs_one() {
    let two = |how: &str| table([("x-match", how.into()), ("a", 1.into()), ("b", 2.into())]);
    let (both, one, other) = (
        table([("a", 1.into()), ("b", 2.into()), ("c", 3.into())]),
        table([("a", 1.into())]),
        table([("a", 2.into())]),
    );
    for (how, expected) in [("all", [true, false, false]), ("any", [true, true, false])] {
        let seen = [&both, &one, &other].map(|headers| matches(&two(how), headers));
        assert_eq!(seen, expected, "{how}");
    }
}

#[test]
fn without_arguments_all_matches_everything_and_any_nothing() {
    let headers = table([("a", 1.into())]);
    assert!(matches(&FieldTable::new(), &headers));
    assert!(matches(&FieldTable::new(), &FieldTable::new()));
    assert!(matches(
        &table([("x-match", "all".into())]),
        &FieldTable::new()
    ));
    assert!(!matches(&table([("x-match", "any".into())]), &headers));
    assert!(
        matches(&table([("x-other", 1.into())]), &headers),
        "x- arguments are skipped"
    );
}

#[test]
fn x_arguments_count_only_where_asked_for() {
    let asks = |how: &str| table([("x-match", how.into()), ("x-a", 1.into())]);
    let (with, without) = (table([("x-a", 1.into())]), table([("b", 1.into())]));
    assert!(matches(&asks("all"), &without));
    assert!(!matches(&asks("any"), &with));
    assert!(matches(&asks("all-with-x"), &with));
    assert!(!matches(&asks("all-with-x"), &without));
    assert!(matches(&asks("any-with-x"), &with));
}

#[test]
fn values_compare_and_widths_on_the_wire_do_not() {
    use FieldValue as V;
    for (wanted, seen, expected) in [
        (V::I8(1), V::I64(1), true),
        (V::U32(7), V::I16(7), true),
        (V::I32(1), V::String("1".into()), false),
        (V::I32(1), V::F64(1.0), false),
        (V::F32(1.5), V::F64(1.5), true),
        (V::String("a".into()), V::Bytes("a".into()), true),
        (V::Void, V::Bool(false), true),
        (V::Bool(true), V::Void, false),
        (V::Timestamp(5), V::Timestamp(5), false),
        (V::I64(5000), V::Timestamp(5), true),
        (V::Array(vec![V::I32(1)]), V::Array(vec![V::I32(1)]), true),
        (V::Array(vec![V::I32(1)]), V::Array(vec![V::I64(1)]), false),
    ] {
        for how in ["all", "any"] {
            let arguments = table([("x-match", how.into()), ("k", wanted.clone())]);
            let headers = table([("k", seen.clone())]);
            assert_eq!(
                matches(&arguments, &headers),
                expected,
                "{how} {wanted:?} on {seen:?}"
            );
        }
    }
}

#[test]
fn an_unknown_way_to_match_is_refused() {
    assert_eq!(
        validate(&table([("x-match", "some".into())]), Profile::default()),
        Err(ReplyError::precondition_failed(
            "Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x"
        ))
    );
    assert_eq!(
        validate(&table([("x-match", 1.into())]), Profile::default()),
        Err(ReplyError::precondition_failed(
            "Invalid x-match field type signedint (value 1); expected longstr"
        ))
    );
}

#[test]
fn before_4_0_one_is_one_point_zero_and_timestamps_are_seconds() {
    use FieldValue::{F64, I32, I64, Timestamp};
    for (wanted, value, in_3_10, in_4_0) in [
        (I32(1), F64(1.0), true, false),
        (F64(1.0), I64(1), true, false),
        (I32(0), F64(-0.0), true, false),
        (F64(1.5), I32(1), false, false),
        (Timestamp(7), Timestamp(7), true, false),
        (I64(7000), Timestamp(7), false, true),
    ] {
        let (arguments, headers) = (table([("a", wanted)]), table([("a", value)]));
        for (profile, expected) in [(Profile::V3_10, in_3_10), (Profile::V4_0, in_4_0)] {
            assert_eq!(
                matches_in(profile, &arguments, &headers),
                expected,
                "{profile:?}: {arguments:?} and {headers:?}"
            );
        }
    }
}
