//! A queue.

use std::mem::take;

use mooq_core::{
    FieldTable, FieldValue, FirstError, IntoChecked, QueueDeclare, QueueName, ShortString,
    queue_arguments,
};

use super::widened;

/// A queue of a [`Topology`](crate::Topology), durable and open to every connection. Its name, as
/// text, is a queue without options.
///
/// ```
/// use std::time::Duration;
///
/// use mooq::topology::Queue;
///
/// let billing = Queue::new("billing")
///     .quorum()
///     .delivery_limit(5)
///     .dead_letter("dead", "billing");
/// let clicks = Queue::new("clicks").message_ttl(Duration::from_secs(60));
/// assert_eq!(clicks.arguments().get("x-message-ttl"), Some(&60_000_i64.into()));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    declare: QueueDeclare,
    deferred: FirstError,
}

impl Queue {
    /// A durable queue.
    ///
    /// An error in the name is reported when the topology is used.
    #[must_use]
    pub fn new(name: impl IntoChecked<QueueName>) -> Self {
        let mut deferred = FirstError::default();
        let name = deferred.check(name).unwrap_or_default();
        Self {
            declare: QueueDeclare::new(name),
            deferred,
        }
    }

    /// Makes the queue transient: it is deleted when the broker restarts. RabbitMQ 4.3 refuses such
    /// queues.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.declare.durable = false;
        self
    }

    /// Makes the queue auto-delete: it is deleted when its last consumer ends.
    #[must_use]
    pub fn auto_delete(mut self) -> Self {
        self.declare.auto_delete = true;
        self
    }

    queue_arguments!(argument);

    fn deferred(&mut self) -> &mut FirstError {
        &mut self.deferred
    }

    /// Adds an argument that has no setter of its own. The width of a number does not count: it is
    /// declared as one of 64 bits.
    #[must_use]
    pub fn argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        let value = widened(value.into());
        self.deferred
            .insert(&mut self.declare.arguments, key, value);
        self
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        &self.declare.name
    }

    /// Returns true if the queue survives a restart of the broker.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.declare.durable
    }

    /// Returns true if the queue is deleted when its last consumer ends.
    #[must_use]
    pub fn is_auto_delete(&self) -> bool {
        self.declare.auto_delete
    }

    /// The queue's arguments.
    #[must_use]
    pub fn arguments(&self) -> &FieldTable {
        &self.declare.arguments
    }

    /// The queue's type, if it has been chosen.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.text("x-queue-type")
    }

    /// The text of an argument.
    pub(crate) fn text(&self, argument: &str) -> Option<&str> {
        let value = self.declare.arguments.get(argument);
        value.and_then(FieldValue::as_str)
    }

    /// The number of an argument, if it is not negative.
    pub(crate) fn number(&self, argument: &str) -> Option<u64> {
        let value = self.declare.arguments.get(argument);
        let value = value.and_then(FieldValue::as_i64);
        value.and_then(|value| value.try_into().ok())
    }

    /// Takes the error of the setters out.
    pub(crate) fn take_error(&mut self) -> FirstError {
        take(&mut self.deferred)
    }
}

impl From<QueueName> for Queue {
    fn from(name: QueueName) -> Self {
        Self::new(name)
    }
}

impl From<&str> for Queue {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<&String> for Queue {
    fn from(name: &String) -> Self {
        Self::new(name)
    }
}

impl From<String> for Queue {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}
