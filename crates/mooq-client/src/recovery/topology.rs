//! What a connection has declared: exchanges, queues and bindings, to be declared again.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;
use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeName, QueueDeclare, QueueName,
};

use bindings::Bindings;

mod bindings;

type Map<K, V> = HashMap<K, V, RandomState>;

/// What was declared over a connection and not deleted, in the order in which it was.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    made: u64,
    exchanges: Map<ExchangeName, Made<ExchangeDeclare>>,
    /// By the name that the queue has now; the declare of one that the broker named has none.
    queues: Map<QueueName, Queue>,
    bindings: Bindings,
    /// What a queue that the broker named was called before, and what it is called now.
    renamed: Map<QueueName, QueueName>,
}

#[derive(Debug)]
struct Queue {
    declare: Made<QueueDeclare>,
    /// What it was called before, the first name first. A user may hold any of them.
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

/// What is to be declared again, each in the order in which it was declared; queues by the names
/// that they have now.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) exchanges: Vec<ExchangeDeclare>,
    pub(crate) queues: Vec<(QueueName, QueueDeclare)>,
    pub(crate) bindings: Vec<Binding>,
}

/// How many former names of a queue are known. Of those in excess all but the first go, which is
/// the one that its declaring gave.
const FORMER_NAMES: usize = 1_000;

/// Something, and its place in the order.
#[derive(Debug, Clone)]
struct Made<T> {
    order: u64,
    what: T,
}

impl Topology {
    /// The broker has, or has made, an exchange as `declare` asked. If there was one of its name, that
    /// has gone without this connection's doing, or it is the same.
    pub(crate) fn exchange_declared(&mut self, declare: &ExchangeDeclare) {
        // Those are the broker's own.
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

    /// The broker has, or has made, the queue `name` as `declare` asked.
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

    /// Whether the queue is there after a restart of the broker too, with all of its bindings.
    pub(crate) fn stays(&self, declare: &QueueDeclare) -> bool {
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

    /// No binding from `source` is left: an auto-delete exchange goes with its last one.
    fn last_binding_gone(&mut self, source: &ExchangeName) {
        if self.goes_with_last_binding(source) {
            self.exchange_deleted(source);
        }
    }

    /// Whether this connection declared queue `name` to go with its last consumer.
    pub(crate) fn is_auto_delete(&self, name: &QueueName) -> bool {
        let queue = self.queues.get(name);
        queue.is_some_and(|queue| queue.declare.what.auto_delete)
    }

    /// What the queue once called `name` is called now.
    pub(crate) fn current_name(&self, name: &QueueName) -> Option<&QueueName> {
        self.renamed.get(name)
    }

    /// The broker has given a queue a new name. False if there is no such queue.
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

    /// All of it.
    pub(crate) fn everything(&self) -> Declared {
        Declared {
            exchanges: self.exchanges(),
            queues: self.queues(),
            bindings: self.bindings(),
        }
    }

    /// What is gone if these queues are: they, their bindings, the auto-delete exchanges that those
    /// come from, and in turn theirs.
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

    /// The exchanges, in order.
    fn exchanges(&self) -> Vec<ExchangeDeclare> {
        in_order(self.exchanges.values().cloned())
    }

    /// The queues, by the names that they have now, in order.
    fn queues(&self) -> Vec<(QueueName, QueueDeclare)> {
        in_order(self.queues.iter().map(|(name, queue)| queue.named(name)))
    }

    /// The bindings, in order.
    fn bindings(&self) -> Vec<Binding> {
        in_order(self.bindings.all())
    }

    /// Those that lead to `queue`, in order.
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
