//! The authentication mechanisms that a client may choose.

use bytes::Bytes;
use mooq_core::{Credentials, FieldValue};
use mooq_engine::Mechanism;
use mooq_memory::Profile;
use mooq_wire::{Limits, table};

/// The user that a client's certificate stands for, by the mechanism `EXTERNAL`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "there are no certificates")
)]
pub(crate) enum External {
    /// The mechanism is not offered.
    #[default]
    Off,
    /// The client has no certificate, or one that names no user. RabbitMQ offers the mechanism even
    /// so, to refuse the login in words.
    Unknown,
    /// The user's name.
    User(String),
}

/// The mechanisms as `connection.start` lists them.
pub(super) fn mechanisms(profile: Profile, external: &External) -> String {
    let mut offered: Vec<_> = profile
        .mechanisms()
        .iter()
        .map(Mechanism::to_string)
        .collect();
    if *external != External::Off {
        offered.push(Mechanism::External.to_string());
    }
    offered.join(" ")
}

/// The credentials in a client's response; `None` if the mechanism is not offered or the response is
/// malformed.
pub(super) fn credentials(
    mechanism: &str,
    response: &Bytes,
    profile: Profile,
    external: &External,
) -> Option<(Mechanism, Credentials)> {
    if mechanism == "EXTERNAL" {
        let username = match external {
            External::Off => return None,
            // No user has such a name.
            External::Unknown => String::new(),
            External::User(name) => name.clone(),
        };
        return Some((Mechanism::External, Credentials::new(username, "")));
    }
    let mut offered = profile.mechanisms().iter().copied();
    let mechanism = offered.find(|offered| offered.to_string() == mechanism)?;
    let credentials = match mechanism {
        Mechanism::Plain => plain(response),
        Mechanism::Amqplain => amqplain(response),
        Mechanism::Anonymous => Some(Credentials::default()),
        _ => None,
    };
    Some((mechanism, credentials?))
}

/// Parses a response of [RFC 4616](https://www.rfc-editor.org/rfc/rfc4616), without an identity to
/// act as: RabbitMQ refuses one.
fn plain(response: &[u8]) -> Option<Credentials> {
    let response = std::str::from_utf8(response).ok()?;
    let (username, password) = response.strip_prefix('\0')?.split_once('\0')?;
    Some(Credentials::new(username, password))
}

/// Parses a table without its length, with `LOGIN` and `PASSWORD`.
fn amqplain(response: &Bytes) -> Option<Credentials> {
    let table = table::decode_entries(response.clone(), &Limits::before_tune()).ok()?;
    let text = |key| match table.get(key)? {
        FieldValue::String(text) => Some(text.clone()),
        _ => None,
    };
    Some(Credentials::new(text("LOGIN")?, text("PASSWORD")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_guest(mechanism: Mechanism, password: &str) -> Option<(Mechanism, Credentials)> {
        Some((mechanism, Credentials::new("guest", password)))
    }

    fn by(mechanism: &str, response: &'static [u8]) -> Option<(Mechanism, Credentials)> {
        let response = Bytes::from_static(response);
        credentials(mechanism, &response, Profile::V4_0, &External::Off)
    }

    #[test]
    fn plain_takes_name_and_password_without_an_identity() {
        let of = |response| by("PLAIN", response);
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
        let of = |response| by("AMQPLAIN", response);
        assert_eq!(
            of(b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret"),
            of_guest(Mechanism::Amqplain, "secret")
        );
        assert_eq!(of(b"\x05LOGINS\0\0\0\x05guest"), None);
        assert_eq!(of(b"xx"), None);
    }

    #[test]
    fn other_mechanisms_are_unknown() {
        assert_eq!(by("plain", b"\0a\0b"), None);
        assert_eq!(by("RABBIT-CR-DEMO", b""), None);
    }

    #[test]
    fn anonymous_is_guest_since_4_0() {
        assert_eq!(
            by("ANONYMOUS", b""),
            of_guest(Mechanism::Anonymous, "guest")
        );
        let on_3_10 = credentials("ANONYMOUS", &Bytes::new(), Profile::V3_10, &External::Off);
        assert_eq!(on_3_10, None);
    }

    #[test]
    fn external_is_the_user_that_the_certificate_names() {
        let of = |external: &External| {
            let login = credentials("EXTERNAL", &Bytes::new(), Profile::V4_0, external);
            login.map(|(mechanism, credentials)| (mechanism, credentials.username))
        };
        let login = |name: &str| Some((Mechanism::External, name.to_owned()));
        assert_eq!(of(&External::Off), None);
        assert_eq!(of(&External::Unknown), login(""));
        assert_eq!(of(&External::User("billing".into())), login("billing"));
    }

    #[test]
    fn mechanisms_are_listed_as_each_version_does() {
        for (profile, expected) in [
            (Profile::V3_10, "AMQPLAIN PLAIN"),
            (Profile::V4_0, "PLAIN ANONYMOUS AMQPLAIN"),
            (Profile::V4_3, "AMQPLAIN ANONYMOUS PLAIN"),
        ] {
            assert_eq!(mechanisms(profile, &External::Off), expected);
            let with_external = format!("{expected} EXTERNAL");
            assert_eq!(mechanisms(profile, &External::Unknown), with_external);
        }
    }
}
