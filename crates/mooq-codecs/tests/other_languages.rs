//! Bodies as clients in Python write them, with msgpack 1.2, cbor2 6.3, protobuf 7.36 and kombu 5.7.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use bytes::Bytes;
use mooq_codecs::{ByContentType, Cbor, Compressed, Decode, Encode, Json, MsgPack, Protobuf};
use mooq_core::Properties;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    name: String,
    pieces: u32,
    price: f64,
    tags: Vec<String>,
    note: Option<String>,
}

fn order() -> Order {
    Order {
        name: "Ann".into(),
        pieces: 3,
        price: 1.5,
        tags: vec!["a".into(), "b".into()],
        note: None,
    }
}

fn bytes(hex: &str) -> Bytes {
    let digits = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
    let bytes: Result<Vec<_>, _> = digits.map(|pair| u8::from_str_radix(pair, 16)).collect();
    bytes.unwrap().into()
}

fn properties(content_type: &str, content_encoding: &str) -> Properties {
    let mut properties = Properties::default();
    properties.content_type = Some(content_type.try_into().unwrap());
    properties.content_encoding = Some(content_encoding.try_into().unwrap());
    properties
}

const MSGPACK: &str = "85a46e616d65a3416e6ea670696563657303a57072696365cb3ff8000000000000a474616773\
                       92a161a162a46e6f7465c0";
const CBOR: &str = "a5646e616d6563416e6e6670696563657303657072696365fb3ff80000000000006474616773826161\
                    6162646e6f7465f6";

/// What kombu compresses: `{"name": "Ann", …}`.
const KOMBU_GZIP: &str = "789cab56ca4bcc4d55b2525072cccb53d251502ac84c4d4e2d060a1883384599c92049433d53\
                          20af24311d2411ad94085298a4140b24f3f24b400af24a73726a0122511503";
const KOMBU_ZSTD: &str = "28b52ffd204c3d020084037b226e616d65223a2022416e6e222c2022706965636573223a20337\
                          26963312e352c20227461675b226162225d2c20226e6f746e756c6c7d050401441da606cf03d4\
                          18e618";

/// The same by Python's own `gzip`.
const GZIP: &str = "1f8b0800000000000203ab56ca4bcc4d55b2525072cccb53d251502ac84c4d4e2d060a1883384599c\
                    92049433d5320af24311d2411ad94085298a4140b24f3f24b400af24a73726a01d39f46c64c00000\
                    0";

#[test]
fn msgpack_is_read_and_written_as_python_does() {
    let decoded: Order = MsgPack
        .decode(&bytes(MSGPACK), &Properties::default())
        .unwrap();
    assert_eq!(decoded, order());
    assert_eq!(MsgPack.encode(&order()).unwrap().body, bytes(MSGPACK));
}

#[test]
fn cbor_is_read_as_python_writes_it() {
    let decoded: Order = Cbor.decode(&bytes(CBOR), &Properties::default()).unwrap();
    assert_eq!(decoded, order());
}

#[test]
fn protobuf_is_read_and_written_as_python_does() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Order {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(uint32, tag = "2")]
        pieces: u32,
        #[prost(string, repeated, tag = "3")]
        tags: Vec<String>,
    }
    let body = bytes("0a03416e6e10ac021a01611a0162");
    let decoded: Order = Protobuf.decode(&body, &Properties::default()).unwrap();
    let order = Order {
        name: "Ann".into(),
        pieces: 300,
        tags: vec!["a".into(), "b".into()],
    };
    assert_eq!(decoded, order);
    assert_eq!(Protobuf.encode(&order).unwrap().body, body);
}

#[test]
fn kombu_messages_are_read_whichever_their_serializer() {
    let codecs = ByContentType::new(Json).or(MsgPack);
    let json = Bytes::from_static(
        br#"{"name": "Ann", "pieces": 3, "price": 1.5, "tags": ["a", "b"], "note": null}"#,
    );
    let properties = [
        (json, properties("application/json", "utf-8")),
        (
            bytes(MSGPACK),
            properties("application/x-msgpack", "binary"),
        ),
    ];
    for (body, properties) in properties {
        let decoded: Order = codecs.decode(&body, &properties).unwrap();
        assert_eq!(decoded, order());
        let compressible = Compressed::gzip(codecs);
        let decoded: Order = compressible.decode(&body, &properties).unwrap();
        assert_eq!(decoded, order());
    }
}

#[test]
fn kombu_compression_is_read_from_its_header() {
    let codec = Compressed::gzip(Json).or_zstd();
    let bodies = [
        (KOMBU_GZIP, "application/x-gzip"),
        (KOMBU_ZSTD, "application/zstd"),
    ];
    for (body, compression) in bodies {
        let mut properties = properties("application/json", "utf-8");
        let name = "compression".try_into().unwrap();
        properties.headers.insert(name, compression);
        let decoded: Order = codec.decode(&bytes(body), &properties).unwrap();
        assert_eq!(decoded, order(), "{compression}");
    }
}

/// Spring AMQP puts the character set after the compression, and older versions a colon between.
#[test]
fn spring_content_encodings_are_read() {
    let codec = Compressed::zstd(Json).or_gzip();
    for content_encoding in ["gzip, UTF-8", "gzip:UTF-8", "gzip", "X-GZIP"] {
        let properties = properties("application/json", content_encoding);
        let decoded: Order = codec.decode(&bytes(GZIP), &properties).unwrap();
        assert_eq!(decoded, order(), "{content_encoding}");
    }
}
