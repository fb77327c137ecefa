//! The types of queues, and the arguments and properties of a declare that each accepts.

use mooq_core::{FieldTable, FieldValue, QueueDeclare};

use super::argument_table::{ARGUMENTS, QueueArgument, Support};
use super::delayed::RetrySettings;
use crate::erlang::text::string_text;
use crate::profile::Profile;
use crate::reply_error::{ReplyError, Resource, type_name};

/// The argument that names a queue's type.
pub(crate) const QUEUE_TYPE: &str = "x-queue-type";

/// Types of queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueType {
    /// [Classic](https://www.rabbitmq.com/docs/classic-queues), the type of a queue that names
    /// none.
    #[default]
    Classic,
    /// [Quorum](https://www.rabbitmq.com/docs/quorum-queues).
    Quorum,
}

/// Name of the argument that asks for a consumer to be cancelled when its queue's mirror takes
/// over. Without mirrors the argument has no effect.
pub(super) const HA_FAILOVER: &str = "x-cancel-on-ha-failover";

impl QueueType {
    /// Returns the type that a declare asks for.
    pub(crate) fn of(
        arguments: &FieldTable,
        resource: Resource<'_>,
        profile: Profile,
    ) -> Result<Self, ReplyError> {
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
            "" if profile.takes_empty_queue_type() => Ok(Self::Classic),
            "quorum" => Ok(Self::Quorum),
            // No stream is better than one that does not behave like a stream.
            "stream" => Err(ReplyError::precondition_failed(format!(
                "{resource} of type 'stream': the in-memory broker has no streams"
            ))),
            _ => Err(invalid(string_text(
                &format!("unsupported queue type '{kind}'"),
                profile,
            ))),
        }
    }

    /// Checks that a declare without a queue name may ask for this type.
    pub(crate) fn check_server_named(self) -> Result<(), ReplyError> {
        match self {
            Self::Classic => Ok(()),
            Self::Quorum => Err(ReplyError::precondition_failed(format!(
                "Cannot declare a server-named queue for type {}",
                self.module()
            ))),
        }
    }

    /// Checks that a queue of this type can have this durability and exclusiveness.
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

    /// Returns the arguments that the type knows, in the order in which a redeclare compares them.
    pub(super) fn arguments(self, profile: Profile) -> impl Iterator<Item = &'static str> {
        let known = ARGUMENTS.iter().filter_map(|argument| {
            let Support::Known(place) = self.support(argument, profile) else {
                return None;
            };
            Some((place, argument.name))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        known.into_iter().map(|(_, name)| name)
    }

    /// True if the type knows an argument.
    pub(super) fn knows_argument(self, key: &str, profile: Profile) -> bool {
        let argument = QueueArgument::find(key);
        argument.is_some_and(|of| matches!(self.support(of, profile), Support::Known(_)))
    }

    fn support(self, argument: &QueueArgument, profile: Profile) -> Support {
        let column = match self {
            Self::Classic => argument.classic,
            Self::Quorum => argument.quorum,
        };
        argument.support(column, profile)
    }

    /// Returns the delayed-retry settings in a queue's arguments.
    pub(crate) fn retry_settings(self, arguments: &FieldTable, profile: Profile) -> RetrySettings {
        if self == Self::Quorum && profile.delays_retries() {
            RetrySettings::of_arguments(|key| arguments.get(key))
        } else {
            RetrySettings::default()
        }
    }

    /// True if an argument is only for queues of other types. Such an argument is an error, while
    /// one that no type knows is ignored.
    pub(super) fn leaves_argument_to_others(self, key: &str, profile: Profile) -> bool {
        let argument = QueueArgument::find(key);
        argument.is_some_and(|of| self.support(of, profile) == Support::Foreign)
    }

    /// True if a consumer argument is only for queues of other types. Such an argument is an error,
    /// while one that no type knows is ignored.
    pub(super) fn leaves_consumer_argument_to_others(self, key: &str, profile: Profile) -> bool {
        match self {
            Self::Quorum if key == "x-consumer-timeout" => false,
            Self::Quorum if key == HA_FAILOVER => profile.has_mirrors(),
            _ => profile.leaves_consumer_argument_to_others(key),
        }
    }

    /// Returns the name of the type, as `x-queue-type` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    /// Returns the name of the type in RabbitMQ's texts.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
        }
    }
}
