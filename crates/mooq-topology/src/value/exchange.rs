//! An exchange.

use std::mem::take;

use mooq_core::{
    ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable, FieldValue, FirstError, IntoChecked,
    ShortString,
};

use super::widened;

/// An exchange of a [`Topology`](crate::Topology), durable unless it is made
/// [`transient`](Self::transient).
///
/// ```
/// use mooq::ExchangeKind::Topic;
/// use mooq::topology::Exchange;
///
/// let orders = Exchange::new("orders", Topic).alternate_exchange("unrouted");
/// assert_eq!(orders.name(), "orders");
/// assert!(orders.is_durable());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    declare: ExchangeDeclare,
    deferred: FirstError,
}

impl Exchange {
    /// A durable exchange. `kind` is an [`ExchangeKind`] or its name.
    ///
    /// An error in the name is reported when the topology is used.
    #[must_use]
    pub fn new(name: impl IntoChecked<ExchangeName>, kind: impl IntoChecked<ExchangeKind>) -> Self {
        let mut deferred = FirstError::default();
        let name = deferred.check(name).unwrap_or_default();
        let kind = deferred.check(kind).unwrap_or(ExchangeKind::Direct);
        Self {
            declare: ExchangeDeclare::new(name, kind),
            deferred,
        }
    }

    /// Makes the exchange transient: it is deleted when the broker restarts.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.declare.durable = false;
        self
    }

    /// Makes the exchange auto-delete: it is deleted when its last binding is removed.
    #[must_use]
    pub fn auto_delete(mut self) -> Self {
        self.declare.auto_delete = true;
        self
    }

    /// Makes the exchange internal: only other exchanges may publish to it.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.declare.internal = true;
        self
    }

    /// Exchange for messages that this exchange cannot route ([alternate
    /// exchanges](https://www.rabbitmq.com/docs/ae)).
    #[must_use]
    pub fn alternate_exchange(mut self, name: impl IntoChecked<ExchangeName>) -> Self {
        match self.deferred.check(name) {
            Some(name) => self.argument(ALTERNATE_EXCHANGE, name.as_str()),
            None => self,
        }
    }

    /// Adds an argument. The width of a number does not count: it is declared as one of 64 bits.
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

    /// The exchange's name.
    #[must_use]
    pub fn name(&self) -> &ExchangeName {
        &self.declare.name
    }

    /// The exchange's kind.
    #[must_use]
    pub fn kind(&self) -> &ExchangeKind {
        &self.declare.kind
    }

    /// Returns true if the exchange survives a restart of the broker.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.declare.durable
    }

    /// Returns true if the exchange is deleted when its last binding is removed.
    #[must_use]
    pub fn is_auto_delete(&self) -> bool {
        self.declare.auto_delete
    }

    /// Returns true if only other exchanges may publish to the exchange.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.declare.internal
    }

    /// The exchange's arguments.
    #[must_use]
    pub fn arguments(&self) -> &FieldTable {
        &self.declare.arguments
    }

    /// The exchange for messages that cannot be routed.
    pub(crate) fn alternate(&self) -> Option<&str> {
        let alternate = self.declare.arguments.get(ALTERNATE_EXCHANGE);
        alternate.and_then(FieldValue::as_str)
    }

    /// The same exchange by another name.
    pub(crate) fn renamed(&self, name: ExchangeName) -> Self {
        let mut renamed = self.clone();
        renamed.declare.name = name;
        renamed
    }

    /// Takes the error of the setters out.
    pub(crate) fn take_error(&mut self) -> FirstError {
        take(&mut self.deferred)
    }
}

const ALTERNATE_EXCHANGE: &str = "alternate-exchange";
