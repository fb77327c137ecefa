//! Malformed payloads.

use bytes::{BufMut, Bytes, BytesMut};
use mooq_core::{FieldTable, FieldValue};
use mooq_wire::content::{Assembler, ContentHeader};
use mooq_wire::frame::FrameDecoder;
use mooq_wire::method::{ConnectionStartOk, ExchangeDelete, Method, QueueDeclare};
use mooq_wire::{DecodeError, Limits, Output};
use proptest::prelude::*;

/// The payload of a method frame.
fn payload(method: &Method) -> Bytes {
    let mut output = Output::new();
    output.method(1, method);
    let frame = output.to_bytes();
    frame.slice(7..frame.len() - 1)
}

fn decode(payload: Bytes) -> Result<Method, DecodeError> {
    Method::decode(payload, &Limits::default())
}

fn declare(arguments: FieldTable) -> Method {
    Method::QueueDeclare(QueueDeclare {
        queue: "q".try_into().unwrap(),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: true,
        nowait: false,
        arguments,
    })
}

#[test]
fn truncated_methods_are_refused() {
    let arguments = FieldTable::new()
        .with("list", vec![FieldValue::I8(1), "two".into()])
        .unwrap();
    let whole = payload(&declare(arguments));
    for length in 0..whole.len() {
        let err = decode(whole.slice(..length)).unwrap_err();
        assert!(
            matches!(err, DecodeError::Truncated { .. }),
            "{length}: {err}"
        );
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert_eq!(decode(longer.into()), Err(DecodeError::TrailingBytes(1)));
}

#[test]
fn unknown_methods_are_named() {
    let unknown = |class: u16, method: u16| {
        let mut bytes = BytesMut::new();
        bytes.put_u16(class);
        bytes.put_u16(method);
        assert_eq!(
            decode(bytes.freeze()),
            Err(DecodeError::UnknownMethod { class, method })
        );
    };
    unknown(60, 41);
    unknown(61, 40);
    unknown(0, 0);
}

#[test]
fn text_that_is_not_utf8_is_refused_as_a_name_and_kept_as_a_header() {
    let delete = ExchangeDelete {
        exchange: "é".try_into().unwrap(),
        if_unused: false,
        nowait: false,
    };
    let mut bytes = payload(&delete.into()).to_vec();
    let position = bytes.len() - 2;
    bytes[position] = b'x';
    assert_eq!(
        decode(bytes.into()),
        Err(DecodeError::NotUtf8(vec![0xc3, b'x']))
    );

    let arguments = FieldTable::new().with("note", "é").unwrap();
    let mut bytes = payload(&declare(arguments)).to_vec();
    *bytes.last_mut().unwrap() = b'x';
    let Ok(Method::QueueDeclare(declare)) = decode(bytes.into()) else {
        panic!("a long string with these bytes is refused")
    };
    let note = declare.arguments.get("note");
    let kept = FieldValue::Bytes(Bytes::from_static(&[0xc3, b'x']));
    assert_eq!(note, Some(&kept));
}

/// The payload of a `connection.start-ok` whose properties have this depth, with arrays and tables
/// in turn.
fn nested(depth: usize) -> Bytes {
    let mut inner = Vec::new();
    for level in 1..depth {
        let mut outer = Vec::new();
        let array = level % 2 == 1;
        // Entries of a table have keys.
        if !array {
            outer.put_u8(1);
            outer.put_u8(b'k');
        }
        outer.put_u8(if array { b'F' } else { b'A' });
        outer.put_u32(inner.len() as u32);
        outer.extend_from_slice(&inner);
        inner = outer;
    }
    let mut bytes = BytesMut::new();
    bytes.put_u16(10);
    bytes.put_u16(11);
    // The outermost level is a table: an array as the last level is put into one.
    if depth > 1 && (depth - 1) % 2 == 1 {
        bytes.put_u32(inner.len() as u32 + 2);
        bytes.put_u8(1);
        bytes.put_u8(b'k');
    } else {
        bytes.put_u32(inner.len() as u32);
    }
    bytes.extend_from_slice(&inner);
    bytes.put_u8(5);
    bytes.put_slice(b"PLAIN");
    bytes.put_u32(0);
    bytes.put_u8(0);
    bytes.freeze()
}

#[test]
fn tables_nested_deeper_than_allowed_are_refused() {
    for depth in [1, 2, 3, 100, 101] {
        let method = decode(nested(depth)).unwrap_or_else(|err| panic!("{depth}: {err}"));
        let Method::ConnectionStartOk(ConnectionStartOk { mechanism, .. }) = method else {
            panic!("{method:?}")
        };
        assert_eq!(mechanism, "PLAIN");
    }
    for depth in [102, 103, 10_000, 20_000] {
        assert_eq!(decode(nested(depth)), Err(DecodeError::TooDeep(101)));
    }
}

#[test]
fn a_value_nested_too_deep_can_be_recorded_instead() {
    let limits = Limits::default().recording_deep_values();
    for (depth, is_too_deep) in [(1, false), (101, false), (102, true), (20_000, true)] {
        let method = Method::decode(nested(depth), &limits);
        let Ok(Method::ConnectionStartOk(start_ok)) = method else {
            panic!("{depth}: {method:?}")
        };
        assert_eq!(start_ok.mechanism, "PLAIN");
        let properties = start_ok.client_properties;
        assert_eq!(properties.too_deep().is_some(), is_too_deep, "{depth}");
        assert_eq!(properties.is_empty(), is_too_deep || depth == 1, "{depth}");
    }
}

#[test]
fn the_other_letter_of_64_bits_is_read_as_signed() {
    let arguments = FieldTable::new().with("k", -1_i64).unwrap();
    let method = declare(arguments);
    let mut bytes = payload(&method).to_vec();
    let letter = bytes.len() - 9;
    assert_eq!(bytes[letter], b'l');
    bytes[letter] = b'L';
    assert_eq!(decode(bytes.into()), Ok(method));
}

#[test]
fn unknown_field_types_are_named() {
    let arguments = FieldTable::new().with("k", FieldValue::Void).unwrap();
    let mut bytes = payload(&declare(arguments)).to_vec();
    *bytes.last_mut().unwrap() = b'?';
    assert_eq!(decode(bytes.into()), Err(DecodeError::FieldType('?')));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_methods_and_headers_decode_or_fail(
        id in prop::sample::select(Method::ALL),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut method = BytesMut::new();
        method.put_u16(id.0);
        method.put_u16(id.1);
        method.put_slice(&bytes);
        if let Ok(method) = decode(method.freeze()) {
            // A decoded method can be encoded, and decodes to the same.
            let again = decode(payload(&method)).unwrap();
            prop_assert_eq!(format!("{again:?}"), format!("{method:?}"));
        }
        let _ = ContentHeader::decode(bytes.into(), &Limits::default());
    }

    #[test]
    fn random_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let decoder = FrameDecoder::new(Limits::tuned(4096));
        let mut assembler = Assembler::new();
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(frame)) = decoder.decode(&mut input) {
            let _ = assembler.push(frame.payload, decoder.limits());
        }
        prop_assert!(input.capacity() <= 8192);
    }
}
