//! The authentication mechanisms that a client may choose.

use bytes::Bytes;
use mooq_core::{Credentials, FieldValue};
use mooq_engine::Mechanism;
use mooq_wire::{Limits, table};

/// The mechanisms as `connection.start` lists them.
pub(super) const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// The credentials in a client's response; `None` if the mechanism is unknown or the response is
/// malformed.
pub(super) fn credentials(mechanism: &str, response: &Bytes) -> Option<(Mechanism, Credentials)> {
    let (mechanism, credentials) = match mechanism {
        "PLAIN" => (Mechanism::Plain, plain(response)),
        "AMQPLAIN" => (Mechanism::Amqplain, amqplain(response)),
        _ => return None,
    };
    Some((mechanism, credentials?))
}

/// Parses a response of [RFC 4616](https://www.rfc-editor.org/rfc/rfc4616), without an identity to
/// act as: RabbitMQ refuses one.
fn plain(response: &[u8]) -> Option<Credentials> {
    let response = std::str::from_utf8(response).ok()?;
    let (username, password) = response.strip_prefix('\0')?.split_once('\0')?;
    Some(Credentials {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}

/// Parses a table without its length, with `LOGIN` and `PASSWORD`.
fn amqplain(response: &Bytes) -> Option<Credentials> {
    let table = table::decode_entries(response.clone(), &Limits::before_tune()).ok()?;
    let text = |key| match table.get(key)? {
        FieldValue::String(text) => Some(text.clone()),
        _ => None,
    };
    Some(Credentials {
        username: text("LOGIN")?,
        password: text("PASSWORD")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_guest(mechanism: Mechanism, password: &str) -> Option<(Mechanism, Credentials)> {
        let credentials = Credentials {
            username: "guest".into(),
            password: password.into(),
        };
        Some((mechanism, credentials))
    }

    #[test]
    fn plain_takes_name_and_password_without_an_identity() {
        let of = |response: &'static [u8]| credentials("PLAIN", &Bytes::from_static(response));
        assert_eq!(of(b"\0guest\0secret"), of_guest(Mechanism::Plain, "secret"));
        assert_eq!(of(b"\0guest\0"), of_guest(Mechanism::Plain, ""));
        for malformed in [
            &b""[..],
            b"guest",
            b"guest\0secret",
            b"x\0guest\0secret",
            b"\0\xff\0x",
        ] {
            assert_eq!(of(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn amqplain_takes_a_table_without_its_length() {
        let of = |response: &'static [u8]| credentials("AMQPLAIN", &Bytes::from_static(response));
        assert_eq!(
            of(b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret"),
            of_guest(Mechanism::Amqplain, "secret")
        );
        assert_eq!(of(b"\x05LOGINS\0\0\0\x05guest"), None);
        assert_eq!(of(b"xx"), None);
    }

    #[test]
    fn other_mechanisms_are_unknown() {
        assert_eq!(credentials("EXTERNAL", &Bytes::new()), None);
        assert_eq!(credentials("plain", &Bytes::from_static(b"\0a\0b")), None);
    }
}
