//! The kinds of errors.

use super::CloseReason;

/// Kind of an error, to match on. The names from Python's mooq are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A URL that cannot be read as a broker's address.
    InvalidUrl,
    /// A URL scheme that mooq does not know, or whose feature is not compiled in.
    UnsupportedScheme,
    /// A name that is longer than 255 bytes.
    InvalidName,
    /// Options that contradict each other or are out of range.
    InvalidArgument,
    /// A message could not be encoded.
    Encode,
    /// A body is not of the type that the consumer asked for.
    Decode,

    /// The broker could not be reached, did not answer within the connect timeout, or refused the
    /// connection.
    ConnectFailed,
    /// The TLS handshake failed: the broker's certificate is not trusted or not for this host, the
    /// broker refused the client certificate, or one of the two sides does not speak TLS.
    TlsFailed,
    /// The login was refused, or the broker does not offer its mechanism.
    AuthenticationFailed,
    /// The provider of the credentials failed, or did not return them within the connect timeout.
    CredentialsUnavailable,
    /// The virtual host does not exist.
    VirtualHostNotFound,
    /// The connection was open and has been lost.
    ConnectionLost,
    /// The connection was closed from this side.
    ConnectionClosed,
    /// The channel was closed from this side.
    ChannelClosed,

    /// The exchange does not exist.
    ExchangeNotFound,
    /// The queue does not exist.
    QueueNotFound,
    /// Neither an exchange nor a queue of this name exists.
    NotFound,
    /// An exchange was declared with a type or options other than those it has, or with a type that
    /// the broker does not know.
    ExchangeMismatch,
    /// The broker refused the request in the current state, for example a redeclaration with other
    /// arguments (406).
    PreconditionFailed,
    /// The broker denies permission (403).
    AccessRefused,
    /// The queue is exclusive to another connection (405).
    ResourceLocked,
    /// The broker does not allow the request (530), or mooq does not allow it in the current state.
    NotAllowed,
    /// The broker does not implement the request (540).
    NotImplemented,
    /// The broker has run out of a resource (506), or the content is too large (311).
    ResourceError,
    /// The broker received a frame or a method that it did not expect (501 to 505).
    ProtocolError,
    /// The broker failed with an internal error (541).
    BrokerInternalError,

    /// The broker refused to take the message (`basic.nack`).
    Nacked,
    /// The message was mandatory and reached no queue.
    Returned,
    /// The request reached no queue: there is no responder.
    NoResponder,
    /// The request was answered with an error, by its responder.
    Remote,
    /// The broker cancelled the consumer, for example because its queue was deleted; or mooq does
    /// not read from the consumer's queue, because connections to RabbitMQ ended again and again as
    /// soon as it was read.
    ConsumerCancelled,
    /// The delivery is from before the channel was reopened: the broker has requeued it.
    StaleDelivery,
    /// The queue has no ready message.
    NothingToConsume,
    /// No message arrived within the given time.
    ConsumeTimeout,
    /// The connection is lost, and the buffer for publishes that wait for it is full.
    BufferFull,
    /// A layer around a publish failed, with an error of its own.
    LayerFailed,
    /// The operation did not finish within the given time. Its request may still take effect.
    TimedOut,
}

impl ErrorKind {
    /// The kind of a close that the broker sent.
    pub(super) fn from_reason(reason: &CloseReason) -> Self {
        // Only the text names the thing that was not found; RabbitMQ has kept these words since
        // 2007. The text also contains names, which may be any text: only its beginning and end are
        // RabbitMQ's.
        let begins = |words: &str| reason.text.starts_with(words);
        let declaring_exchange = (reason.class_id, reason.method_id) == (40, 10);
        match reason.code {
            311 | 506 => Self::ResourceError,
            320 => Self::ConnectionLost,
            402 => Self::VirtualHostNotFound,
            403 if begins("ACCESS_REFUSED - Login was refused") => Self::AuthenticationFailed,
            403 => Self::AccessRefused,
            404 if begins("NOT_FOUND - no exchange ") => Self::ExchangeNotFound,
            404 if begins("NOT_FOUND - no queue ") => Self::QueueNotFound,
            404 => Self::NotFound,
            405 => Self::ResourceLocked,
            // RabbitMQ before 4.0 answers an unknown exchange type with 503.
            406 | 503 if declaring_exchange => Self::ExchangeMismatch,
            406 => Self::PreconditionFailed,
            530 if begins("NOT_ALLOWED - vhost ") && reason.text.ends_with(" not found") => {
                Self::VirtualHostNotFound
            }
            530 => Self::NotAllowed,
            540 => Self::NotImplemented,
            541 => Self::BrokerInternalError,
            _ => Self::ProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_code_method_and_text() {
        let kind = |code, (class_id, method_id), text: &str| {
            ErrorKind::from_reason(&CloseReason {
                code,
                text: text.into(),
                class_id,
                method_id,
            })
        };
        use ErrorKind as K;
        let cases = [
            (
                404,
                (60, 40),
                "NOT_FOUND - no exchange 'x' in vhost '/'",
                K::ExchangeNotFound,
            ),
            (
                404,
                (60, 20),
                "NOT_FOUND - no queue 'q' in vhost '/'",
                K::QueueNotFound,
            ),
            (
                404,
                (60, 20),
                "NOT_FOUND - no queue 'no exchange ' in vhost '/'",
                K::QueueNotFound,
            ),
            (
                404,
                (60, 20),
                "NOT_FOUND - no previously declared queue",
                K::NotFound,
            ),
            (
                406,
                (40, 10),
                "PRECONDITION_FAILED - inequivalent arg 'type'",
                K::ExchangeMismatch,
            ),
            (
                503,
                (40, 10),
                "COMMAND_INVALID - unknown exchange type 'x'",
                K::ExchangeMismatch,
            ),
            (
                406,
                (60, 80),
                "PRECONDITION_FAILED - unknown delivery tag 1",
                K::PreconditionFailed,
            ),
            (
                403,
                (0, 0),
                "ACCESS_REFUSED - Login was refused using …",
                K::AuthenticationFailed,
            ),
            (
                530,
                (10, 40),
                "NOT_ALLOWED - vhost v not found",
                K::VirtualHostNotFound,
            ),
            (
                530,
                (10, 40),
                "NOT_ALLOWED - access to vhost 'not found' refused for user 'guest'",
                K::NotAllowed,
            ),
            (
                530,
                (60, 20),
                "NOT_ALLOWED - attempt to reuse consumer tag 't'",
                K::NotAllowed,
            ),
            (
                320,
                (0, 0),
                "CONNECTION_FORCED - broker forced connection closure",
                K::ConnectionLost,
            ),
            (505, (0, 0), "UNEXPECTED_FRAME - …", K::ProtocolError),
        ];
        for (code, method, text, expected) in cases {
            assert_eq!(kind(code, method, text), expected, "{code} {text}");
        }
    }
}
