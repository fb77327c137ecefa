//! Routing of a message to its queues: through exchanges bound to exchanges and alternate
//! exchanges, to each queue once.

use slotmap::SlotMap;

use super::bindings::Destination;
use super::delayed_exchange;
use super::exchange::Exchange;
use super::ids::{ExchangeId, QueueId};
use super::message::Accepted;
use super::queue::Queue;
use super::random::Random;
use super::vhost::VirtualHost;

/// Routes messages. Between two messages it keeps only its buffers, to save allocations, and the
/// state of the random choices.
#[derive(Debug)]
pub(crate) struct Router {
    /// Number of the present message. Queues and exchanges that bear this number have been visited.
    message: u64,
    /// Exchanges yet to be visited.
    exchanges: Vec<ExchangeId>,
    /// Destinations of the present exchange's bindings.
    destinations: Vec<Destination>,
    /// The queues found.
    queues: Vec<QueueId>,
    /// The exchanges that hold the message back, with the delay in milliseconds.
    pub(crate) delays: Vec<(ExchangeId, u64)>,
    /// Source of the choices of exchange kinds that route at random.
    random: Random,
}

/// The exchanges and queues that a message can pass through.
pub(crate) struct Topology<'a> {
    pub(crate) vhost: &'a VirtualHost,
    pub(crate) exchanges: &'a mut SlotMap<ExchangeId, Exchange>,
    pub(crate) queues: &'a mut SlotMap<QueueId, Queue>,
}

impl Router {
    /// Creates a router whose random choices follow from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            message: 0,
            exchanges: Vec::new(),
            destinations: Vec::new(),
            queues: Vec::new(),
            delays: Vec::new(),
            // A different sequence from the one that generates names.
            random: Random::new(seed.rotate_left(32) ^ 0x5851_f42d_4c95_7f2d),
        }
    }

    /// Returns the queues that a message to `exchange` goes to, each once.
    ///
    /// The caller hands the list to [`Self::put_back`] after use.
    pub(crate) fn route(
        &mut self,
        topology: &mut Topology<'_>,
        exchange: ExchangeId,
        accepted: &Accepted,
    ) -> Vec<QueueId> {
        self.message += 1;
        let is_default = |exchange: &Exchange| exchange.name.is_empty();
        if topology.exchanges.get(exchange).is_some_and(is_default) {
            for key in accepted.keys() {
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
            let delay = exchange.delayed.is_some().then_some(&accepted.message);
            let delay =
                delay.and_then(|message| delayed_exchange::delay(&message.properties.headers));
            if let Some(millis) = delay {
                self.delays.push((key, millis));
            } else {
                if let Some(history) = &mut exchange.history {
                    history.keep(accepted);
                }
                exchange
                    .bindings
                    .route(accepted, &mut self.random, &mut destinations);
            }
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

    /// Takes back the list that [`Self::route`] returned, to reuse its allocation.
    pub(crate) fn put_back(&mut self, mut queues: Vec<QueueId>) {
        queues.clear();
        self.queues = queues;
    }

    /// Adds a destination, unless this message has been there already.
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
