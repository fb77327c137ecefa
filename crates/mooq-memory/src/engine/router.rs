//! Which queues a message goes to: through exchanges bound to exchanges and alternate exchanges,
//! to each queue once.

use mooq_core::{FieldTable, RoutingKey};

use super::arena::{Arena, Key};
use super::bindings::Destination;
use super::exchange::Exchange;
use super::queue::Queue;
use super::vhost::VirtualHost;

/// Routes messages. What it keeps from one to the next is only what saves allocations.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// The number of the present message: what bears it has been visited.
    message: u64,
    /// Exchanges yet to be visited.
    exchanges: Vec<Key<Exchange>>,
    /// Where the present exchange's bindings lead.
    destinations: Vec<Destination>,
    /// The queues found.
    queues: Vec<Key<Queue>>,
}

/// What routing looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address<'a> {
    pub(crate) key: &'a str,
    /// The keys from the headers CC and BCC ([sender-selected distribution](https://www.rabbitmq.com/docs/sender-selected)).
    pub(crate) more_keys: &'a [RoutingKey],
    pub(crate) headers: &'a FieldTable,
}

impl<'a> Address<'a> {
    fn keys(self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.key).chain(self.more_keys.iter().map(RoutingKey::as_str))
    }
}

/// What a message can pass through.
pub(crate) struct Topology<'a> {
    pub(crate) vhost: &'a VirtualHost,
    pub(crate) exchanges: &'a mut Arena<Exchange>,
    pub(crate) queues: &'a mut Arena<Queue>,
}

impl Router {
    /// The queues that a message to `exchange` goes to, each once.
    ///
    /// The caller gives the list back with [`Self::put_back`] when it is done with it.
    pub(crate) fn route(
        &mut self,
        topology: &mut Topology<'_>,
        exchange: Key<Exchange>,
        address: Address<'_>,
    ) -> Vec<Key<Queue>> {
        self.message += 1;
        let is_default = |exchange: &Exchange| exchange.name.is_empty();
        if topology.exchanges.get(exchange).is_some_and(is_default) {
            for key in address.keys() {
                if let Some(&queue) = topology.vhost.queues.get(key) {
                    self.found(topology, Destination::Queue(queue));
                }
            }
            return std::mem::take(&mut self.queues);
        }
        self.found(topology, Destination::Exchange(exchange));
        while let Some(key) = self.exchanges.pop() {
            let Some(exchange) = topology.exchanges.get_mut(key) else {
                continue;
            };
            let mut destinations = std::mem::take(&mut self.destinations);
            exchange
                .bindings
                .route(address.keys(), address.headers, &mut destinations);
            if destinations.is_empty()
                && let Some(alternate) = exchange.alternate()
                && let Some(&alternate) = topology.vhost.exchanges.get(alternate)
            {
                destinations.push(Destination::Exchange(alternate));
            }
            for destination in destinations.drain(..) {
                self.found(topology, destination);
            }
            self.destinations = destinations;
        }
        std::mem::take(&mut self.queues)
    }

    /// Takes back the list that [`Self::route`] gave, for its allocation.
    pub(crate) fn put_back(&mut self, mut queues: Vec<Key<Queue>>) {
        queues.clear();
        self.queues = queues;
    }

    /// Notes a destination, unless this message has been there already.
    fn found(&mut self, topology: &mut Topology<'_>, destination: Destination) {
        let message = self.message;
        let is_new = |routed: &mut u64| std::mem::replace(routed, message) != message;
        match destination {
            Destination::Queue(key) => {
                if let Some(queue) = topology.queues.get_mut(key)
                    && is_new(&mut queue.routed)
                {
                    self.queues.push(key);
                }
            }
            Destination::Exchange(key) => {
                if let Some(exchange) = topology.exchanges.get_mut(key)
                    && is_new(&mut exchange.routed)
                {
                    self.exchanges.push(key);
                }
            }
        }
    }
}
