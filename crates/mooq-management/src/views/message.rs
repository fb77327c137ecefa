//! Messages that are fetched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mooq_core::Fetched;
use serde_json::{Value, json};

use super::properties;

/// Encoding of the payload that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Text if the payload is UTF-8, else base64.
    Auto,
    Base64,
}

/// A fetched message, of whose payload no more than `truncate` bytes are wanted.
pub(crate) fn view(fetched: &Fetched, encoding: Encoding, truncate: Option<usize>) -> Value {
    let message = &fetched.message;
    let body = &message.body;
    let length = truncate.unwrap_or(usize::MAX).min(body.len());
    let (payload, encoding) = payload(&body.slice(..length), encoding);
    json!({
        "payload_bytes": body.len(),
        "redelivered": fetched.redelivered,
        "exchange": message.exchange.as_str(),
        "routing_key": message.routing_key.as_str(),
        "message_count": fetched.message_count,
        "properties": properties::view(&message.properties),
        "payload": payload,
        "payload_encoding": encoding,
    })
}

fn payload(body: &Bytes, encoding: Encoding) -> (String, &'static str) {
    match std::str::from_utf8(body) {
        Ok(text) if encoding == Encoding::Auto => (text.to_owned(), "string"),
        _ => (STANDARD.encode(body), "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_text_if_it_can_be() {
        let text = Bytes::from_static(b"hi");
        let auto = (String::from("hi"), "string");
        assert_eq!(payload(&text, Encoding::Auto), auto);
        let base64 = (String::from("aGk="), "base64");
        assert_eq!(payload(&text, Encoding::Base64), base64);
        let no_text = Bytes::from_static(b"\xff\xfe\xfd");
        let base64 = (String::from("//79"), "base64");
        assert_eq!(payload(&no_text, Encoding::Auto), base64);
    }
}
