//! amq-protocol reads the output of this codec, and writes the same bytes.

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use arbitrary::Unstructured;
use bytes::{Bytes, BytesMut};
use mooq_core::Properties;
use mooq_wire::content::{Assembled, Assembler};
use mooq_wire::frame::{FrameDecoder, Payload};
use mooq_wire::method::Method;
use mooq_wire::{Limits, Output};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::generate::Generate;

/// Runs `test` with values made from random bytes.
fn for_random<T: Generate + std::fmt::Debug>(cases: u32, test: impl Fn(T)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&vec(any::<u8>(), 0..2000), |bytes| {
        match T::generate(&mut Unstructured::new(&bytes)) {
            Ok(made) => test(made),
            Err(_) => return Err(TestCaseError::reject("too few bytes")),
        }
        Ok(())
    });
    outcome.unwrap();
}

/// The frames in `bytes` as amq-protocol reads them, written by it again.
fn read_and_written_by_oracle(mut bytes: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame): (&[u8], AMQPFrame) =
            parse_frame(bytes).unwrap_or_else(|err| panic!("amq-protocol: {err:?} of {bytes:?}"));
        let context = WriteContext::from(Vec::new());
        let context = gen_frame(&frame)(context).expect("writing to a vector succeeds");
        written.extend(context.into_inner().0);
        bytes = rest;
    }
    written
}

/// Returns true if amq-protocol keeps all fields. It drops two for which RabbitMQ accepts a single
/// value.
fn oracle_keeps(method: &Method) -> bool {
    match method {
        Method::BasicQos(qos) => qos.prefetch_size == 0,
        Method::AccessRequestOk(ok) => ok.ticket == 1,
        _ => true,
    }
}

#[test]
fn methods_are_those_of_amq_protocol() {
    for_random(3000, |method: Method| {
        let mut output = Output::new();
        output.method(7, &method);
        let bytes = output.to_bytes();
        if oracle_keeps(&method) {
            assert_eq!(read_and_written_by_oracle(&bytes), bytes, "{method:?}");
        }

        let decoder = FrameDecoder::new(Limits::default());
        let mut input = BytesMut::from(&bytes[..]);
        let frame = decoder.decode(&mut input).unwrap().expect("a whole frame");
        assert!(input.is_empty());
        let Payload::Method(payload) = frame.payload else {
            panic!("expected a method frame, not {frame:?}")
        };
        assert_eq!(Method::decode(payload, decoder.limits()).unwrap(), method);
    });
}

#[test]
fn content_headers_are_those_of_amq_protocol() {
    for_random(3000, |properties: Properties| {
        let publish = mooq_wire::method::BasicPublish {
            exchange: "orders".try_into().unwrap(),
            routing_key: "new".try_into().unwrap(),
            mandatory: false,
            immediate: false,
        };
        let publish = Method::from(publish);
        let body = Bytes::from_static(b"one book");
        let mut output = Output::new();
        output.content(7, &publish, &properties, &body, 4096);
        let bytes = output.to_bytes();
        assert_eq!(read_and_written_by_oracle(&bytes), bytes, "{properties:?}");

        let decoder = FrameDecoder::new(Limits::default());
        let mut input = BytesMut::from(&bytes[..]);
        let mut assembler = Assembler::new();
        let mut assembled = None;
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            assert!(assembled.is_none());
            assembled = assembler.push(frame.payload, decoder.limits()).unwrap();
        }
        let expected = Assembled {
            method: publish,
            content: Some((properties, body)),
        };
        assert_eq!(assembled, Some(expected));
    });
}
