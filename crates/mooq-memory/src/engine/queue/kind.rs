//! The types of queues: what a declare of each may ask for.

use mooq_core::{FieldTable, FieldValue, QueueDeclare};

use crate::engine::profile::Profile;
use crate::engine::reply_error::{ReplyError, Resource, type_name};

/// The argument that names a queue's type.
pub(crate) const QUEUE_TYPE: &str = "x-queue-type";

/// What sort of queue it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum QueueType {
    /// [Classic](https://www.rabbitmq.com/docs/classic-queues), which one is that says nothing.
    #[default]
    Classic,
    /// [Quorum](https://www.rabbitmq.com/docs/quorum-queues).
    Quorum,
}

/// The arguments that a classic queue knows, in the order in which a redeclare compares them.
const CLASSIC: [&str; 14] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    QUEUE_TYPE,
    "x-queue-master-locator",
    LEADER_LOCATOR,
];

/// The same of a quorum queue.
const QUORUM: [&str; 15] = [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-overflow",
    "x-single-active-consumer",
    QUEUE_TYPE,
    "x-quorum-initial-group-size",
    "x-delivery-limit",
    "x-message-ttl",
    LEADER_LOCATOR,
];

/// One that a classic queue knows or leaves to other types, depending on the version.
pub(super) const LEADER_LOCATOR: &str = "x-queue-leader-locator";

impl QueueType {
    /// The type that a declare asks for.
    pub(crate) fn of(arguments: &FieldTable, resource: Resource<'_>) -> Result<Self, ReplyError> {
        let invalid = |why| ReplyError::invalid_arg(resource, QUEUE_TYPE, why);
        let kind = match arguments.get(QUEUE_TYPE) {
            None => return Ok(Self::Classic),
            Some(FieldValue::String(kind)) => kind.as_str(),
            Some(other) => {
                return Err(invalid(format!(
                    "{{unacceptable_type,{}}}",
                    type_name(other)
                )));
            }
        };
        match kind {
            "classic" => Ok(Self::Classic),
            "quorum" => Ok(Self::Quorum),
            // Better no stream than one that behaves as none does.
            "stream" => Err(ReplyError::precondition_failed(format!(
                "{resource} of type 'stream': the in-memory broker has no streams"
            ))),
            _ => Err(invalid(format!("\"unsupported queue type '{kind}'\""))),
        }
    }

    /// Whether a declare that names no queue may ask for this type.
    pub(crate) fn check_server_named(self) -> Result<(), ReplyError> {
        match self {
            Self::Classic => Ok(()),
            Self::Quorum => Err(ReplyError::precondition_failed(format!(
                "Cannot declare a server-named queue for type {}",
                self.module()
            ))),
        }
    }

    /// Checks that a queue of this type can be of such durability and exclusiveness.
    pub(crate) fn check_properties(
        self,
        declare: &QueueDeclare,
        resource: Resource<'_>,
    ) -> Result<(), ReplyError> {
        if self == Self::Classic {
            return Ok(());
        }
        let refused = [
            (declare.auto_delete, "auto-delete"),
            (declare.exclusive, "exclusive-owner"),
            (!declare.durable, "non-durable"),
        ];
        match refused.into_iter().find(|(refused, _)| *refused) {
            None => Ok(()),
            Some((_, property)) => Err(ReplyError::precondition_failed(format!(
                "invalid property '{property}' for {resource}"
            ))),
        }
    }

    /// The arguments that it knows, in the order in which a redeclare compares them.
    pub(super) fn arguments(self, profile: Profile) -> impl Iterator<Item = &'static str> {
        let known: &'static [&'static str] = match self {
            Self::Classic => &CLASSIC,
            Self::Quorum => &QUORUM,
        };
        let known = known.iter().copied();
        known.filter(move |key| !self.leaves_argument_to_others(key, profile))
    }

    /// Whether an argument is only for queues of other types: to give it to one of this type is
    /// an error, while one that no type knows is ignored.
    pub(super) fn leaves_argument_to_others(self, key: &str, profile: Profile) -> bool {
        match self {
            Self::Classic => profile.leaves_queue_argument_to_others(key),
            Self::Quorum => profile.quorum_queues_leave_argument_to_others(key),
        }
    }

    /// The same for the arguments of consumers.
    pub(super) fn leaves_consumer_argument_to_others(self, key: &str, profile: Profile) -> bool {
        match self {
            Self::Quorum if key == "x-consumer-timeout" => false,
            _ => profile.leaves_consumer_argument_to_others(key),
        }
    }

    /// What RabbitMQ's texts call it.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
        }
    }
}
