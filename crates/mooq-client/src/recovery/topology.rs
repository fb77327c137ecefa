//! What a connection has declared: exchanges, queues and bindings, to be declared again.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use mooq_core::{
    Binding, BindingDestination, ExchangeDeclare, ExchangeName, FieldTable, QueueDeclare,
    QueueName, RoutingKey,
};

type Map<K, V> = HashMap<K, V, RandomState>;

/// What was declared over a connection and not deleted, in the order in which it was.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    made: u64,
    exchanges: Map<ExchangeName, Made<ExchangeDeclare>>,
    /// By the name that the queue has now; the declare of one that the broker named has none.
    queues: Map<QueueName, Queue>,
    bindings: Map<BindingKey, Vec<Made<FieldTable>>>,
    /// What a queue that the broker named was called before, and what it is called now.
    renamed: Map<QueueName, QueueName>,
}

type BindingKey = (ExchangeName, BindingDestination, RoutingKey);

#[derive(Debug)]
struct Queue {
    declare: Made<QueueDeclare>,
    /// What it was called before, the first name first. A user may hold any of them.
    former: VecDeque<QueueName>,
}

/// How many former names of a queue are known. Of those in excess all but the first go, which is
/// the one that its declaring gave.
const FORMER_NAMES: usize = 1_000;

/// Something, and its place in the order.
#[derive(Debug)]
struct Made<T> {
    order: u64,
    what: T,
}

impl Topology {
    pub(crate) fn exchange_declared(&mut self, declare: &ExchangeDeclare) {
        // Those are the broker's own.
        let own = declare.name.is_empty() || declare.name.starts_with("amq.");
        if declare.passive || own {
            return;
        }
        let order = self.next_order();
        let made = self.exchanges.entry(declare.name.clone());
        made.or_insert(Made {
            order,
            what: declare.clone(),
        });
    }

    pub(crate) fn exchange_deleted(&mut self, name: &ExchangeName) {
        self.exchanges.remove(name);
        self.unbind_all(|source, destination| {
            let leads_there =
                matches!(destination, BindingDestination::Exchange(there) if there == name);
            source == name || leads_there
        });
    }

    /// The broker has, or has made, the queue `name` as `declare` asked.
    pub(crate) fn queue_declared(&mut self, declare: &QueueDeclare, name: &QueueName) {
        if declare.passive {
            return;
        }
        let order = self.next_order();
        let made = self.queues.entry(name.clone());
        made.or_insert_with(|| Queue {
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
        self.unbind_all(
            |_, destination| matches!(destination, BindingDestination::Queue(queue) if queue == name),
        );
    }

    pub(crate) fn bound(&mut self, binding: &Binding) {
        let order = self.next_order();
        let made = self.bindings.entry(key(binding)).or_default();
        if made.iter().all(|made| made.what != binding.arguments) {
            made.push(Made {
                order,
                what: binding.arguments.clone(),
            });
        }
    }

    /// Whether the queue is there after a restart of the broker too, with all of its bindings.
    pub(crate) fn stays(&self, declare: &QueueDeclare) -> bool {
        let goes = declare.name.is_empty() || declare.exclusive || declare.auto_delete;
        if goes || !declare.durable || declare.arguments.get("x-expires").is_some() {
            return false;
        }
        let sources = self.bindings_to(&declare.name).into_iter();
        let mut sources = sources.filter_map(|binding| self.exchanges.get(&binding.source));
        sources.all(|source| source.what.durable && !source.what.auto_delete)
    }

    pub(crate) fn is_bound(&self, binding: &Binding) -> bool {
        let made = self.bindings.get(&key(binding)).into_iter().flatten();
        made.into_iter().any(|made| made.what == binding.arguments)
    }

    pub(crate) fn unbound(&mut self, binding: &Binding) {
        let key = key(binding);
        if let Some(made) = self.bindings.get_mut(&key) {
            made.retain(|made| made.what != binding.arguments);
            if made.is_empty() {
                self.bindings.remove(&key);
                self.binding_gone(&key.0);
            }
        }
    }

    /// Forgets the bindings from a source to a destination that are `gone`.
    fn unbind_all(&mut self, gone: impl Fn(&ExchangeName, &BindingDestination) -> bool) {
        let gone = |(source, destination, _): &BindingKey| gone(source, destination);
        let gone = self.bindings.extract_if(|key, _| gone(key));
        let sources: Vec<_> = gone.map(|((source, ..), _)| source).collect();
        sources.iter().for_each(|source| self.binding_gone(source));
    }

    /// A binding from `source` is gone: an auto-delete exchange goes with its last one.
    fn binding_gone(&mut self, source: &ExchangeName) {
        let made = self.exchanges.get(source);
        if made.is_some_and(|made| made.what.auto_delete)
            && !self.bindings.keys().any(|(other, ..)| other == source)
        {
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

    /// The broker has given a queue a new name.
    pub(crate) fn rename(&mut self, old: &QueueName, new: &QueueName) {
        let Some(mut queue) = self.queues.remove(old) else {
            return;
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
        let of_it = |(_, destination, _): &BindingKey| matches!(destination, BindingDestination::Queue(queue) if queue == old);
        let moved: Vec<_> = self.bindings.extract_if(|key, _| of_it(key)).collect();
        for ((source, _, routing_key), made) in moved {
            let destination = BindingDestination::Queue(new.clone());
            self.bindings
                .insert((source, destination, routing_key), made);
        }
    }

    /// The exchanges, in order.
    pub(crate) fn exchanges(&self) -> Vec<ExchangeDeclare> {
        in_order(self.exchanges.values().map(|made| (made.order, &made.what)))
    }

    /// The queues, by the names that they have now, in order.
    pub(crate) fn queues(&self) -> Vec<(QueueName, QueueDeclare)> {
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_by_key(|(_, queue)| queue.declare.order);
        let queues = queues.into_iter();
        queues
            .map(|(name, queue)| (name.clone(), queue.declare.what.clone()))
            .collect()
    }

    /// The bindings, in order.
    pub(crate) fn bindings(&self) -> Vec<Binding> {
        self.bindings_that(|_| true)
    }

    /// Those that lead to `queue`, in order.
    pub(crate) fn bindings_to(&self, queue: &QueueName) -> Vec<Binding> {
        self.bindings_that(
            |destination| matches!(destination, BindingDestination::Queue(there) if there == queue),
        )
    }

    fn bindings_that(&self, wanted: impl Fn(&BindingDestination) -> bool) -> Vec<Binding> {
        let mut bindings: Vec<_> = self
            .bindings
            .iter()
            .filter(|((_, destination, _), _)| wanted(destination))
            .flat_map(|(key, made)| made.iter().map(move |made| (made.order, key, &made.what)))
            .collect();
        bindings.sort_by_key(|(order, ..)| *order);
        let bindings = bindings.into_iter();
        bindings
            .map(
                |(_, (source, destination, routing_key), arguments)| Binding {
                    source: source.clone(),
                    destination: destination.clone(),
                    routing_key: routing_key.clone(),
                    arguments: arguments.clone(),
                },
            )
            .collect()
    }

    fn next_order(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

fn key(binding: &Binding) -> BindingKey {
    (
        binding.source.clone(),
        binding.destination.clone(),
        binding.routing_key.clone(),
    )
}

fn in_order<'a, T: Clone + 'a>(made: impl Iterator<Item = (u64, &'a T)>) -> Vec<T> {
    let mut made: Vec<_> = made.collect();
    made.sort_by_key(|(order, _)| *order);
    made.into_iter().map(|(_, what)| what.clone()).collect()
}

#[cfg(test)]
mod tests;
