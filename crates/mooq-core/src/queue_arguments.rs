//! Typed setters of a queue's arguments, for all builders that declare a queue.

use std::time::Duration;

/// Policy of a full queue for a new message. A queue is full when it has reached its `max_length`
/// or `max_length_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest message is dropped or dead-lettered. RabbitMQ's default.
    DropHead,
    /// The new message is refused: its publish is nacked.
    RejectPublish,
    /// The new message is refused and dead-lettered: its publish is nacked. Classic queues only.
    RejectPublishDlx,
}

impl Overflow {
    /// Returns the value of `x-overflow`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDlx => "reject-publish-dlx",
        }
    }
}

/// Returns a duration as an argument, in whole milliseconds. Durations that do not fit become
/// `i64::MAX`, which the broker refuses.
#[must_use]
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a number as an argument. Numbers that do not fit become `i64::MAX`, which the broker
/// refuses.
#[must_use]
pub fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Defines the setters, in terms of the builder's method that sets any argument of the queue. The
/// builder also has a method `deferred`, which lends its [`FirstError`](crate::FirstError).
#[doc(hidden)]
#[macro_export]
macro_rules! queue_arguments {
    ($argument:ident) => {
        /// Makes the queue a [quorum queue](https://www.rabbitmq.com/docs/quorum-queues), which is
        /// replicated, instead of the virtual host's default type, which is usually classic. A
        /// quorum queue must be durable, and neither exclusive nor auto-delete. Argument
        /// `x-queue-type`.
        pub fn quorum(self) -> Self {
            self.$argument("x-queue-type", "quorum")
        }

        /// Time that a message may wait in the queue, in whole milliseconds, before it is dropped
        /// or dead-lettered. A TTL under 1 ms delivers only to a consumer that is ready. Argument
        /// `x-message-ttl`.
        pub fn message_ttl(self, ttl: ::std::time::Duration) -> Self {
            let ttl = $crate::queue_arguments::milliseconds(ttl);
            self.$argument("x-message-ttl", ttl)
        }

        /// Time that the queue may be unused, in whole milliseconds and at least one, before it is
        /// deleted with its messages. A queue is in use while it has consumers, and when it is
        /// redeclared or a message is fetched from it. Argument `x-expires`.
        pub fn expires(self, unused: ::std::time::Duration) -> Self {
            let unused = $crate::queue_arguments::milliseconds(unused);
            self.$argument("x-expires", unused)
        }

        /// Maximum number of ready messages in the queue: [`overflow`](Self::overflow) chooses the
        /// message that is dropped or refused beyond that. Argument `x-max-length`.
        pub fn max_length(self, messages: u64) -> Self {
            let messages = $crate::queue_arguments::number(messages);
            self.$argument("x-max-length", messages)
        }

        /// Maximum number of bytes in the bodies of the queue's ready messages together:
        /// [`overflow`](Self::overflow) chooses the message that is dropped or refused beyond that.
        /// Argument `x-max-length-bytes`.
        pub fn max_length_bytes(self, bytes: u64) -> Self {
            let bytes = $crate::queue_arguments::number(bytes);
            self.$argument("x-max-length-bytes", bytes)
        }

        /// Policy of a full queue; by default the oldest message is dropped or dead-lettered.
        /// Argument `x-overflow`.
        pub fn overflow(self, choice: $crate::Overflow) -> Self {
            self.$argument("x-overflow", choice.as_str())
        }

        /// Dead-letters messages to `exchange` with `routing_key` if they are rejected, expire,
        /// exceed a limit of the queue, or were delivered too often. With the default exchange,
        /// `""`, they go to the queue named by `routing_key`. Without a dead-letter exchange, or if
        /// it does not exist or has no route, such messages are dropped: RabbitMQ does not
        /// check it, and mooq only before it rejects a message by itself. Arguments `x-dead-letter-exchange` and
        /// `x-dead-letter-routing-key`.
        pub fn dead_letter(
            mut self,
            exchange: impl $crate::IntoChecked<$crate::ExchangeName>,
            routing_key: impl $crate::IntoChecked<$crate::RoutingKey>,
        ) -> Self {
            match self.deferred().check(routing_key) {
                Some(key) => self
                    .dead_letter_exchange(exchange)
                    .$argument("x-dead-letter-routing-key", key.as_str()),
                None => self,
            }
        }

        /// Dead-letters messages to `exchange`, as [`dead_letter`](Self::dead_letter), with the key
        /// that each message was published with. Argument `x-dead-letter-exchange`.
        pub fn dead_letter_exchange(
            mut self,
            exchange: impl $crate::IntoChecked<$crate::ExchangeName>,
        ) -> Self {
            match self.deferred().check(exchange) {
                Some(exchange) => self.$argument("x-dead-letter-exchange", exchange.as_str()),
                None => self,
            }
        }

        /// Number of times a message may return to the queue: at the next return it is dropped or
        /// dead-lettered. RabbitMQ before 4.3 counts every return, and 4.3 only deliveries that
        /// failed: those that were rejected with requeue, or whose channel or connection ended.
        /// Quorum queues only; their default is 20 from RabbitMQ 4.0 on. Argument
        /// `x-delivery-limit`.
        pub fn delivery_limit(self, times: u32) -> Self {
            self.$argument("x-delivery-limit", i64::from(times))
        }

        /// Delivers messages with a higher priority first, with priorities from 0 to `highest`, at
        /// most 255; few levels cost less. Classic queues only: quorum queues refuse this argument.
        /// From RabbitMQ 4.0 on they have two levels without it, up to 4 and above 4, and from 4.3
        /// on 32, from 0 to 31. Argument `x-max-priority`.
        pub fn max_priority(self, highest: u8) -> Self {
            self.$argument("x-max-priority", i64::from(highest))
        }

        /// Sends messages to only one of the queue's consumers; when it ends, the next one takes
        /// over. Argument `x-single-active-consumer`.
        pub fn single_active_consumer(self) -> Self {
            self.$argument("x-single-active-consumer", true)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_argument_cannot_hold_is_its_most() {
        assert_eq!(milliseconds(Duration::from_micros(1_999)), 1);
        assert_eq!(milliseconds(Duration::MAX), i64::MAX);
        assert_eq!(number(u64::MAX), i64::MAX);
    }
}
