//! A policy.

use std::mem::take;

use mooq_core::{Error, ErrorKind, FieldTable, FieldValue, FirstError, IntoChecked, ShortString};

use super::widened;

/// Queues and exchanges that a [`Policy`] applies to, among those whose names match its pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AppliesTo {
    /// Queues, streams and exchanges.
    All,
    /// Queues of every type, and streams.
    Queues,
    /// Classic queues. From RabbitMQ 3.12 on.
    ClassicQueues,
    /// Quorum queues. From RabbitMQ 3.12 on.
    QuorumQueues,
    /// Streams. From RabbitMQ 3.12 on.
    Streams,
    /// Exchanges.
    Exchanges,
}

impl AppliesTo {
    const ALL: [Self; 6] = [
        Self::All,
        Self::Queues,
        Self::ClassicQueues,
        Self::QuorumQueues,
        Self::Streams,
        Self::Exchanges,
    ];

    /// RabbitMQ's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Queues => "queues",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
            Self::Exchanges => "exchanges",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// A [policy](https://www.rabbitmq.com/docs/policies) of a [`Topology`](crate::Topology): settings
/// for the queues and exchanges whose names match a pattern. AMQP has no policies: they are set by
/// the broker's management API.
///
/// ```
/// use mooq::topology::{AppliesTo, Policy};
///
/// let limits = Policy::new("limits", "^orders\\.")
///     .applies_to(AppliesTo::Queues)
///     .priority(1)
///     .set("max-length", 10_000)
///     .set("overflow", "reject-publish");
/// assert_eq!(limits.definition().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    name: String,
    pattern: String,
    applies_to: AppliesTo,
    priority: i64,
    definition: FieldTable,
    deferred: FirstError,
}

impl Policy {
    /// A policy without settings for the queues and exchanges whose names match `pattern`, a regular
    /// expression. RabbitMQ refuses a policy that has no setting.
    #[must_use]
    pub fn new(name: impl Into<String>, pattern: impl Into<String>) -> Self {
        let name = name.into();
        let mut deferred = FirstError::default();
        if name.is_empty() {
            let message = "a policy without a name: the management API addresses it by name";
            deferred.fail(Error::new(ErrorKind::InvalidName, message));
        }
        Self {
            name,
            pattern: pattern.into(),
            applies_to: AppliesTo::All,
            priority: 0,
            definition: FieldTable::new(),
            deferred,
        }
    }

    /// Limits the policy to queues or exchanges; by default it applies to all of them.
    #[must_use]
    pub fn applies_to(mut self, what: AppliesTo) -> Self {
        self.applies_to = what;
        self
    }

    /// Of the policies that match a name, the one with the highest priority applies; 0 by default.
    #[must_use]
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Adds a setting: a queue's argument without its `x-`, for example `max-length`.
    #[must_use]
    pub fn set(mut self, key: impl IntoChecked<ShortString>, value: impl Into<FieldValue>) -> Self {
        let value = widened(value.into());
        self.deferred.insert(&mut self.definition, key, value);
        self
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The regular expression for names.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The settings.
    #[must_use]
    pub fn definition(&self) -> &FieldTable {
        &self.definition
    }

    pub(crate) fn target(&self) -> AppliesTo {
        self.applies_to
    }

    pub(crate) fn rank(&self) -> i64 {
        self.priority
    }

    /// Takes the error of the setters out.
    pub(crate) fn take_error(&mut self) -> FirstError {
        take(&mut self.deferred)
    }
}
