//! What goes wrong with a message on its way out.

use std::sync::Arc;

use mooq_core::Message;

use super::Fault;
use super::scope::Involved;
use crate::engine::Engine;
use crate::engine::arena::Key;
use crate::engine::channel::Channel;
use crate::engine::queue::Queue;

impl Engine {
    /// A message as it comes out of a queue for a channel: with another body if a fault strikes.
    pub(in crate::engine) fn perhaps_corrupted(
        &mut self,
        message: Arc<Message>,
        queue: Key<Queue>,
        channel: Key<Channel>,
    ) -> Arc<Message> {
        if self.faults.is_empty() {
            return message;
        }
        let corrupted = |fault: &Fault| matches!(fault, Fault::CorruptBodies(_)).then_some(());
        let exchange = Some(message.exchange.as_str());
        if self
            .strike_delivery(queue, channel, exchange, corrupted)
            .is_none()
        {
            return message;
        }
        let mut message = Arc::unwrap_or_clone(message);
        message.body = corrupt(&message.body).into();
        message.into()
    }

    /// Whether what a queue sends to a channel may be overtaken by what another one sends.
    pub(in crate::engine) fn reorders(&mut self, queue: Key<Queue>, channel: Key<Channel>) -> bool {
        if self.faults.is_empty() {
            return false;
        }
        let reordered = |fault: &Fault| matches!(fault, Fault::ReorderQueues).then_some(());
        self.strike_delivery(queue, channel, None, reordered)
            .is_some()
    }

    /// Whether a queue delivers nothing.
    pub(in crate::engine) fn is_held(&self, queue: Key<Queue>) -> bool {
        if self.faults.is_empty() {
            return false;
        }
        let queue = self.queues.get(queue).map(|queue| queue.name.as_str());
        let what = Involved {
            queues: queue.as_slice(),
            ..Involved::default()
        };
        let mut active = self.faults.active.iter();
        active.any(|active| active.fault == Fault::HoldQueues && active.scope.fits(what))
    }

    /// Lets queues deliver again that were held.
    pub(super) fn resume_queues(&mut self) {
        let waiting = self.queues.iter();
        let waiting: Vec<_> = waiting
            .filter(|(_, queue)| !queue.ready.is_empty())
            .map(|(key, _)| key)
            .collect();
        for queue in waiting {
            self.pump(queue);
        }
    }

    /// Brings the order of what is under way in line with the faults as they are now.
    pub(super) fn adapt_transit(&mut self) {
        let mut active = self.faults.active.iter();
        let is_reordered = active.any(|active| active.fault == Fault::ReorderQueues);
        if self.transit.latest_first && !is_reordered && !self.is_seeded() {
            self.await_all();
        }
        self.transit.latest_first = is_reordered;
    }

    fn strike_delivery<T>(
        &mut self,
        queue: Key<Queue>,
        channel: Key<Channel>,
        exchange: Option<&str>,
        effect: impl Fn(&Fault) -> Option<T>,
    ) -> Option<T> {
        let queue = self.queues.get(queue).map(|queue| queue.name.as_str());
        let channel = self.channels.get(channel);
        let connection = channel.and_then(|c| self.connections.get(c.connection.0));
        let what = Involved {
            exchange,
            queues: queue.as_slice(),
            ..Involved::connection(connection.and_then(|open| open.name.as_deref()))
        };
        self.faults.strike(what, effect)
    }
}

/// Other bytes than these, and no text: every bit is turned. Nothing becomes a single byte that is
/// in no text either.
fn corrupt(body: &[u8]) -> Vec<u8> {
    if body.is_empty() {
        return vec![0xff];
    }
    body.iter().map(|byte| !byte).collect()
}
