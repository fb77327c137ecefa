//! Methods and their content, put together from frames.

use bytes::{BufMut, Bytes, BytesMut};
use mooq_core::Properties;
use mooq_wire::content::{Assembled, Assembler, AssemblyError, ContentHeader};
use mooq_wire::frame::{FrameDecoder, Payload};
use mooq_wire::method::{BasicPublish, Method, TxSelect};
use mooq_wire::{DecodeError, Limits, Output};

fn publish() -> Method {
    Method::BasicPublish(BasicPublish {
        exchange: "x".try_into().unwrap(),
        routing_key: "k".try_into().unwrap(),
        mandatory: true,
        immediate: false,
    })
}

fn payloads(output: &Output) -> Vec<Payload> {
    let decoder = FrameDecoder::new(Limits::default());
    let mut input = BytesMut::from(&output.to_bytes()[..]);
    std::iter::from_fn(|| decoder.decode(&mut input).unwrap())
        .map(|frame| frame.payload)
        .collect()
}

/// Method, header and body frames of a publish of this size.
fn published(size: usize, frame_max: u32) -> Vec<Payload> {
    let mut output = Output::new();
    let body = (0..size).map(|i| i as u8).collect::<Vec<_>>().into();
    output.content(1, &publish(), &Properties::default(), &body, frame_max);
    payloads(&output)
}

fn push_all(payloads: Vec<Payload>) -> Vec<Option<Assembled>> {
    let mut assembler = Assembler::new();
    let push = |payload| assembler.push(payload, &Limits::default()).unwrap();
    payloads.into_iter().map(push).collect()
}

#[test]
fn a_body_of_any_number_of_pieces_is_whole_with_the_last() {
    for (size, pieces) in [(0, 0), (1, 1), (4088, 1), (4089, 2), (100_000, 25)] {
        let mut assembled = push_all(published(size, 4096));
        assert_eq!(assembled.len(), 2 + pieces);
        let last = assembled
            .pop()
            .unwrap()
            .expect("the message is complete with the last frame");
        assert!(assembled.iter().all(Option::is_none));
        let (_, body) = last.content.unwrap();
        assert_eq!(body.len(), size);
        assert!(body.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    }
}

#[test]
fn a_body_in_one_piece_is_not_copied() {
    let payloads = published(5000, 131_072);
    let Payload::Body(piece) = payloads[2].clone() else {
        panic!("{payloads:?}")
    };
    let last = push_all(payloads).pop().flatten().unwrap();
    assert_eq!(last.content.unwrap().1.as_ptr(), piece.as_ptr());
}

#[test]
fn frames_in_the_wrong_order_are_refused_in_rabbitmqs_words() {
    let [method, header, body] = &published(10, 4096)[..] else {
        panic!("expected three frames")
    };
    let mut output = Output::new();
    output.method(1, &TxSelect {}.into());
    let other = &payloads(&output)[0];
    let error = |before: &[&Payload], wrong: &Payload| {
        let mut assembler = Assembler::new();
        for payload in before {
            let assembled = assembler.push((*payload).clone(), &Limits::default());
            assert_eq!(assembled, Ok(None));
        }
        let err = assembler.push(wrong.clone(), &Limits::default());
        err.unwrap_err().to_string()
    };
    for wrong in [header, body] {
        assert_eq!(
            error(&[], wrong),
            "expected method frame, got non method frame instead"
        );
    }
    for wrong in [method, body, other] {
        assert_eq!(
            error(&[method], wrong),
            "expected content header for class 60, got non content header frame instead"
        );
    }
    let of = |class: u16, weight: u16| {
        let mut bytes = BytesMut::new();
        bytes.put_u16(class);
        bytes.put_u16(weight);
        bytes.put_u64(0);
        bytes.put_u16(0);
        Payload::ContentHeader(bytes.freeze())
    };
    assert_eq!(
        error(&[method], &of(50, 0)),
        "expected content header for class 60, got one for class 50 instead"
    );
    assert_eq!(
        error(&[method], &of(60, 1)),
        "expected content header for class 60, got non content header frame instead"
    );
    for wrong in [method, header, other] {
        assert_eq!(
            error(&[method, header], wrong),
            "expected content body, got non content body frame instead"
        );
    }
}

#[test]
fn a_body_longer_than_announced_is_refused() {
    let payloads = published(10, 4096);
    let mut assembler = Assembler::new();
    for payload in &payloads[..2] {
        assembler.push(payload.clone(), &Limits::default()).unwrap();
    }
    assert_eq!(assembler.announced_body_size(), Some(10));
    let err = assembler.push(
        Payload::Body(Bytes::from_static(&[0; 11])),
        &Limits::default(),
    );
    assert_eq!(
        err,
        Err(AssemblyError::BodyTooLong {
            announced: 10,
            got: 11,
        })
    );
}

#[test]
fn dropped_body_counts_until_it_is_complete() {
    let payloads = published(10, 4096);
    let mut assembler = Assembler::new();
    for payload in &payloads[..2] {
        assembler.push(payload.clone(), &Limits::default()).unwrap();
    }
    let mut push = |piece: &'static [u8]| {
        assembler.drop_body();
        let piece = Payload::Body(Bytes::from_static(piece));
        assembler.push(piece, &Limits::default()).unwrap()
    };
    assert_eq!(push(&[0; 6]), None);
    let assembled = push(&[0; 4]).unwrap();
    assert_eq!(assembled.content.unwrap().1, Bytes::new());

    // The next body is kept.
    for payload in &payloads[..2] {
        assembler.push(payload.clone(), &Limits::default()).unwrap();
    }
    let last = assembler.push(payloads[2].clone(), &Limits::default());
    assert_eq!(last.unwrap().unwrap().content.unwrap().1.len(), 10);
}

#[test]
fn headers_that_announce_much_allocate_nothing() {
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(u64::MAX);
    header.put_u16(0);
    let method = published(0, 4096).swap_remove(0);
    let mut assembler = Assembler::new();
    assembler.push(method, &Limits::default()).unwrap();
    let pushed = assembler.push(Payload::ContentHeader(header.freeze()), &Limits::default());
    assert_eq!(pushed, Ok(None));
    assert_eq!(assembler.announced_body_size(), Some(u64::MAX));
}

#[test]
fn headers_of_other_classes_are_refused_and_unknown_flags_ignored() {
    let header = |class: u16, weight: u16, flags: u16| {
        let mut bytes = BytesMut::new();
        bytes.put_u16(class);
        bytes.put_u16(weight);
        bytes.put_u64(0);
        bytes.put_u16(flags);
        ContentHeader::decode(bytes.freeze(), &Limits::default())
    };
    assert!(header(60, 0, 0).is_ok());
    for (class_id, weight) in [(50, 0), (60, 1)] {
        assert_eq!(
            header(class_id, weight, 0),
            Err(DecodeError::ContentHeader { class_id, weight })
        );
    }
    for flags in [1, 2, 3] {
        assert!(header(60, 0, flags).is_ok(), "RabbitMQ ignores them");
    }
}

/// The payload of a header with these flags and properties.
fn header_of(flags: u16, properties: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u16(60);
    bytes.put_u16(0);
    bytes.put_u64(0);
    bytes.put_u16(flags);
    bytes.put_slice(properties);
    bytes.freeze()
}

fn properties_of(flags: u16, properties: &[u8]) -> Result<Properties, DecodeError> {
    ContentHeader::decode(header_of(flags, properties), &Limits::default())
        .map(|header| header.properties)
}

/// The payload of the content header of these properties.
fn encoded(properties: &Properties) -> Bytes {
    let mut output = Output::new();
    output.content(1, &publish(), properties, &Bytes::new(), 4096);
    match payloads(&output).swap_remove(1) {
        Payload::ContentHeader(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn properties_that_rabbitmq_passes_on_keep_their_octets() {
    for (flags, octets) in [
        // An empty table of headers.
        (1 << 13, &b"\0\0\0\0"[..]),
        // Delivery modes that AMQP does not define.
        (1 << 12, b"\0"),
        (1 << 12, b"\x03"),
        // Text that is not UTF-8, in every property that is text.
        (1 << 15, b"\x02\xff\xfe"),
        (1 << 14, b"\x02\xff\xfe"),
        (1 << 10, b"\x02\xff\xfe"),
        (1 << 9, b"\x02\xff\xfe"),
        (1 << 7, b"\x02\xff\xfe"),
        (1 << 5, b"\x02\xff\xfe"),
        (1 << 3, b"\x02\xff\xfe"),
        // A long string, a key, and one in a table in an array.
        (1 << 13, b"\0\0\0\x09\x01kS\0\0\0\x02\xff\xfe"),
        (1 << 13, b"\0\0\0\x05\x02\xff\xfet\x01"),
        (
            1 << 13,
            b"\0\0\0\x15\x01kA\0\0\0\x0eF\0\0\0\x09\x01iS\0\0\0\x02\xff\xfe",
        ),
    ] {
        let properties = properties_of(flags, octets).unwrap();
        assert!(properties.verbatim.is_some(), "{octets:?}");
        assert_eq!(encoded(&properties), header_of(flags, octets));
    }
    // A changed property is sent with its new value.
    let mut changed = properties_of(1 << 13 | 1 << 10, b"\0\0\0\0\x02\xff\xfe").unwrap();
    assert_eq!(changed.correlation_id.as_deref(), Some("\u{ff}\u{fe}"));
    changed.correlation_id = Some("id".try_into().unwrap());
    let expected = header_of(1 << 13 | 1 << 10, b"\0\0\0\0\x02id");
    assert_eq!(encoded(&changed), expected);
    let key = "k".try_into().unwrap();
    changed.headers.insert(key, true);
    let expected = header_of(1 << 13 | 1 << 10, b"\0\0\0\x04\x01kt\x01\x02id");
    assert_eq!(encoded(&changed), expected);
    // Text that would be too long as Latin-1 is cut in the field alone.
    let long = [&[255][..], &[255; 255]].concat();
    let properties = properties_of(1 << 10, &long).unwrap();
    assert_eq!(properties.correlation_id.as_ref().unwrap().len(), 254);
    assert_eq!(encoded(&properties), header_of(1 << 10, &long));
}

#[test]
fn properties_that_the_fields_can_hold_keep_no_octets() {
    let octets = b"\0\0\0\x0a\x01kS\0\0\0\x03a\xc3\xa9\x02\x02id";
    let properties = properties_of(1 << 13 | 1 << 12 | 1 << 10, octets).unwrap();
    assert_eq!(properties.verbatim, None);
}

#[test]
fn table_keeps_the_first_of_two_equal_keys() {
    let octets = b"\0\0\0\x08\x01kt\x01\x01kt\0";
    let properties = properties_of(1 << 13, octets).unwrap();
    assert_eq!(properties.headers.get("k"), Some(&true.into()));
}

#[test]
fn floats_that_are_no_numbers_are_refused() {
    for (float, name) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "infinity"),
        (f64::NEG_INFINITY, "-infinity"),
    ] {
        let refused = Err(DecodeError::NotFinite(name));
        let double = [b"\0\0\0\x0b\x01kd", &float.to_be_bytes()[..]].concat();
        assert_eq!(properties_of(1 << 13, &double), refused);
        let single = (float as f32).to_be_bytes();
        let single = [b"\0\0\0\x0c\x01kA\0\0\0\x05f", &single[..]].concat();
        assert_eq!(properties_of(1 << 13, &single), refused);
    }
}
