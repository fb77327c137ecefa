//! The limit that `basic.qos` with `global` sets: for all consumers of a channel together
//! ([consumer prefetch](https://www.rabbitmq.com/docs/consumer-prefetch)).
use crate::ids::QueueId;

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// Number of deliveries that may be unacked; 0 for no limit.
    prefetch: u16,
    /// Number of deliveries that count as unacked. RabbitMQ counts fetched messages when the limit
    /// is set and never subtracts them again; the limiter does the same.
    volume: usize,
    /// Queues that had something to deliver and must be asked again.
    suspended: Vec<QueueId>,
}

impl Limiter {
    /// Sets the limit, with `unacked` deliveries outstanding. Returns the queues to ask again.
    pub(crate) fn limit(&mut self, prefetch: u16, unacked: usize) -> Vec<QueueId> {
        if self.prefetch == 0 {
            self.volume = unacked;
        }
        self.prefetch = prefetch;
        self.resumed()
    }

    /// Removes the limit. Returns the queues to ask again.
    pub(crate) fn unlimit(&mut self) -> Vec<QueueId> {
        self.prefetch = 0;
        self.volume = 0;
        self.resumed()
    }

    /// Returns the limit; 0 for none.
    pub(crate) fn prefetch(&self) -> u16 {
        self.prefetch
    }

    /// Returns true if there is a limit.
    pub(crate) fn is_active(&self) -> bool {
        self.prefetch != 0
    }

    /// Returns true if `queue` may deliver once more, and counts that delivery.
    pub(crate) fn may_send(&mut self, queue: QueueId, ack_required: bool) -> bool {
        if self.prefetch == 0 {
            return true;
        }
        if self.suspended.contains(&queue) {
            return false;
        }
        if self.is_reached() {
            self.suspended.push(queue);
            return false;
        }
        self.volume += usize::from(ack_required);
        true
    }

    /// Subtracts deliveries to consumers that were settled. Returns the queues to ask again.
    pub(crate) fn settled(&mut self, deliveries: usize) -> Vec<QueueId> {
        if self.prefetch == 0 {
            return Vec::new();
        }
        self.volume = self.volume.saturating_sub(deliveries);
        self.resumed()
    }

    fn is_reached(&self) -> bool {
        self.prefetch != 0 && self.volume >= usize::from(self.prefetch)
    }

    fn resumed(&mut self) -> Vec<QueueId> {
        if self.is_reached() {
            Vec::new()
        } else {
            std::mem::take(&mut self.suspended)
        }
    }
}
