//! The exchanges and queues in which messages wait.

use std::time::Duration;

use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeKind, ExchangeName, FieldTable,
    QueueDeclare, QueueName, Result, RoutingKey,
};

use crate::delay::{self, LONGEST, STEPS};
use crate::retry::Retry;

/// A place in which messages wait for one delay: a fanout exchange, and the queue of the same name
/// behind it. A message that expires there is dead-lettered to the target, with the routing key
/// that it was published with.
///
/// Everything about it follows from its name, so that services that share it agree. The queue never
/// expires: a publish does not count as a use of a queue, so an expiring queue could take waiting
/// messages with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayQueue {
    exchange: ExchangeName,
    queue: QueueName,
    target: ExchangeName,
    delay: Duration,
    quorum: bool,
}

impl DelayQueue {
    fn new(name: &str, target: ExchangeName, delay: Duration, quorum: bool) -> Result<Self> {
        let end = if quorum { ".quorum" } else { "" };
        let name = format!("{name}.{}{end}", delay::text(delay));
        Ok(Self {
            exchange: name.as_str().try_into()?,
            queue: name.try_into()?,
            target,
            delay,
            quorum,
        })
    }

    /// The place for messages that `exchange` is to get after `delay`, which is rounded up to one
    /// of the [`STEPS`]. None for no delay.
    ///
    /// # Errors
    /// `InvalidArgument` for a delay over [`LONGEST`]; `InvalidName` if the name of the exchange
    /// leaves no room for what is added to it.
    pub fn of_exchange(exchange: &ExchangeName, delay: Duration) -> Result<Option<Self>> {
        let delay = delay::step(delay::check(delay)?);
        let name = match exchange.as_str() {
            "" => "mooq.delay".to_owned(),
            name => format!("{name}.delay"),
        };
        if delay.is_zero() {
            return Ok(None);
        }
        Self::new(&name, exchange.clone(), delay, false).map(Some)
    }

    /// All places that [`of_exchange`](Self::of_exchange) may return for an exchange.
    ///
    /// # Errors
    /// `InvalidName` if the name of the exchange is too long to have any.
    pub fn all_of_exchange(exchange: &ExchangeName) -> Result<Vec<Self>> {
        let delays = STEPS.into_iter().chain([LONGEST]);
        let all = delays.filter_map(|delay| Self::of_exchange(exchange, delay).transpose());
        all.collect()
    }

    /// The exchange that takes the messages.
    #[must_use]
    pub fn exchange(&self) -> &ExchangeName {
        &self.exchange
    }

    /// The queue that the messages wait in.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The time that the messages wait.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// The exchange that the messages go to afterwards.
    #[must_use]
    pub fn target(&self) -> &ExchangeName {
        &self.target
    }

    /// The declaration of the exchange.
    #[must_use]
    pub fn declare_exchange(&self) -> ExchangeDeclare {
        ExchangeDeclare::new(self.exchange.clone(), ExchangeKind::Fanout)
    }

    /// The declaration of the queue.
    #[must_use]
    pub fn declare_queue(&self) -> QueueDeclare {
        let mut declare = QueueDeclare::new(self.queue.clone());
        let millis = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let arguments = &mut declare.arguments;
        set(arguments, "x-message-ttl", millis);
        set(arguments, "x-dead-letter-exchange", self.target.as_str());
        if self.quorum {
            set(arguments, "x-queue-type", "quorum");
            // The queue keeps a message until the target has confirmed it.
            set(arguments, "x-dead-letter-strategy", "at-least-once");
            set(arguments, "x-overflow", "reject-publish");
        }
        declare
    }

    /// The binding between the two.
    #[must_use]
    pub fn binding(&self) -> Binding {
        to_queue(self.exchange.clone(), self.queue.clone())
    }
}

fn set(arguments: &mut FieldTable, key: &str, value: impl Into<mooq_core::FieldValue>) {
    if let Ok(key) = key.try_into() {
        arguments.insert(key, value);
    }
}

fn to_queue(source: ExchangeName, queue: QueueName) -> Binding {
    Binding {
        source,
        destination: BindingDestination::Queue(queue),
        routing_key: RoutingKey::default(),
        arguments: FieldTable::new(),
    }
}

/// The delay queues of a queue whose messages are retried, and the way back to it: the fanout
/// exchange `<queue>.retry`, to which only that queue is bound, so that no other queue gets a
/// message twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    queue: QueueName,
    back: ExchangeName,
    quorum: bool,
}

impl Ladder {
    /// The ladder of `queue`, of quorum queues if `quorum` is set.
    ///
    /// # Errors
    /// `InvalidName` if the queue's name leaves no room for what is added to it.
    pub fn new(queue: &QueueName, quorum: bool) -> Result<Self> {
        let ladder = Self {
            queue: queue.clone(),
            back: format!("{queue}.retry").try_into()?,
            quorum,
        };
        // The longest name that any delay makes.
        ladder.waiting(LONGEST)?;
        Ok(ladder)
    }

    fn waiting(&self, delay: Duration) -> Result<DelayQueue> {
        DelayQueue::new(self.back.as_str(), self.back.clone(), delay, self.quorum)
    }

    /// The exchange that leads back to the queue.
    #[must_use]
    pub fn back(&self) -> &ExchangeName {
        &self.back
    }

    /// The declaration of the exchange that leads back to the queue, and its binding.
    #[must_use]
    pub fn declare_back(&self) -> (ExchangeDeclare, Binding) {
        let declare = ExchangeDeclare::new(self.back.clone(), ExchangeKind::Fanout);
        (declare, to_queue(self.back.clone(), self.queue.clone()))
    }

    /// The place for a delay that is one of the policy's own, or that was rounded up to a step.
    /// None for no delay.
    #[must_use]
    pub fn place(&self, delay: Duration) -> Option<DelayQueue> {
        if delay.is_zero() {
            return None;
        }
        self.waiting(delay).ok()
    }

    /// The places for all delays of `retry`.
    #[must_use]
    pub fn planned(&self, retry: &Retry) -> Vec<DelayQueue> {
        let delays = retry.queued_delays();
        delays
            .into_iter()
            .filter_map(|delay| self.place(delay))
            .collect()
    }

    /// The places for all delays that messages of a consumer with `retry` may have.
    #[must_use]
    pub fn all(&self, retry: &Retry) -> Vec<DelayQueue> {
        let mut delays = retry.queued_delays();
        delays.extend(STEPS.into_iter().chain([LONGEST]));
        delays.sort_unstable();
        delays.dedup();
        delays
            .into_iter()
            .filter_map(|delay| self.place(delay))
            .collect()
    }
}

/// The name of the queue in which messages of `queue` are parked if the policy names none.
///
/// # Errors
/// `InvalidName` if the queue's name leaves no room for what is added to it.
pub fn parked_name(queue: &QueueName) -> Result<QueueName> {
    format!("{queue}.parked").try_into()
}

/// The declaration of a queue in which messages are parked.
#[must_use]
pub fn parking_queue(name: QueueName, quorum: bool) -> QueueDeclare {
    let mut declare = QueueDeclare::new(name);
    if quorum {
        set(&mut declare.arguments, "x-queue-type", "quorum");
    }
    declare
}

#[cfg(test)]
mod tests {
    use mooq_core::{ErrorKind, FieldValue};

    use super::*;

    fn named<T>(name: &str) -> T
    where
        T: for<'a> TryFrom<&'a str, Error = mooq_core::Error>,
    {
        name.try_into().unwrap()
    }

    fn names(places: &[DelayQueue]) -> Vec<&str> {
        places.iter().map(|place| place.queue().as_str()).collect()
    }

    #[test]
    fn ladder_is_named_after_its_queue_and_its_delays() {
        let ladder = Ladder::new(&named("orders"), false).unwrap();
        let retry = Retry::after([1, 30, 300].map(Duration::from_secs));
        assert_eq!(
            names(&ladder.planned(&retry)),
            ["orders.retry.1s", "orders.retry.30s", "orders.retry.5m"]
        );
        let place = ladder.place(Duration::from_secs(30)).unwrap();
        let declare = place.declare_queue();
        assert!(declare.durable && !declare.auto_delete && !declare.exclusive);
        let arguments = FieldTable::new()
            .with("x-message-ttl", 30_000_i64)
            .unwrap()
            .with("x-dead-letter-exchange", "orders.retry")
            .unwrap();
        assert_eq!(declare.arguments, arguments);
        assert_eq!(ladder.place(Duration::ZERO), None);
    }

    #[test]
    fn quorum_ladder_has_names_of_its_own_and_keeps_what_its_target_refuses() {
        let ladder = Ladder::new(&named("orders"), true).unwrap();
        let place = ladder.place(Duration::from_secs(30)).unwrap();
        assert_eq!(place.queue(), "orders.retry.30s.quorum");
        let strategy = place.declare_queue().arguments;
        let strategy = strategy.get("x-dead-letter-strategy");
        assert_eq!(strategy, Some(&FieldValue::from("at-least-once")));
    }

    #[test]
    fn delays_that_are_not_planned_are_rounded_up_to_steps() {
        let exchange = named("orders");
        let place = |delay| DelayQueue::of_exchange(&exchange, delay).unwrap();
        let name = |millis| {
            let place = place(Duration::from_millis(millis)).unwrap();
            place.queue().as_str().to_owned()
        };
        assert_eq!(place(Duration::ZERO), None);
        assert_eq!(name(1), "orders.delay.50ms");
        assert_eq!(name(30_000), "orders.delay.30s");
        assert_eq!(name(30_001), "orders.delay.45s");
        assert_eq!(name(u32::MAX.into()), "orders.delay.4294967295ms");
        let over = DelayQueue::of_exchange(&exchange, LONGEST + Duration::from_millis(1));
        assert_eq!(over.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let default = DelayQueue::of_exchange(&ExchangeName::default(), Duration::from_secs(1));
        assert_eq!(default.unwrap().unwrap().queue(), "mooq.delay.1s");
        assert_eq!(DelayQueue::all_of_exchange(&exchange).unwrap().len(), 36);
    }

    #[test]
    fn queue_whose_name_leaves_no_room_is_refused() {
        let name = "q".repeat(250);
        let err = Ladder::new(&named(&name), false).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidName);
        let err = DelayQueue::of_exchange(&named(&name), Duration::from_secs(1)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidName);
        assert!(parked_name(&named(&name)).is_err());
    }

    #[test]
    fn removal_covers_the_planned_delays_and_every_step() {
        let ladder = Ladder::new(&named("orders"), false).unwrap();
        let retry = Retry::after([30, 42].map(Duration::from_secs));
        let all = ladder.all(&retry);
        assert_eq!(all.len(), 37);
        assert!(names(&all).contains(&"orders.retry.42s"));
    }
}
