//! A publisher that writes its frames by hand: what no client library would encode.

use mooq_core::{Endpoint, QueueName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Kinds of values that a header nests.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nested {
    Tables,
    Arrays,
}

impl Nested {
    /// The headers of a message, in one of which this nests `levels` deep.
    fn headers(self, levels: usize) -> Vec<u8> {
        // Each level is a letter and a length, a table's entry a name before them, which is empty.
        let (level, letter) = match self {
            Self::Tables => (6, &b"\0F"[..]),
            Self::Arrays => (5, &b"A"[..]),
        };
        let mut deep = match self {
            Self::Tables => vec![],
            Self::Arrays => vec![0],
        };
        for left in (0..levels).rev() {
            deep.extend(letter);
            deep.extend(u32::try_from(level * left).unwrap().to_be_bytes());
        }
        long(&deep)
    }
}

/// Publishes a message to `exchange` whose routing key and headers are these bytes, and waits for its
/// confirm.
pub(crate) async fn publish(endpoint: &Endpoint, exchange: &str, key: &[u8], headers: &[u8]) {
    let stream = TcpStream::connect(endpoint.address()).await.unwrap();
    let mut raw = Raw(stream);
    raw.0.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    raw.expect(10, 10).await;
    raw.method(
        0,
        10,
        11,
        &[
            &long(b""),
            &short("PLAIN"),
            &long(b"\0guest\0guest"),
            &short("en_US"),
        ],
    )
    .await;
    raw.expect(10, 30).await;
    raw.method(0, 10, 31, &[&0x07ff_0002_u32.to_be_bytes(), &[0, 0, 0, 0]])
        .await;
    raw.method(0, 10, 40, &[&short("/"), &short(""), &[0]])
        .await;
    raw.expect(10, 41).await;
    raw.method(1, 20, 10, &[&short("")]).await;
    raw.expect(20, 11).await;
    raw.method(1, 85, 10, &[&[0]]).await;
    raw.expect(85, 11).await;
    raw.method(1, 60, 40, &[&[0, 0], &short(exchange), &short(key), &[0]])
        .await;
    // The class, the weight, the size of the body, and the flag of the headers.
    let properties = [&b"\0\x3c\0\0\0\0\0\0\0\0\0\x06\x20\0"[..], headers].concat();
    raw.frame(2, 1, &properties).await;
    raw.frame(3, 1, b"poison").await;
    raw.expect(60, 80).await;
}

/// The same with a header that nests `levels` deep.
pub(crate) async fn publish_nested(
    endpoint: &Endpoint,
    queue: &QueueName,
    nested: Nested,
    levels: usize,
) {
    publish(endpoint, "", queue.as_bytes(), &nested.headers(levels)).await;
}

struct Raw(TcpStream);

impl Raw {
    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(long(payload));
        frame.push(0xce);
        self.0.write_all(&frame).await.unwrap();
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[&[u8]]) {
        let head = [class.to_be_bytes(), method.to_be_bytes()].concat();
        let payload = [&head[..], &arguments.concat()].concat();
        self.frame(1, channel, &payload).await;
    }

    async fn expect(&mut self, class: u16, method: u16) {
        assert_eq!(self.0.read_u8().await.unwrap(), 1, "a method");
        self.0.read_u16().await.unwrap();
        let size = self.0.read_u32().await.unwrap() as usize;
        let mut payload = vec![0; size + 1];
        self.0.read_exact(&mut payload).await.unwrap();
        let expected = [class.to_be_bytes(), method.to_be_bytes()].concat();
        assert_eq!(
            payload[..4],
            expected,
            "{}",
            String::from_utf8_lossy(&payload)
        );
    }
}

fn short(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = vec![u8::try_from(text.len()).unwrap()];
    bytes.extend(text);
    bytes
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let mut long = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    long.extend(bytes);
    long
}
