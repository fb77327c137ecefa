//! The basic properties of a message.

use crate::name::ShortString;
use crate::value::FieldTable;

/// Whether a message survives a restart of the broker, on a durable queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// Kept in memory only: mode 1.
    Transient,
    /// Written to disk: mode 2.
    Persistent,
}

/// The fourteen basic properties (AMQP 0-9-1, 1.8.1), all optional.
///
/// Messages share theirs by reference count, so that a million messages with equal properties
/// hold them once.
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
    /// Ties a reply to its request.
    pub correlation_id: Option<ShortString>,
    /// The queue that a reply goes to.
    pub reply_to: Option<ShortString>,
    /// How long the message may wait in a queue: milliseconds, written as a decimal number.
    pub expiration: Option<ShortString>,
    /// The application's id of this message.
    pub message_id: Option<ShortString>,
    /// Seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// The application's type of this message (`type` in AMQP).
    pub kind: Option<ShortString>,
    /// The user that published it. The broker refuses another name than the login's.
    pub user_id: Option<ShortString>,
    /// The application that published it.
    pub app_id: Option<ShortString>,
    /// Deprecated in AMQP, carried for completeness.
    pub cluster_id: Option<ShortString>,
}
