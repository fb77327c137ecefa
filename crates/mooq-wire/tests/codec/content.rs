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

/// Method, header and pieces of a publish of that many bytes.
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
        let last = assembled.pop().unwrap().expect("whole with the last frame");
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
        panic!("three frames")
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
