//! Kinds of resource that policies apply to.

use std::str::FromStr;

use mooq_core::{Error, ErrorKind};

use super::profile::Profile;
use super::queue::kind::QueueType;

/// Kinds of resource that a policy applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    All,
    /// Queues.
    Queues,
    /// Exchanges.
    Exchanges,
    /// Classic queues (3.12).
    ClassicQueues,
    /// Quorum queues (3.12).
    QuorumQueues,
    /// Streams, which the in-memory broker does not have (3.12).
    Streams,
}

impl ApplyTo {
    /// All kinds, in RabbitMQ's order.
    const ALL: [Self; 6] = [
        Self::Queues,
        Self::ClassicQueues,
        Self::QuorumQueues,
        Self::Streams,
        Self::Exchanges,
        Self::All,
    ];

    /// Returns RabbitMQ's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Queues => "queues",
            Self::Exchanges => "exchanges",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
        }
    }

    /// Returns true if a policy for this applies to queues of this type.
    pub(crate) fn includes_queue(self, kind: QueueType) -> bool {
        match self {
            Self::All | Self::Queues => true,
            Self::ClassicQueues => kind == QueueType::Classic,
            Self::QuorumQueues => kind == QueueType::Quorum,
            Self::Exchanges | Self::Streams => false,
        }
    }

    /// Returns true if a policy for this applies to exchanges.
    pub(crate) fn includes_exchanges(self) -> bool {
        matches!(self, Self::All | Self::Exchanges)
    }

    /// Checks that a version of RabbitMQ knows this kind of resource.
    pub(crate) fn check(self, profile: Profile) -> Result<(), Error> {
        let is_old = matches!(self, Self::All | Self::Queues | Self::Exchanges);
        if is_old || profile.tells_queue_types_apart_in_policies() {
            return Ok(());
        }
        Err(invalid(format!(
            "apply-to '{}' unrecognised; should be one of: 'queues', 'exchanges', or 'all'",
            self.as_str()
        )))
    }
}

impl FromStr for ApplyTo {
    type Err = Error;

    /// Reads RabbitMQ's name.
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(|kind| format!("'{}'", kind.as_str()));
            invalid(format!(
                "it applies to '{name}', expected one of {}",
                known.join(", ")
            ))
        })
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
