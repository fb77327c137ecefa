//! Bodies that are cut, broken, too deep or too large are typed errors, and never panics.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::error::Error as _;

use bytes::Bytes;
use mooq_codecs::{
    Cbor, CodecError, Compressed, Decode, Encode, Json, MsgPack, Protobuf, RawBytes,
};
use mooq_core::{Error, ErrorKind, Properties, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tree {
    name: String,
    weight: f64,
    children: Vec<Tree>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, boxed, tag = "2")]
    replaces: Option<Box<Order>>,
}

fn tree() -> Tree {
    let leaf = Tree {
        name: "leaf".into(),
        weight: 0.1,
        children: Vec::new(),
    };
    Tree {
        name: "root".into(),
        weight: 2e9,
        children: vec![leaf; 3],
    }
}

fn encoded_as(content_encoding: &str) -> Properties {
    let mut properties = Properties::default();
    properties.content_encoding = Some(content_encoding.try_into().unwrap());
    properties
}

fn expand(codec: Compressed<RawBytes>, content_encoding: &str, body: &[u8]) -> Result<Bytes> {
    codec.decode(&Bytes::copy_from_slice(body), &encoded_as(content_encoding))
}

fn cause(err: &Error) -> &CodecError {
    assert_eq!(err.kind(), ErrorKind::Decode);
    err.source().unwrap().downcast_ref().unwrap()
}

fn decode<T>(codec: &impl Decode<T>, body: &[u8]) -> Result<T> {
    codec.decode(&Bytes::copy_from_slice(body), &Properties::default())
}

#[test]
fn cut_bodies_are_decode_errors_at_every_length() {
    let msgpack = MsgPack.encode(&tree()).unwrap().body;
    let cbor = Cbor.encode(&tree()).unwrap().body;
    for length in 0..msgpack.len() {
        let err = decode::<Tree>(&MsgPack, &msgpack[..length]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode);
    }
    for length in 0..cbor.len() {
        let err = decode::<Tree>(&Cbor, &cbor[..length]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode);
    }
    let text = "some text, some other text, ".repeat(10);
    for codec in [Compressed::gzip(RawBytes), Compressed::zstd(RawBytes)] {
        let encoded = codec.threshold(0).encode(&text).unwrap();
        let name = encoded.content_encoding.unwrap();
        for length in 1..encoded.body.len() {
            let err = expand(codec, name, &encoded.body[..length]).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Decode, "{name} {length}");
            assert!(err.to_string().contains(name), "{err}");
        }
    }
}

#[test]
fn bytes_after_a_value_are_decode_errors() {
    let mut msgpack = MsgPack.encode(&1).unwrap().body.to_vec();
    msgpack.push(0);
    let err = decode::<u32>(&MsgPack, &msgpack).unwrap_err();
    assert_eq!(
        err.to_string(),
        "the body has 1 bytes after its MessagePack value"
    );
    let mut cbor = Cbor.encode(&1).unwrap().body.to_vec();
    cbor.extend([0, 0]);
    let err = decode::<u32>(&Cbor, &cbor).unwrap_err();
    assert_eq!(err.to_string(), "the body has 2 bytes after its CBOR value");
    for codec in [Compressed::gzip(RawBytes), Compressed::zstd(RawBytes)] {
        let encoded = codec.threshold(0).encode(&[7; 100]).unwrap();
        let body = [&encoded.body[..], b"more"].concat();
        let err = expand(codec, encoded.content_encoding.unwrap(), &body).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode);
    }
}

#[test]
fn bodies_that_nest_too_deep_are_decode_errors() {
    const DEPTH: usize = 1_000_000;
    // Arrays of one array.
    assert!(decode::<IgnoredAny>(&MsgPack, &[0x91; DEPTH]).is_err());
    assert!(decode::<IgnoredAny>(&Cbor, &[0x81; DEPTH]).is_err());
    let deep = |levels: usize| {
        (0..levels).fold(tree(), |tree, _| Tree {
            children: vec![tree],
            ..self::tree()
        })
    };
    for levels in [10, 200] {
        let msgpack = MsgPack.encode(&deep(levels)).unwrap().body;
        let cbor = Cbor.encode(&deep(levels)).unwrap().body;
        assert_eq!(decode::<Tree>(&MsgPack, &msgpack).is_ok(), levels == 10);
        assert_eq!(decode::<Tree>(&Cbor, &cbor).is_ok(), levels == 10);
    }
    let deep = (0..200).fold(Order::default(), |replaces, _| Order {
        replaces: Some(Box::new(replaces)),
        ..Order::default()
    });
    let body = Protobuf.encode(&deep).unwrap().body;
    let err = decode::<Order>(&Protobuf, &body).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
}

/// 32 GB of numbers and 4 GB of text are announced: allocating them would end the test.
#[test]
fn announced_lengths_without_their_bytes_are_decode_errors() {
    let announced: [(&dyn Decode<Vec<u64>>, &[u8]); 2] = [
        (&MsgPack, &[0xdd, 0xff, 0xff, 0xff, 0xff, 1]),
        (
            &Cbor,
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ),
    ];
    for (codec, body) in announced {
        let err = codec.decode(&Bytes::copy_from_slice(body), &Properties::default());
        assert_eq!(err.unwrap_err().kind(), ErrorKind::Decode);
    }
    let text: [(&dyn Decode<String>, &[u8]); 2] = [
        (&MsgPack, &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a']),
        (
            &Cbor,
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'a'],
        ),
    ];
    for (codec, body) in text {
        let err = codec.decode(&Bytes::copy_from_slice(body), &Properties::default());
        assert_eq!(err.unwrap_err().kind(), ErrorKind::Decode);
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    // 1 GB of zeros. Members and frames may follow one another, so one of 16 MB serves 64 times.
    let zeros = vec![0; 16 << 20];
    for codec in [Compressed::gzip(RawBytes), Compressed::zstd(RawBytes)] {
        let part = codec.encode(&zeros).unwrap();
        let bomb = part.body.repeat(64);
        assert!(bomb.len() <= 1 << 20, "{}", bomb.len());
        let name = part.content_encoding.unwrap();
        let err = expand(codec, name, &bomb).unwrap_err();
        assert_eq!(cause(&err), &CodecError::TooLarge { limit: 64 << 20 });
        assert_eq!(
            err.to_string(),
            "the body expands to more than the limit of 67108864 bytes"
        );
        let exact = codec.expanded_limit(zeros.len());
        assert_eq!(expand(exact, name, &part.body).unwrap(), zeros);
        let less = codec.expanded_limit(zeros.len() - 1);
        let err = expand(less, name, &part.body).unwrap_err();
        assert!(matches!(cause(&err), CodecError::TooLarge { .. }), "{err}");
    }
}

/// The decoder would have to allocate the window before it sees a byte of the content.
#[test]
fn a_zstd_window_above_8_mib_is_refused() {
    let frame = |window_log: u8| {
        let magic = 0xfd2f_b528_u32.to_le_bytes();
        // No content size; then the window; then a last block of one repeated byte.
        let header = [0, (window_log - 10) << 3];
        let block = ((3_u32 << 3) | (1 << 1) | 1).to_le_bytes();
        [&magic[..], &header, &block[..3], b"a"].concat()
    };
    let codec = Compressed::zstd(RawBytes);
    assert_eq!(expand(codec, "zstd", &frame(23)).unwrap(), "aaa");
    let err = expand(codec, "zstd", &frame(24)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert!(err.to_string().contains("zstd"), "{err}");
}

#[test]
fn unknown_and_repeated_compressions_are_named() {
    let codec = Compressed::gzip(RawBytes);
    let err = expand(codec, "br", b"abc").unwrap_err();
    assert_eq!(
        err.to_string(),
        "no decompression for the content encoding 'br' (accepted: gzip)"
    );
    assert!(matches!(cause(&err), CodecError::UnknownEncoding { .. }));
    let err = expand(codec.or_zstd(), "deflate", b"abc").unwrap_err();
    assert!(err.to_string().ends_with("(accepted: gzip, zstd)"), "{err}");
    for chain in ["gzip, zstd", "gzip,gzip", "gzip:br"] {
        let err = expand(codec.or_zstd(), chain, b"abc").unwrap_err();
        assert!(
            matches!(cause(&err), CodecError::CompressedTwice { .. }),
            "{err}"
        );
    }
    let mut properties = encoded_as("gzip");
    let name = "compression".try_into().unwrap();
    properties.headers.insert(name, "application/x-gzip");
    let err: Result<Bytes> = codec.decode(&Bytes::from_static(b"abc"), &properties);
    assert!(matches!(
        cause(&err.unwrap_err()),
        CodecError::CompressedTwice { .. }
    ));
}

#[test]
fn bodies_without_compression_are_decoded_as_they_are() {
    let codec = Compressed::gzip(RawBytes).expanded_limit(1);
    for content_encoding in ["", "identity", "UTF-8", "binary", "utf-8, identity", " "] {
        assert_eq!(expand(codec, content_encoding, b"abc").unwrap(), "abc");
    }
    let as_it_is: Bytes = decode(&codec, b"abc").unwrap();
    assert_eq!(as_it_is, "abc");
}

#[test]
fn a_level_that_does_not_exist_is_named() {
    for codec in [Compressed::gzip(Json), Compressed::zstd(Json)] {
        let err = codec.level(20).encode("a").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert!(err.to_string().contains("no level 20: use 1 to "), "{err}");
    }
}

#[test]
fn a_value_that_no_codec_expresses_is_an_encode_error() {
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("I will not"))
        }
    }
    let codecs: [&dyn Encode<Stubborn>; 3] = [&MsgPack, &Cbor, &Compressed::gzip(Json)];
    for codec in codecs {
        let err = codec.encode(&Stubborn).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Encode);
        assert!(err.to_string().contains("I will not"), "{err}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(body in vec(any::<u8>(), 0..512)) {
        let body = Bytes::from(body);
        let _ = decode::<Tree>(&MsgPack, &body);
        let _ = decode::<IgnoredAny>(&MsgPack, &body);
        let _ = decode::<Tree>(&Cbor, &body);
        let _ = decode::<IgnoredAny>(&Cbor, &body);
        let _ = decode::<Order>(&Protobuf, &body);
        let small = Compressed::gzip(RawBytes).or_zstd().expanded_limit(1 << 16);
        for content_encoding in ["gzip", "zstd"] {
            let _ = expand(small, content_encoding, &body);
        }
    }

    #[test]
    fn any_changed_byte_is_a_value_or_an_error(at in any::<prop::sample::Index>(), byte: u8) {
        let flip = |body: Bytes| {
            let mut body = body.to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            body
        };
        let _ = decode::<Tree>(&MsgPack, &flip(MsgPack.encode(&tree()).unwrap().body));
        let _ = decode::<Tree>(&Cbor, &flip(Cbor.encode(&tree()).unwrap().body));
        for codec in [Compressed::gzip(RawBytes), Compressed::zstd(RawBytes)] {
            let encoded = codec.encode(&[7; 4096]).unwrap();
            let _ = expand(codec, encoded.content_encoding.unwrap(), &flip(encoded.body));
        }
    }

    #[test]
    fn any_content_encoding_is_a_body_or_an_error(content_encoding in ".{0,60}", body in vec(any::<u8>(), 0..64)) {
        let _ = expand(Compressed::gzip(RawBytes), &content_encoding, &body);
    }
}
