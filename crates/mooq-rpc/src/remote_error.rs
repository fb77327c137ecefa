//! Errors of a responder, and their form on the wire.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, FieldValue, Message};
use serde::{Deserialize, Serialize};

/// The error that a responder answers a request with.
///
/// The caller's request fails with an error of kind [`Remote`](mooq_core::ErrorKind::Remote), from
/// which [`RemoteError::of`] gets the responder's error back: a name to match on, and a message for
/// people. The message is sent to the caller as it is, so it should not tell what the caller must
/// not know.
///
/// A responder's function returns a `Result` whose error converts into a `RemoteError`: text, a
/// boxed error, mooq's own error, or a type of yours that implements `From` for it.
///
/// On the wire it is a reply with the header `mooq-error`, which holds the name, at most 255 bytes
/// of it, and with the JSON body `{"name": …, "message": …}`. Any AMQP client can send one: the
/// header makes a reply an error, and a body that is no such JSON is taken for the message.
///
/// # Examples
/// ```
/// use mooq::RemoteError;
///
/// enum QuoteError {
///     TooMany,
///     Unknown(String),
/// }
///
/// impl From<QuoteError> for RemoteError {
///     fn from(err: QuoteError) -> Self {
///         match err {
///             QuoteError::TooMany => Self::new("TooMany", "we have not that many"),
///             QuoteError::Unknown(item) => Self::new("Unknown", format!("no item '{item}'")),
///         }
///     }
/// }
///
/// let err = RemoteError::from(QuoteError::Unknown("pencil".into()));
/// assert_eq!(err.name(), "Unknown");
/// assert_eq!(err.to_string(), "Unknown: no item 'pencil'");
/// # let _ = QuoteError::TooMany;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    name: String,
    message: String,
}

/// The header of a reply that is an error.
const HEADER: &str = "mooq-error";

/// Maximum length of the header's value: headers have to fit in one frame.
const HEADER_BYTES: usize = 255;

/// Body of a reply that is an error.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(default)]
    name: Cow<'a, str>,
    message: Cow<'a, str>,
}

impl RemoteError {
    /// Name of the error if the responder could not decode the request.
    pub const DECODE: &'static str = "Decode";
    /// Name of the error if the responder could not encode its reply.
    pub const ENCODE: &'static str = "Encode";
    /// Name of the error if the responder panicked.
    pub const PANICKED: &'static str = "Panicked";
    /// Name of an error that was made from text, or from a boxed error of another type.
    pub const FAILED: &'static str = "Failed";

    /// An error with a name to match on, and a message for people.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message: message.into(),
        }
    }

    /// Returns the responder's error, if `err` is of a request that was answered with one.
    #[must_use]
    pub fn of(err: &Error) -> Option<&Self> {
        StdError::source(err)?.downcast_ref()
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the error that `reply` is, unless it is a value.
    pub(crate) fn in_reply(reply: &Message) -> Option<Self> {
        let header = reply.properties.headers.get(HEADER)?;
        let body: Option<Body<'_>> = serde_json::from_slice(&reply.body).ok();
        let text = || String::from_utf8_lossy(&reply.body).into_owned();
        let name = header.as_str().unwrap_or(Self::FAILED);
        Some(match body {
            // The header may hold only the beginning of a long name.
            Some(body) if body.name.starts_with(name) => Self::new(body.name, body.message),
            Some(body) => Self::new(name, body.message),
            None => Self::new(name, text()),
        })
    }

    /// Returns the name and the value of the header of a reply with this error.
    pub(crate) fn header(&self) -> (&'static str, FieldValue) {
        let mut end = self.name.len().min(HEADER_BYTES);
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        (HEADER, FieldValue::from(&self.name[..end]))
    }

    /// Returns the body of a reply with this error.
    pub(crate) fn body(&self) -> Bytes {
        let body = Body {
            name: self.name.as_str().into(),
            message: self.message.as_str().into(),
        };
        // Text is always JSON.
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, message } = self;
        write!(f, "{name}: {message}")
    }
}

impl StdError for RemoteError {}

impl From<String> for RemoteError {
    fn from(message: String) -> Self {
        Self::new(Self::FAILED, message)
    }
}

impl From<&str> for RemoteError {
    fn from(message: &str) -> Self {
        Self::new(Self::FAILED, message)
    }
}

/// The error that another responder has answered is passed on as it is. Any other has the name of
/// its [`ErrorKind`].
impl From<Error> for RemoteError {
    fn from(err: Error) -> Self {
        match Self::of(&err) {
            Some(remote) => remote.clone(),
            None => Self::new(format!("{:?}", err.kind()), err.to_string()),
        }
    }
}

impl From<Box<dyn StdError + Send + Sync>> for RemoteError {
    fn from(err: Box<dyn StdError + Send + Sync>) -> Self {
        let err = match err.downcast::<Self>() {
            Ok(remote) => return *remote,
            Err(err) => err,
        };
        match err.downcast::<Error>() {
            Ok(err) => (*err).into(),
            Err(err) => err.to_string().into(),
        }
    }
}

/// An error of kind [`Remote`](ErrorKind::Remote).
impl From<RemoteError> for Error {
    fn from(remote: RemoteError) -> Self {
        let message = format!("the request was answered with an error: {remote}");
        Self::new(ErrorKind::Remote, message).with_source(remote)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooq_core::{FieldTable, Properties};

    use super::*;

    fn reply(header: Option<FieldValue>, body: impl Into<Bytes>) -> Message {
        let mut properties = Properties::default();
        if let Some(header) = header {
            properties.headers = FieldTable::new().with(HEADER, header).unwrap();
        }
        Message {
            exchange: "".try_into().unwrap(),
            routing_key: "address".try_into().unwrap(),
            properties: Arc::new(properties),
            body: body.into(),
        }
    }

    #[test]
    fn error_is_the_same_after_its_way_over_the_wire() {
        for name in ["Unknown", "", &"\u{fc}".repeat(200)] {
            let sent = RemoteError::new(name, "no item \"pencil\"");
            let (header, value) = sent.header();
            assert_eq!(header, "mooq-error");
            assert!(value.as_str().unwrap().len() <= 255);
            let got = RemoteError::in_reply(&reply(Some(value), sent.body()));
            assert_eq!(got, Some(sent));
        }
    }

    #[test]
    fn header_makes_a_reply_an_error_whatever_its_body() {
        for (header, body, name, message) in [
            ("Busy".into(), "come back later", "Busy", "come back later"),
            ("Busy".into(), r#"{"message": "later"}"#, "Busy", "later"),
            (
                "Busy".into(),
                r#"{"name": "Other", "message": "later"}"#,
                "Busy",
                "later",
            ),
            ("Busy".into(), "7", "Busy", "7"),
            (FieldValue::from(7), "no", "Failed", "no"),
        ] {
            let got = RemoteError::in_reply(&reply(Some(header), body)).unwrap();
            assert_eq!((got.name(), got.message()), (name, message), "{body}");
        }
        assert_eq!(
            RemoteError::in_reply(&reply(None, r#"{"message": "no"}"#)),
            None
        );
    }

    #[test]
    fn error_of_another_responder_is_passed_on() {
        let remote = RemoteError::new("Unknown", "no item");
        let err = Error::from(remote.clone());
        assert_eq!(err.kind(), ErrorKind::Remote);
        assert_eq!(RemoteError::of(&err), Some(&remote));
        assert_eq!(RemoteError::from(err.clone()), remote);
        let boxed: Box<dyn StdError + Send + Sync> = err.into();
        assert_eq!(RemoteError::from(boxed), remote);
        let boxed: Box<dyn StdError + Send + Sync> = remote.clone().into();
        assert_eq!(RemoteError::from(boxed), remote);
    }

    #[test]
    fn other_errors_have_the_name_of_their_kind_or_a_common_one() {
        let err = Error::new(ErrorKind::QueueNotFound, "no queue");
        let remote = RemoteError::from(err);
        assert_eq!(
            (remote.name(), remote.message()),
            ("QueueNotFound", "no queue")
        );
        let boxed: Box<dyn StdError + Send + Sync> = "no pencils".into();
        assert_eq!(RemoteError::from(boxed).to_string(), "Failed: no pencils");
    }
}
