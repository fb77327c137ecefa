//! The delivery limit of a quorum queue.

/// Number of times that a message may return before it is dead-lettered
/// ([poison message handling](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DeliveryLimit {
    /// No limit. A requeued message then goes behind all others.
    #[default]
    None,
    AtMost(u64),
}
