//! What a connection has declared: exchanges, queues and bindings, to be declared again.

use std::collections::HashMap;

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
    queues: Map<QueueName, Made<QueueDeclare>>,
    bindings: Map<BindingKey, Vec<Made<FieldTable>>>,
    /// What a queue that the broker named was called before, and what it is called now.
    renamed: Map<QueueName, QueueName>,
}

type BindingKey = (ExchangeName, BindingDestination, RoutingKey);

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
        self.bindings.retain(|(source, destination, _), _| {
            let leads_there =
                matches!(destination, BindingDestination::Exchange(there) if there == name);
            source != name && !leads_there
        });
    }

    /// The broker has, or has made, the queue `name` as `declare` asked.
    pub(crate) fn queue_declared(&mut self, declare: &QueueDeclare, name: &QueueName) {
        if declare.passive {
            return;
        }
        let order = self.next_order();
        let made = self.queues.entry(name.clone());
        made.or_insert(Made {
            order,
            what: declare.clone(),
        });
    }

    pub(crate) fn queue_deleted(&mut self, name: &QueueName) {
        self.queues.remove(name);
        self.renamed.retain(|_, now| now != name);
        self.bindings.retain(|(_, destination, _), _| {
            !matches!(destination, BindingDestination::Queue(queue) if queue == name)
        });
    }

    /// The last consumer of this connection on queue `name` was cancelled: an auto-delete queue
    /// goes with it.
    pub(crate) fn consumers_gone(&mut self, name: &QueueName) {
        if self.is_auto_delete(name) {
            self.queue_deleted(name);
        }
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

    pub(crate) fn unbound(&mut self, binding: &Binding) {
        let key = key(binding);
        if let Some(made) = self.bindings.get_mut(&key) {
            made.retain(|made| made.what != binding.arguments);
            if made.is_empty() {
                self.bindings.remove(&key);
            }
        }
    }

    /// Whether this connection declared queue `name` to go with its last consumer.
    pub(crate) fn is_auto_delete(&self, name: &QueueName) -> bool {
        let made = self.queues.get(name);
        made.is_some_and(|made| made.what.auto_delete)
    }

    /// What the queue once called `name` is called now.
    pub(crate) fn current_name(&self, name: &QueueName) -> Option<&QueueName> {
        self.renamed.get(name)
    }

    /// The broker has given a queue a new name.
    pub(crate) fn rename(&mut self, old: &QueueName, new: &QueueName) {
        if let Some(made) = self.queues.remove(old) {
            self.queues.insert(new.clone(), made);
        }
        let of_it = |(_, destination, _): &BindingKey| matches!(destination, BindingDestination::Queue(queue) if queue == old);
        let moved: Vec<_> = self.bindings.extract_if(|key, _| of_it(key)).collect();
        for ((source, _, routing_key), made) in moved {
            let destination = BindingDestination::Queue(new.clone());
            self.bindings
                .insert((source, destination, routing_key), made);
        }
        for now in self.renamed.values_mut().filter(|now| *now == old) {
            now.clone_from(new);
        }
        self.renamed.insert(old.clone(), new.clone());
    }

    /// The exchanges, in order.
    pub(crate) fn exchanges(&self) -> Vec<ExchangeDeclare> {
        in_order(self.exchanges.values().map(|made| (made.order, &made.what)))
    }

    /// The queues, by the names that they have now, in order.
    pub(crate) fn queues(&self) -> Vec<(QueueName, QueueDeclare)> {
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_by_key(|(_, made)| made.order);
        let queues = queues.into_iter();
        queues
            .map(|(name, made)| (name.clone(), made.what.clone()))
            .collect()
    }

    /// The bindings, in order.
    pub(crate) fn bindings(&self) -> Vec<Binding> {
        let mut bindings: Vec<_> = self
            .bindings
            .iter()
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
