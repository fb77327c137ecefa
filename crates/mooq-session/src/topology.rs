//! Topology of a connection: its exchanges, queues and bindings, for redeclaring.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use foldhash::fast::RandomState;
use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeName, FieldTable, FieldValue,
    QueueDeclare, QueueName,
};

use bindings::Bindings;

mod bindings;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Resources that were declared over a connection and not deleted, in the order of their
/// declaration.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    made: u64,
    exchanges: Map<ExchangeName, Made<ExchangeDeclare>>,
    /// Keyed by the queue's current name; the declare of a server-named queue has none.
    queues: Map<QueueName, Queue>,
    bindings: Bindings,
    /// Current names of server-named queues, by former names.
    renamed: Map<QueueName, QueueName>,
}

#[derive(Debug)]
struct Queue {
    declare: Made<QueueDeclare>,
    /// Former names of the queue, the first name first. A user may hold any of them.
    former: VecDeque<QueueName>,
}

impl Queue {
    fn named(&self, name: &QueueName) -> Made<(QueueName, QueueDeclare)> {
        Made {
            order: self.declare.order,
            what: (name.clone(), self.declare.what.clone()),
        }
    }
}

/// Resources to redeclare, each kind in the order of its declaration; queues by their current
/// names.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) exchanges: Vec<ExchangeDeclare>,
    pub(crate) queues: Vec<(QueueName, QueueDeclare)>,
    pub(crate) bindings: Vec<Binding>,
}

/// Known destination of a queue's rejected messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterInfo {
    /// The queue has a dead-letter exchange.
    pub dead_letter_exchange: bool,
    /// Number of failed deliveries that the queue allows.
    pub delivery_limit: Option<u32>,
}

impl DeadLetterInfo {
    /// Reads the arguments that a queue was declared with.
    #[must_use]
    pub fn of(arguments: &FieldTable) -> Self {
        let limit = arguments.get("x-delivery-limit");
        Self {
            dead_letter_exchange: arguments.get("x-dead-letter-exchange").is_some(),
            // A negative limit means none.
            delivery_limit: limit
                .and_then(FieldValue::as_i64)
                .and_then(|limit| u32::try_from(limit).ok()),
        }
    }
}

/// Where a queue's dead letters go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum DeadLetterTarget {
    Exchange(ExchangeName),
    /// Through the default exchange.
    Queue(QueueName),
}

impl fmt::Display for DeadLetterTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name) => write!(f, "exchange '{name}'"),
            Self::Queue(name) => write!(f, "queue '{name}'"),
        }
    }
}

/// Number of former names of a queue that are kept. Excess names are dropped, but never the first,
/// which is the one that its declaration returned.
const FORMER_NAMES: usize = 1_000;

/// A resource, and its place in the order.
#[derive(Debug, Clone)]
struct Made<T> {
    order: u64,
    what: T,
}

impl Topology {
    /// Records an exchange that exists as `declare` asked. If one of its name was recorded before,
    /// either that one was deleted without this connection's doing, or it is the same.
    pub(crate) fn exchange_declared(&mut self, declare: &ExchangeDeclare) {
        // The broker's own exchanges.
        let own = declare.name.is_empty() || declare.name.starts_with("amq.");
        if declare.passive || own {
            return;
        }
        let order = self.next_order();
        let made = self.exchanges.entry(declare.name.clone());
        made.and_modify(|made| made.what.clone_from(declare))
            .or_insert_with(|| Made {
                order,
                what: declare.clone(),
            });
    }

    pub(crate) fn exchange_deleted(&mut self, name: &ExchangeName) {
        self.exchanges.remove(name);
        self.bindings.remove_from(name);
        self.destination_gone(&BindingDestination::Exchange(name.clone()));
    }

    /// Records the queue `name`, which exists as `declare` asked.
    pub(crate) fn queue_declared(&mut self, declare: &QueueDeclare, name: &QueueName) {
        if declare.passive {
            return;
        }
        let order = self.next_order();
        let made = self.queues.entry(name.clone());
        made.and_modify(|queue| queue.declare.what.clone_from(declare))
            .or_insert_with(|| Queue {
                declare: Made {
                    order,
                    what: declare.clone(),
                },
                former: VecDeque::new(),
            });
    }

    pub(crate) fn queue_deleted(&mut self, name: &QueueName) {
        let former = self.queues.remove(name).map(|queue| queue.former);
        for old in former.into_iter().flatten() {
            self.renamed.remove(&old);
        }
        self.destination_gone(&BindingDestination::Queue(name.clone()));
    }

    pub(crate) fn bound(&mut self, binding: &Binding) {
        let order = self.next_order();
        self.bindings.add(binding, order);
    }

    /// Returns true if the queue and all of its bindings survive a restart of the broker.
    pub(crate) fn survives_restart(&self, declare: &QueueDeclare) -> bool {
        let goes = declare.name.is_empty() || declare.exclusive || declare.auto_delete;
        if goes || !declare.durable || declare.arguments.get("x-expires").is_some() {
            return false;
        }
        let destination = BindingDestination::Queue(declare.name.clone());
        let sources = self.bindings.sources(&destination);
        let mut sources = sources.filter_map(|source| self.exchanges.get(source));
        sources.all(|source| source.what.durable && !source.what.auto_delete)
    }

    pub(crate) fn is_bound(&self, binding: &Binding) -> bool {
        self.bindings.contains(binding)
    }

    pub(crate) fn unbound(&mut self, binding: &Binding) {
        if self.bindings.remove(binding) {
            self.last_binding_gone(&binding.source);
        }
    }

    fn destination_gone(&mut self, destination: &BindingDestination) {
        for source in self.bindings.remove_to(destination) {
            self.last_binding_gone(&source);
        }
    }

    fn goes_with_last_binding(&self, exchange: &ExchangeName) -> bool {
        let made = self.exchanges.get(exchange);
        made.is_some_and(|made| made.what.auto_delete)
    }

    /// Handles the removal of the last binding from `source`: an auto-delete exchange is deleted
    /// with it.
    fn last_binding_gone(&mut self, source: &ExchangeName) {
        if self.goes_with_last_binding(source) {
            self.exchange_deleted(source);
        }
    }

    /// Returns true if this connection declared queue `name` as auto-delete.
    pub(crate) fn is_auto_delete(&self, name: &QueueName) -> bool {
        let queue = self.queues.get(name);
        queue.is_some_and(|queue| queue.declare.what.auto_delete)
    }

    /// Returns true if this connection declared queue `name` with a single active consumer.
    pub(crate) fn is_single_active(&self, name: &QueueName) -> bool {
        let queue = self.queues.get(name);
        queue.is_some_and(|queue| {
            let arguments = &queue.declare.what.arguments;
            let single = arguments.get("x-single-active-consumer");
            matches!(single, Some(FieldValue::Bool(true)))
        })
    }

    /// Returns the known destination of the rejected messages of queue `name`.
    pub(crate) fn dead_letter_info(&self, name: &QueueName) -> DeadLetterInfo {
        let queue = self.queues.get(name);
        queue.map_or_else(DeadLetterInfo::default, |queue| {
            DeadLetterInfo::of(&queue.declare.what.arguments)
        })
    }

    /// Returns where the rejected messages of queue `name` go. None if the queue has no dead-letter
    /// exchange, or the default one without a routing key: then each message's own key decides.
    pub(crate) fn dead_letter_target(&self, name: &QueueName) -> Option<DeadLetterTarget> {
        let arguments = &self.queues.get(name)?.declare.what.arguments;
        let text = |key| arguments.get(key).and_then(FieldValue::as_str);
        let exchange = text("x-dead-letter-exchange")?;
        if !exchange.is_empty() {
            return exchange.try_into().ok().map(DeadLetterTarget::Exchange);
        }
        let queue = text("x-dead-letter-routing-key")?;
        queue.try_into().ok().map(DeadLetterTarget::Queue)
    }

    /// Returns the current name of the queue once called `name`.
    pub(crate) fn current_name(&self, name: &QueueName) -> Option<&QueueName> {
        self.renamed.get(name)
    }

    /// Records that the broker has given a queue a new name. False if there is no such queue.
    pub(crate) fn rename(&mut self, old: &QueueName, new: &QueueName) -> bool {
        let Some(mut queue) = self.queues.remove(old) else {
            return false;
        };
        queue.former.push_back(old.clone());
        if queue.former.len() > FORMER_NAMES
            && let Some(forgotten) = queue.former.remove(1)
        {
            self.renamed.remove(&forgotten);
        }
        for former in &queue.former {
            self.renamed.insert(former.clone(), new.clone());
        }
        self.queues.insert(new.clone(), queue);
        let [old, new] = [old, new].map(|name| BindingDestination::Queue(name.clone()));
        self.bindings.redirect(&old, new);
        true
    }

    pub(crate) fn has_exchange(&self, name: &ExchangeName) -> bool {
        self.exchanges.contains_key(name)
    }

    pub(crate) fn has_queue(&self, name: &QueueName) -> bool {
        self.queues.contains_key(name)
    }

    /// Returns the whole topology.
    pub(crate) fn everything(&self) -> Declared {
        Declared {
            exchanges: self.exchanges(),
            queues: self.queues(),
            bindings: self.bindings(),
        }
    }

    /// Returns everything that is deleted with these queues: the queues, their bindings, the
    /// auto-delete exchanges that are the sources of those bindings, and in turn the bindings of
    /// those exchanges.
    pub(crate) fn gone_with(&self, queues: &[QueueName]) -> Declared {
        let (mut exchanges, mut seen) = (Vec::new(), HashSet::new());
        let mut bindings = Vec::new();
        let destinations = queues.iter().cloned().map(BindingDestination::Queue);
        let mut left: Vec<_> = destinations.collect();
        while let Some(destination) = left.pop() {
            if !seen.insert(destination.clone()) {
                continue;
            }
            let sources = self.bindings.sources(&destination).cloned();
            let going = sources.filter(|source| self.goes_with_last_binding(source));
            left.extend(going.map(BindingDestination::Exchange));
            bindings.extend(self.bindings.to(&destination));
            if let BindingDestination::Exchange(name) = &destination {
                exchanges.extend(self.exchanges.get(name).cloned());
            }
        }
        let queues = queues.iter().filter_map(|name| {
            let queue = self.queues.get(name)?;
            Some(queue.named(name))
        });
        Declared {
            exchanges: in_order(exchanges.into_iter()),
            queues: in_order(queues),
            bindings: in_order(bindings.into_iter()),
        }
    }

    /// Returns the exchanges, in order.
    fn exchanges(&self) -> Vec<ExchangeDeclare> {
        in_order(self.exchanges.values().cloned())
    }

    /// Returns the queues by their current names, in order.
    fn queues(&self) -> Vec<(QueueName, QueueDeclare)> {
        in_order(self.queues.iter().map(|(name, queue)| queue.named(name)))
    }

    /// Returns the bindings, in order.
    fn bindings(&self) -> Vec<Binding> {
        in_order(self.bindings.all())
    }

    /// Returns the bindings to `queue`, in order.
    pub(crate) fn bindings_to(&self, queue: &QueueName) -> Vec<Binding> {
        in_order(self.bindings.to(&BindingDestination::Queue(queue.clone())))
    }

    fn next_order(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

fn in_order<T>(made: impl Iterator<Item = Made<T>>) -> Vec<T> {
    let mut made: Vec<_> = made.collect();
    made.sort_by_key(|made| made.order);
    made.into_iter().map(|made| made.what).collect()
}

#[cfg(test)]
mod tests;
