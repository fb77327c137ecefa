//! Values come back as they were, through every codec, compressed or not.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;

use bytes::Bytes;
use mooq_codecs::{
    ByContentType, ByType, Cbor, Compressed, Decode, Encode, Encoded, Json, MsgPack, Protobuf,
    RawBytes, Text,
};
use mooq_core::Properties;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Square { side: u64, colour: Option<String> },
    Group(Vec<Shape>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Drawing {
    name: String,
    shapes: Vec<Shape>,
    by_number: BTreeMap<u16, i64>,
    signed: (i8, i16, i32),
    empty: (),
    large: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(sint64, repeated, tag = "2")]
    numbers: Vec<i64>,
    #[prost(bytes = "bytes", tag = "3")]
    picture: Bytes,
    #[prost(message, optional, boxed, tag = "4")]
    replaces: Option<Box<Order>>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        any::<i32>().prop_map(|eighths| Shape::Circle(f64::from(eighths) / 8.0)),
        (any::<u64>(), option::of(any::<String>()))
            .prop_map(|(side, colour)| Shape::Square { side, colour }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| vec(inner, 0..4).prop_map(Shape::Group))
}

prop_compose! {
    fn drawing()(
        name in any::<String>(),
        shapes in vec(shape(), 0..8),
        by_number in btree_map(any::<u16>(), any::<i64>(), 0..8),
        signed in any::<(i8, i16, i32)>(),
        large in option::of(any::<u64>()),
    ) -> Drawing {
        Drawing { name, shapes, by_number, signed, empty: (), large }
    }
}

prop_compose! {
    fn order()(
        name in any::<String>(),
        numbers in vec(any::<i64>(), 0..8),
        picture in vec(any::<u8>(), 0..64),
        depth in 0..5,
    ) -> Order {
        let inner = Order { name, numbers, picture: picture.into(), replaces: None };
        (0..depth).fold(inner, |replaces, _| Order {
            replaces: Some(Box::new(replaces)),
            ..Order::default()
        })
    }
}

/// The properties of a message with this body.
fn properties(encoded: &Encoded) -> Properties {
    let mut properties = Properties::default();
    properties.content_type = Some(encoded.content_type.try_into().unwrap());
    properties.content_encoding = encoded.content_encoding.map(|it| it.try_into().unwrap());
    properties.kind = encoded.kind.clone();
    properties
}

fn round_trip<T>(codec: &(impl Encode<T> + Decode<T>), value: &T) -> T {
    let encoded = codec.encode(value).unwrap();
    codec.decode(&encoded.body, &properties(&encoded)).unwrap()
}

/// The value, through `codec` alone, and compressed in each way.
fn round_trips<T, C>(codec: C, value: &T) -> [T; 5]
where
    C: Encode<T> + Decode<T> + Copy,
{
    let (gzip, zstd) = (Compressed::gzip(codec), Compressed::zstd(codec));
    [
        round_trip(&codec, value),
        round_trip(&gzip, value),
        round_trip(&gzip.threshold(0).level(1), value),
        round_trip(&zstd.threshold(0), value),
        round_trip(&zstd.threshold(0).level(19), value),
    ]
}

proptest! {
    #[test]
    fn serde_codecs_return_what_they_took(drawing in drawing()) {
        for returned in [
            round_trips(Json, &drawing),
            round_trips(MsgPack, &drawing),
            round_trips(Cbor, &drawing),
        ].iter().flatten() {
            prop_assert_eq!(returned, &drawing);
        }
    }

    #[test]
    fn protobuf_returns_what_it_took(order in order()) {
        for returned in round_trips(Protobuf, &order) {
            prop_assert_eq!(returned, order.clone());
        }
    }

    #[test]
    fn bytes_and_text_return_what_they_took(bytes in vec(any::<u8>(), 0..4096), text in any::<String>()) {
        for returned in round_trips(RawBytes, &bytes) {
            prop_assert_eq!(&returned, &bytes);
        }
        for returned in round_trips(Text, &text) {
            prop_assert_eq!(&returned, &text);
        }
    }

    #[test]
    fn each_codec_of_a_set_is_read_by_the_whole_set(drawing in drawing()) {
        let set = ByContentType::new(Cbor).or(Json).or(MsgPack);
        let encoded = [
            Json.encode(&drawing).unwrap(),
            MsgPack.encode(&drawing).unwrap(),
            Cbor.encode(&drawing).unwrap(),
            set.encode(&drawing).unwrap(),
        ];
        for encoded in encoded {
            let decoded: Drawing = set.decode(&encoded.body, &properties(&encoded)).unwrap();
            prop_assert_eq!(&decoded, &drawing);
        }
    }

    #[test]
    fn compressed_versions_in_a_set_return_what_they_took(drawing in drawing()) {
        let set = ByContentType::new(MsgPack).or(Json);
        let codec = ByType::new(Compressed::zstd(set).threshold(0)).current("drawing.v1");
        prop_assert_eq!(round_trip(&codec, &drawing), drawing.clone());
        let codec = Compressed::zstd(ByType::new(set).current("drawing.v1")).threshold(0);
        prop_assert_eq!(round_trip(&codec, &drawing), drawing);
    }
}

#[test]
fn short_bodies_and_those_that_do_not_shrink_are_sent_as_they_are() {
    let zeros = vec![0_u8; 1024];
    let codec = Compressed::gzip(RawBytes);
    let as_it_is = codec.encode(&zeros[..1023]).unwrap();
    assert_eq!(
        (as_it_is.body.len(), as_it_is.content_encoding),
        (1023, None)
    );
    let compressed = codec.encode(&zeros).unwrap();
    assert_eq!(compressed.content_encoding, Some("gzip"));
    assert!(compressed.body.len() < 100);
    // A body that is compressed already becomes no smaller.
    let again = codec.threshold(0).encode(&compressed.body).unwrap();
    assert_eq!(
        (again.body, again.content_encoding),
        (compressed.body, None)
    );
}

#[test]
fn a_body_is_compressed_only_once() {
    let zeros = vec![0_u8; 1024];
    let inner = Compressed::zstd(RawBytes);
    let outer = Compressed::gzip(inner).or_zstd();
    let encoded = outer.encode(&zeros).unwrap();
    assert_eq!(encoded.content_encoding, Some("zstd"));
    assert_eq!(encoded, inner.encode(&zeros).unwrap());
}
