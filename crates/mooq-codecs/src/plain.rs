//! Bodies that are bytes or text, without a format.

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, Properties, Result};

use crate::codec::{ContentTypes, Decode, Encode, Encoded};

/// Raw bodies: consumed as `Bytes` or `Vec<u8>`, and published from any `AsRef<[u8]>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawBytes;

impl RawBytes {
    /// The content type of published messages.
    pub const CONTENT_TYPE: &'static str = "application/octet-stream";
}

impl<T: AsRef<[u8]> + ?Sized> Encode<T> for RawBytes {
    fn encode(&self, value: &T) -> Result<Encoded> {
        let body = Bytes::copy_from_slice(value.as_ref());
        Ok(Encoded::new(body, Self::CONTENT_TYPE))
    }
}

impl Decode<Bytes> for RawBytes {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<Bytes> {
        Ok(body.clone())
    }
}

impl Decode<Vec<u8>> for RawBytes {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<Vec<u8>> {
        Ok(body.to_vec())
    }
}

impl ContentTypes for RawBytes {
    fn content_types(&self) -> &'static [&'static str] {
        &[Self::CONTENT_TYPE]
    }
}

/// Bodies that are text in UTF-8, without JSON's quotes, as many other clients send strings.
///
/// # Examples
/// ```
/// use mooq::Text;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("hello").await?;
/// chan.publish_with("", "Hello World!", Text).routing_key("hello").await?;
///
/// let hello = chan.get_one::<String>("hello").codec(Text).await?;
/// assert_eq!(hello.ack().await?, "Hello World!");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl Text {
    /// The content type of published messages.
    pub const CONTENT_TYPE: &'static str = "text/plain";
}

impl<T: AsRef<str> + ?Sized> Encode<T> for Text {
    fn encode(&self, value: &T) -> Result<Encoded> {
        let body = Bytes::copy_from_slice(value.as_ref().as_bytes());
        Ok(Encoded::new(body, Self::CONTENT_TYPE))
    }
}

impl Decode<String> for Text {
    fn decode(&self, body: &Bytes, _: &Properties) -> Result<String> {
        let text = std::str::from_utf8(body).map_err(|e| {
            let message = format!("the body is not text in UTF-8: {e}");
            Error::new(ErrorKind::Decode, message).with_source(e)
        })?;
        Ok(text.to_owned())
    }
}

impl ContentTypes for Text {
    fn content_types(&self) -> &'static [&'static str] {
        &[Self::CONTENT_TYPE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_utf_8_is_a_decode_error() {
        let none = Properties::default();
        let err = Text
            .decode(&Bytes::from_static(b"\xff"), &none)
            .unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode);
        assert!(err.to_string().contains("UTF-8"), "{err}");
        let body = Text.encode("gr\u{fc}n").unwrap().body;
        assert_eq!(Text.decode(&body, &none).unwrap(), "gr\u{fc}n");
    }
}
