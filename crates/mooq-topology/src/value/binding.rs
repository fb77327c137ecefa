//! A binding.

use std::fmt;
use std::mem::take;

use mooq_core::json::table_to;
use mooq_core::{
    BindingDestination, ExchangeName, FieldTable, FieldValue, FirstError, IntoChecked, QueueName,
    RoutingKey, ShortString,
};

use super::widened;

/// A binding of a [`Topology`](crate::Topology): of a queue, or of an exchange, to an exchange.
///
/// ```
/// use mooq::topology::Binding;
///
/// let binding = Binding::of_queue("reports", "documents", "")
///     .argument("x-match", "all")
///     .argument("format", "pdf");
/// assert_eq!(
///     binding.to_string(),
///     "queue 'reports' to exchange 'documents' by '' with {\"format\":\"pdf\",\"x-match\":\"all\"}"
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    source: ExchangeName,
    destination: BindingDestination,
    routing_key: RoutingKey,
    arguments: FieldTable,
    deferred: FirstError,
}

impl Binding {
    /// A binding of a queue to an exchange.
    #[must_use]
    pub fn of_queue(
        queue: impl IntoChecked<QueueName>,
        exchange: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Self {
        Self::new(queue, BindingDestination::Queue, exchange, routing_key)
    }

    /// A binding of an exchange, the destination, to another, the source
    /// ([exchange-to-exchange bindings](https://www.rabbitmq.com/docs/e2e)).
    #[must_use]
    pub fn of_exchange(
        destination: impl IntoChecked<ExchangeName>,
        source: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Self {
        Self::new(
            destination,
            BindingDestination::Exchange,
            source,
            routing_key,
        )
    }

    fn new<N: Default>(
        destination: impl IntoChecked<N>,
        kind: impl FnOnce(N) -> BindingDestination,
        source: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Self {
        let mut deferred = FirstError::default();
        Self {
            destination: kind(deferred.check(destination).unwrap_or_default()),
            source: deferred.check(source).unwrap_or_default(),
            routing_key: deferred.check(routing_key).unwrap_or_default(),
            arguments: FieldTable::new(),
            deferred,
        }
    }

    /// Adds an argument: for a headers exchange, a header to match, or `x-match`. Bindings with
    /// different arguments are different bindings; the width of a number does not count.
    #[must_use]
    pub fn argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        let value = widened(value.into());
        self.deferred.insert(&mut self.arguments, key, value);
        self
    }

    /// The exchange that messages come from.
    #[must_use]
    pub fn source(&self) -> &ExchangeName {
        &self.source
    }

    /// The queue that messages go to, unless they go to an exchange.
    #[must_use]
    pub fn queue(&self) -> Option<&QueueName> {
        match &self.destination {
            BindingDestination::Queue(queue) => Some(queue),
            BindingDestination::Exchange(_) => None,
        }
    }

    /// The exchange that messages go to, unless they go to a queue.
    #[must_use]
    pub fn exchange(&self) -> Option<&ExchangeName> {
        match &self.destination {
            BindingDestination::Queue(_) => None,
            BindingDestination::Exchange(exchange) => Some(exchange),
        }
    }

    /// The key or pattern.
    #[must_use]
    pub fn routing_key(&self) -> &RoutingKey {
        &self.routing_key
    }

    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> &FieldTable {
        &self.arguments
    }

    pub(crate) fn destination(&self) -> &BindingDestination {
        &self.destination
    }

    /// The same binding, to another destination.
    pub(crate) fn to(&self, destination: BindingDestination) -> Self {
        Self {
            destination,
            ..self.clone()
        }
    }

    /// The same binding, from another source.
    pub(crate) fn from(&self, source: ExchangeName) -> Self {
        Self {
            source,
            ..self.clone()
        }
    }

    /// Takes the error of the setters out.
    pub(crate) fn take_error(&mut self) -> FirstError {
        take(&mut self.deferred)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            BindingDestination::Queue(queue) => write!(f, "queue '{queue}'")?,
            BindingDestination::Exchange(exchange) => write!(f, "exchange '{exchange}'")?,
        }
        write!(
            f,
            " to exchange '{}' by '{}'",
            self.source, self.routing_key
        )?;
        if !self.arguments.is_empty() {
            write!(f, " with {}", table_to(&self.arguments))?;
        }
        Ok(())
    }
}
