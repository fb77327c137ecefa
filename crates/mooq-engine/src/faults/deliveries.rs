//! Faults of deliveries.

use std::sync::Arc;

use mooq_core::Message;

use super::Fault;
use super::scope::Involved;
use crate::Engine;
use crate::ids::{ChannelId, QueueId};

impl Engine {
    /// Returns a message as it comes out of a queue for a channel, with another body if a fault
    /// strikes.
    pub(crate) fn perhaps_corrupted(
        &mut self,
        message: Arc<Message>,
        queue: QueueId,
        channel: ChannelId,
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

    /// Lets a fault strike a delivery from a queue to a channel. Returns true if one did: deliveries
    /// from another queue may then overtake it.
    pub(crate) fn strike_order(&mut self, queue: QueueId, channel: ChannelId) -> bool {
        if self.faults.is_empty() {
            return false;
        }
        let reordered = |fault: &Fault| matches!(fault, Fault::ReorderQueues).then_some(());
        self.strike_delivery(queue, channel, None, reordered)
            .is_some()
    }

    /// Returns true if a queue delivers nothing because of a fault.
    pub(crate) fn is_held(&self, queue: QueueId) -> bool {
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

    /// Resumes the deliveries of queues that were held.
    pub(super) fn resume_queues(&mut self) {
        let waiting = self.queues.iter();
        let waiting: Vec<_> = waiting
            .filter(|(_, queue)| !queue.ready.is_empty())
            .map(|(key, _)| key)
            .collect();
        for queue in waiting {
            self.deliver_ready(queue);
        }
    }

    /// Brings the order of the items in transit in line with the current faults.
    pub(super) fn adapt_order_in_transit(&mut self) {
        let mut active = self.faults.active.iter();
        let is_reordered = active.any(|active| active.fault == Fault::ReorderQueues);
        if self.in_transit.latest_first && !is_reordered && !self.is_seeded() {
            self.await_all();
        }
        self.in_transit.latest_first = is_reordered;
    }

    fn strike_delivery<T>(
        &mut self,
        queue: QueueId,
        channel: ChannelId,
        exchange: Option<&str>,
        effect: impl Fn(&Fault) -> Option<T>,
    ) -> Option<T> {
        let queue = self.queues.get(queue).map(|queue| queue.name.as_str());
        let channel = self.channels.get(channel);
        let connection = channel.and_then(|c| self.connections.get(c.connection));
        let what = Involved {
            exchange,
            queues: queue.as_slice(),
            ..Involved::connection(connection.and_then(|open| open.name.as_deref()))
        };
        self.faults.strike(what, effect)
    }
}

/// Corrupts a body: flips every bit, so that the result differs from the body and is not text. An
/// empty body becomes a single byte that is in no text either.
fn corrupt(body: &[u8]) -> Vec<u8> {
    if body.is_empty() {
        return vec![0xff];
    }
    body.iter().map(|byte| !byte).collect()
}
