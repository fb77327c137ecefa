//! What differs between the versions of RabbitMQ: one method for each rule, and no comparison of
//! versions anywhere else.

use mooq_core::Settlement;

use super::queue::quorum::DeliveryLimit;
use super::reply_error::ReplyCode;

/// Which RabbitMQ a broker behaves as, where versions differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// RabbitMQ 3.10.
    V3_10,
    /// RabbitMQ 4.0.
    #[default]
    V4_0,
    /// RabbitMQ 4.3.
    V4_3,
}

const MIB: usize = 1024 * 1024;

/// Declaring and binding.
impl Profile {
    /// How a declare of an exchange type that nobody knows is refused: since 4.0 at the cost of
    /// the channel alone.
    pub(crate) fn unknown_exchange_type(self) -> ReplyCode {
        if self >= Self::V4_0 {
            ReplyCode::PreconditionFailed
        } else {
            ReplyCode::CommandInvalid
        }
    }

    /// Whether a refusal says which access it is about: configure, write or read.
    pub(crate) fn names_refused_access(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether a queue may be neither durable nor exclusive
    /// ([deprecated features](https://www.rabbitmq.com/docs/deprecated-features)).
    pub(crate) fn permits_transient_shared_queues(self) -> bool {
        self < Self::V4_3
    }

    /// Whether a queue that is declared without a type gets one, which a refusal then names.
    pub(crate) fn completes_queue_type(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether an argument is only for queues of other types than classic: to give it to a classic
    /// queue is an error, while one that no type knows is ignored.
    pub(crate) fn leaves_queue_argument_to_others(self, key: &str) -> bool {
        match key {
            "x-dead-letter-strategy"
            | "x-delivery-limit"
            | "x-initial-cluster-size"
            | "x-max-age"
            | "x-max-in-memory-bytes"
            | "x-max-in-memory-length"
            | "x-quorum-initial-group-size"
            | "x-stream-max-segment-size-bytes" => true,
            "x-queue-leader-locator" => !self.classic_queues_have_leader_locator(),
            "x-consumer-disconnected-timeout"
            | "x-consumer-timeout"
            | "x-delayed-retry-max"
            | "x-delayed-retry-min"
            | "x-delayed-retry-type"
            | "x-stream-filter-size-bytes" => self >= Self::V4_3,
            _ => false,
        }
    }

    /// The same for the arguments of consumers.
    pub(crate) fn leaves_consumer_argument_to_others(self, key: &str) -> bool {
        match key {
            "x-stream-offset" => true,
            "x-stream-filter" | "x-stream-match-unfiltered" => self >= Self::V4_0,
            "x-consumer-timeout" => self >= Self::V4_3,
            _ => false,
        }
    }

    /// Whether a classic queue knows `x-queue-leader-locator`, or leaves it to other types.
    pub(crate) fn classic_queues_have_leader_locator(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether `x-queue-mode`, which has had no effect since 3.12, is checked.
    pub(crate) fn checks_queue_mode(self) -> bool {
        self < Self::V4_3
    }

    /// The lowest `x-queue-version`. 4.3 has no version 1 any more.
    pub(crate) fn lowest_queue_version(self) -> u64 {
        if self >= Self::V4_3 { 2 } else { 1 }
    }

    /// The most `#` that a topic binding's key may have (4.3.5).
    pub(crate) fn max_hash_wildcards(self) -> Option<usize> {
        (self >= Self::V4_3).then_some(2)
    }
}

/// Publishing and routing.
impl Profile {
    /// The largest body that may be published unless the broker's options name another, in bytes.
    pub(crate) fn max_message_size(self) -> usize {
        if self >= Self::V4_0 {
            16 * MIB
        } else {
            128 * MIB
        }
    }

    /// Whether a topic permission limits the keys of CC and BCC too, or the routing key alone.
    pub(crate) fn limits_every_routing_key(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether a publish's user-id is checked before all else in its properties, and not last.
    pub(crate) fn checks_user_id_first(self) -> bool {
        self < Self::V4_0
    }

    /// Whether a publish in a transaction goes to the queues that have the names of those it was
    /// routed to by the time of the commit, and not to those themselves.
    pub(crate) fn commits_by_queue_name(self) -> bool {
        self < Self::V4_0
    }

    /// Whether an expiration is delivered as RabbitMQ writes it, without leading zeros, and not
    /// as its publisher wrote it.
    pub(crate) fn rewrites_expiration(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether a headers exchange takes the integer 1 and the float 1.0 for the same.
    pub(crate) fn integers_match_floats(self) -> bool {
        self < Self::V4_0
    }

    /// Whether a headers exchange sees the timestamps of messages in milliseconds, while those in
    /// bindings stay in seconds.
    pub(crate) fn routes_by_milliseconds(self) -> bool {
        self >= Self::V4_0
    }
}

/// Delivering and dead-lettering.
impl Profile {
    /// Whether `basic.qos` with `global` limits the channel, and not each later consumer by
    /// itself as without it ([deprecated features](https://www.rabbitmq.com/docs/deprecated-features)).
    pub(crate) fn permits_global_qos(self) -> bool {
        self < Self::V4_3
    }

    /// Whether a dead letter that gets a routing key of its queue's choice loses the header CC, by
    /// which it is not routed any more.
    pub(crate) fn drops_cc_with_dead_letter_key(self) -> bool {
        self < Self::V4_0
    }

    /// Whether the header `x-death` is all that is known of a message's deaths: then a client
    /// that sends one has its deaths counted on. Since 3.13 the header only tells of them.
    pub(crate) fn deaths_are_in_the_header(self) -> bool {
        self < Self::V4_0
    }
}

/// How a quorum queue orders messages that arrive by their priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuorumPriorities {
    /// Not at all.
    None,
    /// High ones, from 5 on, have precedence: two of them for each normal one.
    HighAndNormal,
    /// Higher ones leave first.
    Strict,
}

/// Quorum queues.
impl Profile {
    /// Whether an argument is only for queues of other types than quorum.
    pub(crate) fn quorum_queues_leave_argument_to_others(self, key: &str) -> bool {
        match key {
            "x-initial-cluster-size"
            | "x-max-age"
            | "x-max-priority"
            | "x-queue-master-locator"
            | "x-queue-mode"
            | "x-queue-version"
            | "x-stream-max-segment-size-bytes" => true,
            "x-stream-filter-size-bytes" => self >= Self::V4_3,
            _ => false,
        }
    }

    /// The delivery limit of a queue that asks for none.
    pub(crate) fn default_delivery_limit(self) -> DeliveryLimit {
        if self >= Self::V4_0 {
            DeliveryLimit::AtMost(20)
        } else {
            DeliveryLimit::None
        }
    }

    /// What a negative delivery limit means: none, but before 4.0 one that the first return exceeds.
    pub(crate) fn negative_delivery_limit(self) -> DeliveryLimit {
        if self >= Self::V4_0 {
            DeliveryLimit::None
        } else {
            DeliveryLimit::AtMost(0)
        }
    }

    /// Whether who fetches a message is told how often it came back even if it never did.
    pub(crate) fn tells_getters_of_no_return(self) -> bool {
        self < Self::V4_0
    }

    /// Whether what a channel leaves returns in the order in which its consumers came, and what
    /// it fetched last; or else that first, and the rest in the order of the consumers' tags.
    pub(crate) fn returns_by_age_of_consumers(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether the delivery limit counts failed deliveries, and not every one that came back.
    pub(crate) fn limits_failed_deliveries_only(self) -> bool {
        self >= Self::V4_3
    }

    /// Whether a delivery has failed that is settled so.
    pub(crate) fn takes_for_failed(self, settlement: Settlement) -> bool {
        match settlement {
            Settlement::Ack => false,
            Settlement::Reject { requeue } => {
                self >= Self::V4_3 || (self >= Self::V4_0 && !requeue)
            }
            Settlement::Nack { requeue } => self == Self::V4_0 && !requeue,
        }
    }

    /// Whether a delivery has failed whose channel ends.
    pub(crate) fn takes_for_failed_at_end_of_channel(self) -> bool {
        self >= Self::V4_0
    }

    /// How messages are ordered by their priorities.
    pub(crate) fn quorum_priorities(self) -> QuorumPriorities {
        match self {
            Self::V3_10 => QuorumPriorities::None,
            Self::V4_0 => QuorumPriorities::HighAndNormal,
            Self::V4_3 => QuorumPriorities::Strict,
        }
    }

    /// Whether the single active consumer has to give way to one of a higher priority.
    pub(crate) fn single_active_consumer_gives_way(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether one that has to give way and requeues its last delivery has a successor at once,
    /// and not only when a consumer comes, goes or acknowledges.
    pub(crate) fn replaces_consumer_that_requeues(self) -> bool {
        self >= Self::V4_3
    }
}
