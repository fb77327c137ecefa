//! Teardown of an exchange with its bindings, and of the auto-delete exchanges that lose their last
//! binding by it.

use crate::Engine;
use crate::bindings::Destination;
use crate::exchange::Exchange;
use crate::ids::ExchangeId;

impl Engine {
    /// Removes an exchange with all its bindings.
    pub(crate) fn delete_exchange(&mut self, key: ExchangeId) {
        let mut going = vec![key];
        while let Some(key) = going.pop() {
            let Some(exchange) = self.exchanges.remove(key) else {
                continue;
            };
            if let Some(vhost) = self.vhosts.get_mut(exchange.vhost) {
                vhost.exchanges.remove(&exchange.name);
            }
            for (destination, routing_key) in exchange.bindings.iter() {
                self.note_unbound(key, destination, routing_key);
            }
            for (source, routing_key) in exchange.bound_to {
                if let Some(exchange) = self.exchanges.get_mut(source) {
                    exchange
                        .bindings
                        .remove_all(Destination::Exchange(key), &routing_key);
                    if exchange.is_abandoned() {
                        going.push(source);
                    }
                }
            }
        }
    }

    /// Removes an auto-delete exchange whose last binding has just been removed.
    pub(crate) fn delete_exchange_if_abandoned(&mut self, key: ExchangeId) {
        if self.exchanges.get(key).is_some_and(Exchange::is_abandoned) {
            self.delete_exchange(key);
        }
    }

    /// Removes a binding from its destination's own list of bindings.
    pub(crate) fn note_unbound(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &mooq_core::RoutingKey,
    ) {
        let binding = (source, routing_key.clone());
        match destination {
            Destination::Queue(queue) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.bound_to.remove(&binding);
                }
            }
            Destination::Exchange(exchange) => {
                if let Some(exchange) = self.exchanges.get_mut(exchange) {
                    exchange.bound_to.remove(&binding);
                }
            }
        }
    }
}
