//! Teardown at a restart: everything that is not durable.

use crate::Engine;
use crate::bindings::Destination;
use crate::queue::Queue;
use crate::queue::tally::QueueTally;

impl Engine {
    /// Removes everything that does not survive a restart: transient messages and queues, and in
    /// versions that do not keep them transient exchanges.
    pub fn forget_transient(&mut self) {
        let transient = |queue: &Queue| !queue.durable;
        let queues: Vec<_> = self
            .queues
            .iter()
            .map(|(key, queue)| (key, transient(queue)))
            .collect();
        for (key, transient) in queues {
            if transient {
                self.delete_queue(key);
                continue;
            }
            // The queue has not been used since the start.
            self.renew_lease(key);
            if let Some(queue) = self.queues.get_mut(key) {
                queue.ready.forget_transient();
                queue.forget_returns();
                if let Some(quorum) = &mut queue.quorum {
                    quorum.dead_letters.restart();
                }
                queue.tally = QueueTally {
                    arrived: (queue.ready.len() + queue.delayed()) as u64,
                    ..QueueTally::default()
                };
            }
        }
        let queues: Vec<_> = self.queues.iter().map(|(key, _)| key).collect();
        let keeps_all = self.options.profile.keeps_transient_exchanges();
        let exchanges = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| !exchange.durable && !keeps_all);
        let transient: Vec<_> = exchanges.map(|(key, _)| key).collect();
        for key in transient {
            self.delete_exchange(key);
        }
        if !self.options.profile.keeps_state_of_exchanges() {
            self.forget_state_of_exchanges();
        }
        for queue in queues {
            self.publish_kept_dead_letters(queue);
        }
        self.finish();
    }

    /// Empties the histories of exchanges, and reorders the bindings whose order counts. The new
    /// order is the one in which RabbitMQ finds bindings again: by key, then exchanges before
    /// queues, then by name.
    fn forget_state_of_exchanges(&mut self) {
        let mut orders = Vec::new();
        for (key, exchange) in &self.exchanges {
            if exchange.bindings.are_ordered() {
                let bindings = exchange.bindings.iter();
                let named = bindings.filter_map(|(destination, routing_key)| {
                    let place = match destination {
                        Destination::Exchange(key) => {
                            (false, self.exchanges.get(key)?.name.to_string())
                        }
                        Destination::Queue(key) => (true, self.queues.get(key)?.name.to_string()),
                    };
                    Some((routing_key.clone(), place, destination))
                });
                let mut order: Vec<_> = named.collect();
                order.sort_by(|a, b| (a.0.as_str(), &a.1).cmp(&(b.0.as_str(), &b.1)));
                let order = order
                    .into_iter()
                    .map(|(key, _, destination)| (destination, key));
                orders.push((key, order.collect::<Vec<_>>()));
            }
        }
        for (key, order) in orders {
            if let Some(exchange) = self.exchanges.get_mut(key) {
                exchange.bindings.reorder(&order);
            }
        }
        let keys: Vec<_> = self.exchanges.iter().map(|(key, _)| key).collect();
        for key in keys {
            let exchange = self.exchanges.get_mut(key);
            if let Some(history) = exchange.and_then(|exchange| exchange.history.as_mut()) {
                history.clear();
            }
        }
    }
}
