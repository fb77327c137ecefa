//! The basic properties of a message.

use std::sync::Arc;

use bytes::Bytes;

use crate::name::ShortString;
use crate::value::FieldTable;

/// Persistence of a message: a persistent message in a durable queue survives a broker restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// Kept in memory only: mode 1.
    Transient,
    /// Written to disk: mode 2.
    Persistent,
}

/// The fourteen basic properties (AMQP 0-9-1, 1.8.1), all optional.
///
/// Messages share their properties by reference count, so that a million messages with equal
/// properties hold them once.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Properties {
    /// The MIME type of the body, for example `application/json`.
    pub content_type: Option<ShortString>,
    /// The MIME encoding of the body, for example `gzip`.
    pub content_encoding: Option<ShortString>,
    /// Headers of the application and of broker extensions. Empty means absent.
    pub headers: FieldTable,
    /// Transient or persistent.
    pub delivery_mode: Option<DeliveryMode>,
    /// The priority, for queues with `x-max-priority`.
    pub priority: Option<u8>,
    /// Correlates a reply with its request.
    pub correlation_id: Option<ShortString>,
    /// The queue that a reply goes to.
    pub reply_to: Option<ShortString>,
    /// The time that the message may wait in a queue: milliseconds, written as a decimal number.
    pub expiration: Option<ShortString>,
    /// The application's id of this message.
    pub message_id: Option<ShortString>,
    /// The time of the message, in seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// The application's type of this message (`type` in AMQP).
    pub kind: Option<ShortString>,
    /// The user that published the message. The broker refuses a name other than the login's.
    pub user_id: Option<ShortString>,
    /// The application that published the message.
    pub app_id: Option<ShortString>,
    /// Deprecated in AMQP, carried for completeness.
    pub cluster_id: Option<ShortString>,
    /// Octets of properties that the other fields cannot hold. None for nearly every message.
    pub verbatim: Option<Arc<Verbatim>>,
}

/// The octets of properties as a client sent them, where [`Properties`] cannot hold them: text that
/// is not UTF-8, a delivery mode other than 1 and 2, an empty table of headers.
///
/// RabbitMQ passes such properties on as they are. A codec that decodes one puts the nearest value
/// into the field, keeps the octets here, and encodes the octets for as long as the field keeps that
/// value. Text that is not UTF-8 is read as Latin-1.
#[derive(Debug, Clone, PartialEq)]
pub struct Verbatim {
    /// The properties as they were decoded.
    pub decoded: Properties,
    /// The octets of properties, each with the number of the property's flag (AMQP 0-9-1, section
    /// 4.2.6.1): 15 for the content type, 2 for the cluster id.
    pub octets: Vec<(u8, Bytes)>,
}

impl Properties {
    /// Number of bytes that the properties take on the wire, including the flags for those present
    /// (AMQP 0-9-1, section 4.2.6.1).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let texts = [
            &self.content_type,
            &self.content_encoding,
            &self.correlation_id,
            &self.reply_to,
            &self.expiration,
            &self.message_id,
            &self.kind,
            &self.user_id,
            &self.app_id,
            &self.cluster_id,
        ];
        let texts = texts.into_iter().flatten().map(|text| 1 + text.len());
        let headers = match self.headers.is_empty() {
            true => 0,
            false => self.headers.encoded_len(),
        };
        let numbers = usize::from(self.delivery_mode.is_some())
            + usize::from(self.priority.is_some())
            + self.timestamp.map_or(0, |_| size_of::<u64>());
        size_of::<u16>() + texts.sum::<usize>() + headers + numbers
    }
}
