//! Teardown of a queue with its bindings and consumers.

use crate::Engine;
use crate::bindings::Destination;
use crate::ids::QueueId;
use crate::recording::TimelineEvent;

impl Engine {
    /// Removes a queue and notifies its consumers. Returns the number of ready messages.
    pub(crate) fn delete_queue(&mut self, key: QueueId) -> usize {
        self.await_queue(key);
        let Some(queue) = self.queues.remove(key) else {
            return 0;
        };
        self.note_of_broker(|| TimelineEvent::QueueDeleted {
            queue: queue.name.clone(),
            ready: queue.ready.len(),
        });
        if let Some(vhost) = self.vhosts.get_mut(queue.vhost) {
            vhost.queues.remove(&queue.name);
        }
        if let Some(owner) = queue
            .owner
            .and_then(|owner| self.connections.get_mut(owner))
        {
            owner.exclusive_queues.retain(|other| *other != key);
        }
        for (source, routing_key) in &queue.bound_to {
            if let Some(exchange) = self.exchanges.get_mut(*source) {
                exchange
                    .bindings
                    .remove_all(Destination::Queue(key), routing_key);
            }
        }
        for (source, _) in &queue.bound_to {
            self.delete_exchange_if_abandoned(*source);
        }
        self.forget_consumers(queue.consumers.into_all());
        for cancelled in queue
            .quorum
            .map(|quorum| quorum.cancelled)
            .unwrap_or_default()
        {
            self.consumers.remove(cancelled);
        }
        queue.ready.len()
    }
}
