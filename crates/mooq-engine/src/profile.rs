//! Differences between the versions of RabbitMQ: one method for each rule. Versions are compared
//! nowhere else: `V4_1` and `V4_2` in the methods are all that sets these versions apart. The table
//! of queue arguments (`queue/argument_table.rs`) names the versions of each argument.

use std::fmt;
use std::str::FromStr;

use mooq_core::{Error, ErrorKind, Settlement};

use super::command::Mechanism;
use super::deprecated::Deprecated;
use super::queue::delivery_limit::DeliveryLimit;
use super::queue::measure::Measure;
use super::reply_code::ReplyCode;

/// The RabbitMQ version that a broker behaves as, where versions differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// RabbitMQ 3.10, with the behaviour observed on 3.10.8.
    V3_10,
    /// RabbitMQ 4.0, with the behaviour observed on 4.0.5.
    #[default]
    V4_0,
    /// RabbitMQ 4.1, which was not compared with a live broker: the rules are those of 4.0, unless
    /// the source of 4.1.2 to 4.1.8 has another.
    V4_1,
    /// RabbitMQ 4.2, which was not compared with a live broker: the rules are those of 4.1, unless
    /// the source of 4.2.8 and 4.2.9 has another. All of direct reply-to is that of 4.3.
    V4_2,
    /// RabbitMQ 4.3, with the behaviour observed on 4.3.6.
    V4_3,
}

impl Profile {
    /// All versions, the oldest first.
    pub const ALL: [Self; 5] = [Self::V3_10, Self::V4_0, Self::V4_1, Self::V4_2, Self::V4_3];

    /// Returns the version as RabbitMQ's documentation writes it: `4.0`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3_10 => "3.10",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
            Self::V4_2 => "4.2",
            Self::V4_3 => "4.3",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads the name of a version, such as `4.0`.
///
/// # Errors
/// `InvalidArgument`, which names the versions that there are.
impl FromStr for Profile {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let profile = Self::ALL.into_iter().find(|profile| profile.name() == name);
        profile.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let message = format!("'{name}' is none of RabbitMQ's versions {names}");
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }
}

const MIB: usize = 1024 * 1024;

/// Declaring and binding.
impl Profile {
    /// True if this is the version `since` or a later one. For rules whose versions stand in a
    /// table, as those of queue arguments.
    pub(crate) fn is_since(self, since: Self) -> bool {
        self >= since
    }

    /// Returns the reply code for a declare of an unknown exchange type. Since 4.0 this code closes
    /// the channel alone.
    pub(crate) fn unknown_exchange_type(self) -> ReplyCode {
        if self >= Self::V4_0 {
            ReplyCode::PreconditionFailed
        } else {
            ReplyCode::CommandInvalid
        }
    }

    /// True if `x-local-random` is one of RabbitMQ's own exchange types.
    pub(crate) fn has_local_random(self) -> bool {
        self >= Self::V4_0
    }

    /// True if `x-modulus-hash` is one of RabbitMQ's own exchange types.
    pub(crate) fn has_modulus_hash(self) -> bool {
        self >= Self::V4_3
    }

    /// The largest weight of a binding to a consistent hash exchange.
    pub(crate) fn max_hash_weight(self) -> Option<u64> {
        (self >= Self::V4_3).then_some(10_000)
    }

    /// True if texts show letters beyond ASCII unescaped.
    pub(crate) fn prints_unicode(self) -> bool {
        self >= Self::V4_0
    }

    /// True if RabbitMQ cuts long reply texts by their characters, of which there may be fewer than
    /// bytes: a text that is too long for a short string after that makes it crash.
    pub(crate) fn cuts_texts_by_characters(self) -> bool {
        self >= Self::V4_0
    }

    /// True if RabbitMQ removes a binding again when a recent history exchange cannot deliver its
    /// history through it.
    pub(crate) fn unbinds_where_history_fails(self) -> bool {
        self < Self::V4_0
    }

    /// True if the error for a binding through which a recent history exchange cannot deliver its
    /// history says that there is no such queue.
    pub(crate) fn says_why_history_fails(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a refusal names the access that it is about: configure, write or read.
    pub(crate) fn names_refused_access(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a deprecated feature is permitted by default.
    pub(crate) fn permits(self, feature: Deprecated) -> bool {
        // Debian's packages of 4.3 permit transient queues, unlike RabbitMQ's own packages.
        match feature {
            Deprecated::GlobalQos
            | Deprecated::QueueMasterLocator
            | Deprecated::TransientSharedQueues => self < Self::V4_3,
        }
    }

    /// True if a queue may name this master locator; on any other locator RabbitMQ fails.
    pub(crate) fn takes_master_locator(self, name: Option<&str>) -> bool {
        self >= Self::V4_0 || matches!(name, Some("client-local" | "min-masters" | "random"))
    }

    /// True if a passive declare of a queue or an exchange takes a permission for its name: to
    /// configure, to write or to read (4.2.8, 4.3.1).
    pub(crate) fn passive_declare_needs_permission(self) -> bool {
        self >= Self::V4_2
    }

    /// True if a queue declared without a type gets one, which an error text then names.
    pub(crate) fn completes_queue_type(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a policy may apply to the queues of one type (3.12).
    pub(crate) fn tells_queue_types_apart_in_policies(self) -> bool {
        self >= Self::V4_0
    }

    /// True if the queue type "" stands for the type of a queue that names none (4.2.8, 4.3.1).
    pub(crate) fn takes_empty_queue_type(self) -> bool {
        self >= Self::V4_2
    }

    /// True if a consumer argument is only for queues of other types. Such an argument is an error,
    /// while one that no type knows is ignored.
    pub(crate) fn leaves_consumer_argument_to_others(self, key: &str) -> bool {
        match key {
            "x-stream-offset" => true,
            "x-stream-filter" | "x-stream-match-unfiltered" => self >= Self::V4_0,
            "x-consumer-timeout" => !self.channels_time_deliveries(),
            _ => false,
        }
    }

    /// True if a classic queue knows the consumer argument `x-cancel-on-ha-failover`, which is for
    /// its mirrors. Other queue types leave this argument to classic queues.
    pub(crate) fn has_mirrors(self) -> bool {
        self < Self::V4_0
    }

    /// True if `word` exists as an atom in RabbitMQ: the error for an unknown exchange type then
    /// says "invalid", otherwise "unknown". RabbitMQ knows all its atoms, far too many to list:
    /// these are the likely ones, and the names of exchange types that have no plugin enabled.
    pub(crate) fn knows_word(self, word: &str) -> bool {
        const WORDS: [&str; 19] = [
            "",
            "classic",
            "default",
            "durable",
            "error",
            "exchange",
            "false",
            "node",
            "none",
            "ok",
            "queue",
            "quorum",
            "rabbit",
            "rabbitmq",
            "stream",
            "system",
            "trace",
            "true",
            "undefined",
        ];
        match word {
            "Direct" => self < Self::V4_0,
            "x-jms-topic" | "x-random" => self >= Self::V4_3,
            other => WORDS.contains(&other),
        }
    }

    /// True if `x-queue-mode`, which has had no effect since 3.12, is checked.
    pub(crate) fn checks_queue_mode(self) -> bool {
        self < Self::V4_3
    }

    /// The lowest `x-queue-version`. 4.3 no longer has version 1.
    pub(crate) fn lowest_queue_version(self) -> u64 {
        if self >= Self::V4_3 { 2 } else { 1 }
    }

    /// Largest number of `#` wildcards in the key of a topic binding (4.3.5).
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

    /// True if a topic permission limits the keys of CC and BCC too; otherwise it limits the
    /// routing key alone.
    pub(crate) fn limits_every_routing_key(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a publish's user-id is checked before its other properties; otherwise it is checked
    /// last.
    pub(crate) fn checks_user_id_first(self) -> bool {
        self < Self::V4_0
    }

    /// True if a commit sends a publish to the queues that have, at the time of the commit, the
    /// names of the queues it was routed to. Otherwise the commit sends the publish to those queues
    /// themselves.
    pub(crate) fn commits_by_queue_name(self) -> bool {
        self < Self::V4_0
    }

    /// True if a commit closes the connection when a publish was routed to a queue that has gone
    /// and whose name no other queue has now. Only 4.3 was tested; 4.2 is the first version with
    /// that text in its source.
    pub(crate) fn commits_only_to_queues_that_are_there(self) -> bool {
        self >= Self::V4_2
    }

    /// True if an expiration is delivered as RabbitMQ writes it, without leading zeros; otherwise
    /// as its publisher wrote it.
    pub(crate) fn rewrites_expiration(self) -> bool {
        self >= Self::V4_0
    }

    /// True if an error text shows the leftover of an expiration as it was written; otherwise it
    /// shows the leftover's bytes as characters of Latin-1.
    pub(crate) fn prints_leftover_as_text(self) -> bool {
        self < Self::V4_0
    }

    /// True if a headers exchange treats the integer 1 and the float 1.0 as equal.
    pub(crate) fn integers_match_floats(self) -> bool {
        self < Self::V4_0
    }

    /// True if a consistent hash exchange hashes a header with the name of its type; otherwise its
    /// value alone.
    pub(crate) fn hashes_types_of_headers(self) -> bool {
        self < Self::V4_0
    }

    /// True if the state that plugins' exchanges keep beside their bindings survives a restart: the
    /// messages of a recent history exchange, and the order in which a consistent hash exchange was
    /// bound.
    pub(crate) fn keeps_state_of_exchanges(self) -> bool {
        self >= Self::V4_3
    }

    /// True if exchanges that are not durable survive a restart, with their bindings.
    pub(crate) fn keeps_transient_exchanges(self) -> bool {
        self >= Self::V4_3
    }

    /// True if a headers exchange sees the timestamps of messages in milliseconds, while timestamps
    /// in bindings stay in seconds.
    pub(crate) fn routes_by_milliseconds(self) -> bool {
        self >= Self::V4_0
    }
}

/// Delivering and dead-lettering.
impl Profile {
    /// True if channels enforce consumer timeouts; otherwise quorum queues do.
    pub(crate) fn channels_time_deliveries(self) -> bool {
        self < Self::V4_3
    }

    /// True if a queue's arguments and policies may set the consumer timeout (3.12).
    pub(crate) fn queues_set_consumer_timeouts(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a dead letter loses the header CC when its queue chooses its routing key. CC no
    /// longer routes such a dead letter.
    pub(crate) fn drops_cc_with_dead_letter_key(self) -> bool {
        self < Self::V4_0
    }

    /// True if classic queues count failed deliveries as quorum queues do. A dead letter in a
    /// classic queue is then marked as redelivered if a delivery of it failed before. So is any
    /// message after a restart if a delivery of it failed.
    pub(crate) fn classic_queues_count_failed_deliveries(self) -> bool {
        self >= Self::V4_3
    }

    /// True if the header `x-death` is the only record of a message's deaths: the count then
    /// continues from an `x-death` that a client sends. Since 3.13 the header only reports the
    /// deaths.
    pub(crate) fn deaths_are_in_the_header(self) -> bool {
        self < Self::V4_0
    }
}

/// Direct reply-to.
impl Profile {
    /// True if an address for replies is a queue of the type volatile to most methods. A reply then
    /// takes the path of every message: held back by transactions, routed, and numbered.
    pub(crate) fn addresses_are_queues(self) -> bool {
        self >= Self::V4_2
    }

    /// True if a dead letter may be a direct reply. In the versions in between, such a
    /// dead letter is lost.
    pub(crate) fn dead_letters_reach_addresses(self) -> bool {
        self < Self::V4_0 || self >= Self::V4_2
    }
}

/// Order by priority of the messages that arrive in a quorum queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuorumPriorities {
    /// Priorities do not matter.
    None,
    /// High priorities, from 5 on, have precedence: two high messages for each normal one.
    HighAndNormal,
    /// Messages of higher priority leave first.
    Strict,
}

/// Quorum queues.
impl Profile {
    /// The delivery limit of a queue that sets none.
    pub(crate) fn default_delivery_limit(self) -> DeliveryLimit {
        if self >= Self::V4_0 {
            DeliveryLimit::AtMost(20)
        } else {
            DeliveryLimit::None
        }
    }

    /// The meaning of a negative delivery limit: no limit, but before 4.0 a limit that the first
    /// return exceeds.
    pub(crate) fn negative_delivery_limit(self) -> DeliveryLimit {
        if self >= Self::V4_0 {
            DeliveryLimit::None
        } else {
            DeliveryLimit::AtMost(0)
        }
    }

    /// The quorum type's name in the text which says that `basic.get` is not supported.
    pub(crate) fn quorum_name_in_get_refusal(self) -> &'static str {
        if self >= Self::V4_2 {
            "<<\"quorum\">>"
        } else {
            "quorum"
        }
    }

    /// True if a quorum queue takes its lease from a policy that sets one, even if an argument asks
    /// for a shorter lease.
    pub(crate) fn quorum_lease_is_the_policys(self) -> bool {
        self < Self::V4_0
    }

    /// True if a quorum queue that has lost its last limit accepts publishes again from the
    /// publishers that it refused.
    pub(crate) fn resumes_publishers_without_limits(self) -> bool {
        self >= Self::V4_0
    }

    /// The part of a message that counts for `x-max-length-bytes`: since 4.3 its properties too.
    pub(crate) fn quorum_measure(self) -> Measure {
        if self >= Self::V4_3 {
            Measure::BodyAndProperties
        } else {
            Measure::Body
        }
    }

    /// True if a dead letter that returns to its own queue also stays there as a dead letter.
    /// Applies to queues that keep their dead letters until they have arrived elsewhere.
    pub(crate) fn dead_letters_to_themselves_stay(self) -> bool {
        self < Self::V4_0
    }

    /// True if a purge removes dead letters from a quorum queue that have not arrived elsewhere.
    pub(crate) fn purges_kept_dead_letters(self) -> bool {
        self >= Self::V4_3
    }

    /// True if a queue without a delivery limit puts requeued messages behind all others.
    pub(crate) fn unlimited_returns_go_last(self) -> bool {
        self < Self::V4_3
    }

    /// True if `basic.get` sets `x-delivery-count` even when it is 0.
    pub(crate) fn get_sends_zero_delivery_count(self) -> bool {
        self < Self::V4_0
    }

    /// True if the deliveries of a channel that ends are requeued in the order in which its
    /// consumers subscribed, with fetched messages last. Otherwise fetched messages come first, and
    /// the rest follow in the order of the consumers' tags.
    pub(crate) fn returns_by_age_of_consumers(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a requeued message may have to wait before it is ready again.
    pub(crate) fn delays_retries(self) -> bool {
        self >= Self::V4_3
    }

    /// True if the delivery limit counts failed deliveries only; otherwise it counts every return.
    pub(crate) fn limits_failed_deliveries_only(self) -> bool {
        self >= Self::V4_3
    }

    /// True if a delivery that is settled this way counts as failed.
    pub(crate) fn counts_as_failed(self, settlement: Settlement) -> bool {
        match settlement {
            Settlement::Ack => false,
            Settlement::Reject { requeue } => {
                self >= Self::V4_3 || (self >= Self::V4_0 && !requeue)
            }
            Settlement::Nack { requeue } => (Self::V4_0..Self::V4_3).contains(&self) && !requeue,
        }
    }

    /// True if a delivery counts as failed when its channel ends.
    pub(crate) fn counts_as_failed_at_end_of_channel(self) -> bool {
        self >= Self::V4_0
    }

    /// True if the messages that one command pushes out of a queue are dead-lettered newest first;
    /// otherwise in the order in which they leave.
    pub(crate) fn dead_letters_dropped_newest_first(self) -> bool {
        self < Self::V4_3
    }

    /// Returns the order of messages by their priorities.
    pub(crate) fn quorum_priorities(self) -> QuorumPriorities {
        match self {
            Self::V3_10 => QuorumPriorities::None,
            Self::V4_0 | Self::V4_1 | Self::V4_2 => QuorumPriorities::HighAndNormal,
            Self::V4_3 => QuorumPriorities::Strict,
        }
    }

    /// True if the single active consumer has to give way to a consumer of a higher priority.
    pub(crate) fn single_active_consumer_gives_way(self) -> bool {
        self >= Self::V4_0
    }

    /// True if a single active consumer that has to give way and requeues its last delivery has a
    /// successor at once. Otherwise it has one only when a consumer comes, goes or acknowledges.
    pub(crate) fn replaces_consumer_that_requeues(self) -> bool {
        self >= Self::V4_1
    }
}

/// The protocol on the wire.
impl Profile {
    /// True if a message's delivery mode must be 1 or 2. Otherwise any other passes for 1.
    pub(crate) fn refuses_unknown_delivery_modes(self) -> bool {
        self < Self::V4_0
    }

    /// Returns the version that RabbitMQ reports: for 3.10, 4.0 and 4.3 that of the live broker that
    /// the profile was compared with, for 4.1 and 4.2 that of the source that was read.
    #[must_use]
    pub fn server_version(self) -> &'static str {
        match self {
            Self::V3_10 => "3.10.8",
            Self::V4_0 => "4.0.5",
            Self::V4_1 => "4.1.8",
            Self::V4_2 => "4.2.9",
            Self::V4_3 => "4.3.6",
        }
    }

    /// Returns the mechanisms that a client may log in by, in the order in which they are announced.
    /// The order is that of a hash table of RabbitMQ's, and says nothing about preference.
    /// [`Mechanism::External`] is not among them: it takes a plugin, and TLS.
    #[must_use]
    pub fn mechanisms(self) -> &'static [Mechanism] {
        use Mechanism::{Amqplain, Anonymous, Plain};
        match self {
            Self::V3_10 => &[Amqplain, Plain],
            Self::V4_0 | Self::V4_1 | Self::V4_2 => &[Plain, Anonymous, Amqplain],
            Self::V4_3 => &[Amqplain, Anonymous, Plain],
        }
    }

    /// Returns the smallest `frame_max` that a client may choose, in bytes. A client's frames before
    /// that choice may be as long.
    #[must_use]
    pub fn min_frame_max(self) -> u32 {
        if self >= Self::V4_1 { 8192 } else { 4096 }
    }

    /// Returns the header with which RabbitMQ answers a protocol header that it does not support:
    /// AMQP 0-9-1 before 4.0, AMQP 1.0 with SASL since.
    #[must_use]
    pub fn counter_header(self, received: &[u8; 8]) -> [u8; 8] {
        // The header of AMQP 0-9-1 with another revision.
        if self < Self::V4_0 || received.starts_with(b"AMQP\0\0\x09") {
            *b"AMQP\0\0\x09\x01"
        } else {
            *b"AMQP\x03\x01\0\0"
        }
    }

    /// Largest body that a content header may announce, in bytes: a larger one ends the connection
    /// before the body arrives.
    #[must_use]
    pub fn max_announced_body(self) -> Option<u64> {
        (self >= Self::V4_3).then_some(512 * MIB as u64)
    }

    /// True if a body longer than announced is refused as such; otherwise it is refused as a frame
    /// that is not a body.
    #[must_use]
    pub fn tells_excess_of_body(self) -> bool {
        self >= Self::V4_3
    }
}
