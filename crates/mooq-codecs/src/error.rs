//! Causes of errors that callers may want to match on.

use std::fmt;

use mooq_core::{Error, ErrorKind};

/// Cause of an error of a codec that chooses or expands, as the error's source.
///
/// # Examples
/// ```
/// use std::error::Error;
///
/// use bytes::Bytes;
/// use mooq::{ByContentType, CodecError, Decode, Json, Properties, RawBytes};
///
/// let codecs = ByContentType::new(Json).or(RawBytes);
/// let mut properties = Properties::default();
/// properties.content_type = Some("image/png".try_into()?);
///
/// let result: mooq::Result<Vec<u8>> = codecs.decode(&Bytes::new(), &properties);
/// let err = result.unwrap_err();
/// assert_eq!(
///     err.to_string(),
///     "no codec for the content type 'image/png' (accepted: application/json, application/octet-stream)"
/// );
/// let cause = err.source().and_then(|source| source.downcast_ref());
/// assert!(matches!(cause, Some(CodecError::UnknownContentType { .. })));
/// # Ok::<(), mooq::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The message's content type belongs to no codec of the set.
    #[error("no codec for the content type '{}' (accepted: {})", content_type.escape_debug(), Listed(accepted))]
    UnknownContentType {
        /// The content type, as the message has it.
        content_type: String,
        /// The content types of the set.
        accepted: Vec<String>,
    },
    /// The message has no content type, and the set assumes none.
    #[error("the message has no content type (accepted: {})", Listed(accepted))]
    NoContentType {
        /// The content types of the set.
        accepted: Vec<String>,
    },
    /// The message's `type` is not a version of the set.
    #[error("no version for the type '{}' (accepted: {})", kind.escape_debug(), Listed(accepted))]
    UnknownType {
        /// The type, as the message has it.
        kind: String,
        /// The types of the set.
        accepted: Vec<String>,
    },
    /// The message has no `type`, and the set assumes none.
    #[error("the message has no type (accepted: {})", Listed(accepted))]
    NoType {
        /// The types of the set.
        accepted: Vec<String>,
    },
    /// The body is compressed in a way that the codec does not accept.
    #[error("no decompression for the content encoding '{}' (accepted: {})", encoding.escape_debug(), Listed(accepted))]
    UnknownEncoding {
        /// The content encoding, as the message has it.
        encoding: String,
        /// The accepted content encodings.
        accepted: Vec<String>,
    },
    /// The body is compressed more than once.
    #[error("the body is compressed more than once: '{}'", encoding.escape_debug())]
    CompressedTwice {
        /// The content encodings, in the order in which they were applied.
        encoding: String,
    },
    /// The compressed body is longer than allowed once it is expanded.
    #[error("the body expands to more than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Names in a list.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl From<CodecError> for Error {
    fn from(cause: CodecError) -> Self {
        Self::new(ErrorKind::Decode, cause.to_string()).with_source(cause)
    }
}

/// The error of a body that is not a `T` in this format.
pub(crate) fn not_of_type<T>(
    format: &str,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let expected = std::any::type_name::<T>();
    let message = format!("the body is not {format} of type {expected}: {cause}");
    Error::new(ErrorKind::Decode, message).with_source(cause)
}

/// The error of a value that this format cannot express.
pub(crate) fn not_expressible(
    format: &str,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let message = format!("not expressible as {format}: {cause}");
    Error::new(ErrorKind::Encode, message).with_source(cause)
}
