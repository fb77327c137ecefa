//! Frames in pieces of any size, and errors in them.

use bytes::{Buf, Bytes, BytesMut};
use mooq_core::Properties;
use mooq_wire::frame::{Frame, FrameDecoder, PROTOCOL_HEADER, Payload};
use mooq_wire::method::{BasicPublish, Method};
use mooq_wire::{DecodeError, Limits, Output};

fn publish() -> Method {
    Method::BasicPublish(BasicPublish {
        exchange: "".try_into().unwrap(),
        routing_key: "orders".try_into().unwrap(),
        mandatory: false,
        immediate: false,
    })
}

/// A publish of `body` on channel 1, with a heartbeat before and after it.
fn written(body: &Bytes, frame_max: u32) -> Output {
    let mut output = Output::new();
    output.heartbeat();
    output.content(1, &publish(), &Properties::default(), body, frame_max);
    output.heartbeat();
    output
}

fn frames_of(decoder: &FrameDecoder, input: &mut BytesMut) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.decode(input).unwrap()).collect()
}

#[test]
fn frames_that_come_byte_by_byte_are_the_same() {
    let decoder = FrameDecoder::new(Limits::default());
    let bytes = written(&Bytes::from(vec![7; 10_000]), 4096).to_bytes();
    let at_once = frames_of(&decoder, &mut BytesMut::from(&bytes[..]));

    let mut input = BytesMut::new();
    let mut one_by_one = Vec::new();
    for byte in &bytes {
        input.extend_from_slice(&[*byte]);
        one_by_one.extend(frames_of(&decoder, &mut input));
    }

    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.len(), 1 + 1 + 1 + 3 + 1);
}

#[test]
fn bodies_are_cut_so_that_no_frame_is_longer_than_agreed() {
    for (size, pieces) in [(0, 0), (1, 1), (4088, 1), (4089, 2), (8176, 2), (8177, 3)] {
        let body = Bytes::from(vec![1; size]);
        let mut input = BytesMut::from(&written(&body, 4096).to_bytes()[..]);
        let decoder = FrameDecoder::new(Limits::tuned(4096 - 8));
        let frames = frames_of(&decoder, &mut input);
        let bodies: Vec<_> = frames
            .iter()
            .filter_map(|frame| match &frame.payload {
                Payload::Body(piece) => Some(piece.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(bodies.len(), pieces, "{size} bytes");
        assert_eq!(bodies.concat(), body);
    }
}

#[test]
fn large_bodies_are_written_without_a_copy() {
    let body = Bytes::from(vec![1; 10_000]);
    let output = written(&body, 131_072);
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let count = output.chunks_vectored(&mut slices);
    assert_eq!(count, 3);
    assert_eq!(slices[1].as_ptr(), body.as_ptr());
}

#[test]
fn output_is_taken_from_the_front_in_pieces_of_any_size() {
    let whole = written(&Bytes::from(vec![3; 5000]), 2048).to_bytes();
    for step in [1, 7, 1024, 5000, usize::MAX] {
        let mut output = written(&Bytes::from(vec![3; 5000]), 2048);
        let mut taken = Vec::new();
        while output.has_remaining() {
            assert_eq!(output.remaining(), whole.len() - taken.len());
            let chunk = output.chunk();
            assert!(!chunk.is_empty());
            let count = chunk.len().min(step);
            taken.extend_from_slice(&chunk[..count]);
            output.advance(count);
        }
        assert_eq!(taken, whole);
        assert!(output.is_empty());
    }
}

#[test]
fn a_payload_over_the_limit_is_refused_before_it_comes() {
    let decoder = FrameDecoder::new(Limits::tuned(4096));
    let mut input = BytesMut::from(&[1, 0, 1, 0xff, 0xff, 0xff, 0xff][..]);
    let capacity = input.capacity();
    assert_eq!(
        decoder.decode(&mut input).unwrap_err(),
        DecodeError::FrameTooLarge {
            frame_type: 1,
            size: u32::MAX,
            limit: 4096,
        }
    );
    assert_eq!(
        input.capacity(),
        capacity,
        "the refused payload allocates memory"
    );

    // A payload of just the limit is accepted.
    let mut input = BytesMut::from(&[3, 0, 1, 0, 0, 0x10, 0][..]);
    assert_eq!(decoder.decode(&mut input).unwrap(), None);
}

#[test]
fn malformed_frames_are_told_apart() {
    let decoder = FrameDecoder::new(Limits::default());
    let error = |bytes: &[u8]| decoder.decode(&mut BytesMut::from(bytes)).unwrap_err();
    let payload = Bytes::from_static(&[9]);
    assert_eq!(
        error(&[3, 0, 1, 0, 0, 0, 1, 9, 0]),
        DecodeError::FrameEnd {
            frame_type: 3,
            payload: payload.clone(),
            end: 0,
        }
    );
    for frame_type in [0, 4, 5, 8, 255] {
        let payload = payload.clone();
        assert_eq!(
            error(&[frame_type, 0, 0, 0, 0, 0, 1, 9, 206]),
            DecodeError::UnknownFrame {
                frame_type,
                payload,
            }
        );
    }
    let unexpected = |frame_type, channel| DecodeError::UnexpectedFrame {
        frame_type,
        channel,
        payload: Bytes::new(),
    };
    assert_eq!(error(&[8, 0, 3, 0, 0, 0, 0, 206]), unexpected(8, 3));
    assert_eq!(error(&[3, 0, 0, 0, 0, 0, 0, 206]), unexpected(3, 0));
    assert_eq!(error(&[2, 0, 0, 0, 0, 0, 0, 206]), unexpected(2, 0));
}

#[test]
fn protocol_headers_are_refused_at_the_first_byte_that_differs() {
    let decode = |bytes: &[u8]| {
        let mut input = BytesMut::from(bytes);
        FrameDecoder::decode_protocol_header(&mut input).map(|done| (done, input.len()))
    };
    for length in 0..8 {
        assert_eq!(decode(&PROTOCOL_HEADER[..length]), Ok((None, length)));
    }
    let mut more = PROTOCOL_HEADER.to_vec();
    more.push(1);
    assert_eq!(decode(&more), Ok((Some(()), 1)));
    assert_eq!(
        decode(b"AMQP\x01"),
        Err(DecodeError::ProtocolHeader(*b"AMQP\x01\0\0\0"))
    );
    assert_eq!(
        decode(b"AMQP\0\x01\0\0"),
        Err(DecodeError::ProtocolHeader(*b"AMQP\0\x01\0\0"))
    );
}
