//! The value: exchanges, queues, bindings and policies.

use mooq_core::{
    BindingDestination, Error, ErrorKind, ExchangeKind, ExchangeName, FieldTable, FirstError,
    IntoChecked, QueueName, Result, RoutingKey,
};

use crate::value::binding::Binding;
use crate::value::exchange::Exchange;
use crate::value::policy::Policy;
use crate::value::queue::Queue;

/// The exchanges, queues, bindings and policies that a service needs, as a plain value.
///
/// Setters add to it. Names are checked as they are set, and the first error is returned by the
/// first call that uses the topology.
///
/// | To | call |
/// |---|---|
/// | declare all of it, at a service's start | [`apply`](Self::apply) |
/// | fail unless the broker has all of it | [`check`](Self::check) |
/// | list what is missing, different or unexpected | [`diff`](Self::diff) |
/// | bring a broker that has something else to it | [`plan`](Self::plan) |
/// | draw it | [`mermaid`](Self::mermaid), [`dot`](Self::dot) |
/// | exchange it with RabbitMQ's tools | [`to_definitions`](Self::to_definitions), [`from_definitions`](Self::from_definitions) |
///
/// # Examples
/// ```
/// use mooq::ExchangeKind::{Direct, Topic};
/// use mooq::topology::{Queue, Topology};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// let topology = Topology::new()
///     .exchange("orders", Topic)
///     .exchange("dead", Direct)
///     .queue(Queue::new("billing").quorum().dead_letter("dead", "billing"))
///     .queue("billing.dead")
///     .bind_queue("billing", "orders", "order.*")
///     .bind_queue("billing.dead", "dead", "billing");
///
/// topology.apply(&conn).await?;
/// topology.check(&conn).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topology {
    exchanges: Vec<Exchange>,
    queues: Vec<Queue>,
    bindings: Vec<Binding>,
    policies: Vec<Policy>,
    deferred: FirstError,
}

impl Topology {
    /// A topology without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a durable exchange. `kind` is an [`ExchangeKind`] or its name.
    #[must_use]
    pub fn exchange(
        self,
        name: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> Self {
        self.exchange_with(Exchange::new(name, kind))
    }

    /// Adds an exchange with options.
    #[must_use]
    pub fn exchange_with(mut self, mut exchange: Exchange) -> Self {
        self.deferred.join(exchange.take_error());
        if exchange.name().is_empty() {
            self.refuse("an exchange without a name: the default exchange is always there");
        }
        let name = exchange.name().clone();
        self.sendable("exchange", &name, exchange.arguments());
        match self.exchanges.iter().find(|one| *one.name() == name) {
            None => self.exchanges.push(exchange),
            Some(one) if *one == exchange => {}
            Some(_) => self.twice("exchange", &name),
        }
        self
    }

    /// Adds a queue: a [`Queue`], or its name for a durable queue without options.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Queue>) -> Self {
        let mut queue = queue.into();
        self.deferred.join(queue.take_error());
        if queue.name().is_empty() {
            self.refuse("a queue without a name: the broker would choose another each time");
        }
        let name = queue.name().clone();
        self.sendable("queue", &name, queue.arguments());
        match self.queues.iter().find(|one| *one.name() == name) {
            None => self.queues.push(queue),
            Some(one) if *one == queue => {}
            Some(_) => self.twice("queue", &name),
        }
        self
    }

    /// Adds a binding of a queue to an exchange. Both may be others than the topology's, if they
    /// are there when it is applied.
    #[must_use]
    pub fn bind_queue(
        self,
        queue: impl IntoChecked<QueueName>,
        exchange: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Self {
        self.bind_with(Binding::of_queue(queue, exchange, routing_key))
    }

    /// Adds a binding of an exchange, the destination, to another, the source.
    #[must_use]
    pub fn bind_exchange(
        self,
        destination: impl IntoChecked<ExchangeName>,
        source: impl IntoChecked<ExchangeName>,
        routing_key: impl IntoChecked<RoutingKey>,
    ) -> Self {
        self.bind_with(Binding::of_exchange(destination, source, routing_key))
    }

    /// Adds a binding with arguments.
    #[must_use]
    pub fn bind_with(mut self, mut binding: Binding) -> Self {
        self.deferred.join(binding.take_error());
        let unnamed = match binding.destination() {
            BindingDestination::Queue(queue) => queue.is_empty(),
            BindingDestination::Exchange(exchange) => exchange.is_empty(),
        };
        if unnamed || binding.source().is_empty() {
            let told = format!("binding of {binding}: both ends need a name");
            self.refuse(&told);
        }
        let told = binding.to_string();
        self.sendable("binding of", &told, binding.arguments());
        if !self.bindings.contains(&binding) {
            self.bindings.push(binding);
        }
        self
    }

    /// Adds a policy.
    #[must_use]
    pub fn policy(mut self, mut policy: Policy) -> Self {
        self.deferred.join(policy.take_error());
        let name = policy.name().to_owned();
        self.sendable("policy", &name, policy.definition());
        match self.policies.iter().find(|one| one.name() == name) {
            None => self.policies.push(policy),
            Some(one) if *one == policy => {}
            Some(_) => self.twice("policy", &name),
        }
        self
    }

    /// Adds everything of another topology.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.deferred.join(other.deferred);
        let exchanges = other.exchanges.into_iter();
        self = exchanges.fold(self, Self::exchange_with);
        let queues = other.queues.into_iter();
        self = queues.fold(self, Self::queue);
        let bindings = other.bindings.into_iter();
        self = bindings.fold(self, Self::bind_with);
        let policies = other.policies.into_iter();
        policies.fold(self, Self::policy)
    }

    /// The exchanges, in the order in which they were added.
    #[must_use]
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// The queues, in the order in which they were added.
    #[must_use]
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// The bindings, in the order in which they were added.
    #[must_use]
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The policies, in the order in which they were added.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// Fails with the first error of the setters.
    ///
    /// # Errors
    /// `InvalidName` for a name that is too long; `InvalidArgument` for a name that is empty, for two
    /// parts of one name that differ, and for a value that cannot be sent.
    pub fn validate(&self) -> Result<()> {
        self.deferred.clone().finish()
    }

    fn refuse(&mut self, why: &str) {
        self.deferred
            .fail(Error::new(ErrorKind::InvalidArgument, why));
    }

    fn twice(&mut self, what: &str, name: &str) {
        let why = format!("{what} '{name}' is in the topology twice, with different options");
        self.refuse(&why);
    }

    fn sendable(&mut self, what: &str, name: &str, arguments: &FieldTable) {
        let checked = arguments.check(&format!("{what} '{name}': argument"));
        self.deferred.note(checked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(topology: &Topology) -> (ErrorKind, String) {
        let err = topology.validate().unwrap_err();
        (err.kind(), err.to_string())
    }

    #[test]
    fn first_error_of_the_setters_is_kept() {
        let topology = Topology::new()
            .queue("x".repeat(256))
            .queue("")
            .exchange("orders", "topic");
        let (kind, text) = error(&topology);
        assert_eq!(kind, ErrorKind::InvalidName);
        assert!(text.starts_with("queue name of 256 bytes"), "{text}");
    }

    #[test]
    fn parts_without_a_name_are_refused() {
        for topology in [
            Topology::new().queue(""),
            Topology::new().exchange("", "topic"),
            Topology::new().bind_queue("q", "", "k"),
            Topology::new().bind_queue("", "e", "k"),
        ] {
            assert_eq!(error(&topology).0, ErrorKind::InvalidArgument);
        }
        let policy = Topology::new().policy(Policy::new("", "."));
        assert_eq!(error(&policy).0, ErrorKind::InvalidName);
    }

    #[test]
    fn the_same_part_twice_counts_once_and_another_is_refused() {
        let topology = Topology::new().queue("q").queue(Queue::new("q"));
        assert_eq!(
            (topology.queues().len(), topology.validate().is_ok()),
            (1, true)
        );
        let (kind, text) = error(&topology.queue(Queue::new("q").max_length(1)));
        assert_eq!(kind, ErrorKind::InvalidArgument);
        assert_eq!(
            text,
            "queue 'q' is in the topology twice, with different options"
        );
    }

    #[test]
    fn merged_topologies_are_the_parts_of_both() {
        let orders = Topology::new().exchange("orders", "topic").queue("a");
        let bound = Topology::new().queue("a").bind_queue("a", "orders", "#");
        let both = orders.clone().merge(bound.clone());
        let expected = Topology::new()
            .exchange("orders", "topic")
            .queue("a")
            .bind_queue("a", "orders", "#");
        assert_eq!(both, expected);
        let clash = both.merge(Topology::new().exchange("orders", "fanout"));
        assert!(error(&clash).1.contains("'orders'"));
    }

    #[test]
    fn value_that_cannot_be_sent_is_named() {
        let topology = Topology::new().queue(Queue::new("q").argument("x-ratio", f64::NAN));
        let (kind, text) = error(&topology);
        assert_eq!(kind, ErrorKind::InvalidArgument);
        assert!(text.contains("'q'") && text.contains("'x-ratio'"), "{text}");
    }
}
