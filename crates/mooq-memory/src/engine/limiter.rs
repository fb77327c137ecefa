//! The limit that `basic.qos` with `global` sets: for all consumers of a channel together
//! ([consumer prefetch](https://www.rabbitmq.com/docs/consumer-prefetch)).

use super::arena::Key;
use super::queue::Queue;

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// How many unsettled deliveries there may be; 0 for no limit.
    prefetch: u16,
    /// How many there are. RabbitMQ counts fetched messages when the limit is set and never
    /// takes them off again; so does this.
    volume: usize,
    /// Queues that wanted to deliver and must be asked again.
    suspended: Vec<Key<Queue>>,
}

impl Limiter {
    /// Sets the limit, with `unacked` deliveries outstanding. Gives the queues to ask again.
    pub(crate) fn limit(&mut self, prefetch: u16, unacked: usize) -> Vec<Key<Queue>> {
        if self.prefetch == 0 {
            self.volume = unacked;
        }
        self.prefetch = prefetch;
        self.resumed()
    }

    /// Takes the limit away. Gives the queues to ask again.
    pub(crate) fn unlimit(&mut self) -> Vec<Key<Queue>> {
        self.prefetch = 0;
        self.volume = 0;
        self.resumed()
    }

    /// Whether there is a limit.
    pub(crate) fn is_active(&self) -> bool {
        self.prefetch != 0
    }

    /// Whether `queue` may deliver once more; if so, that is counted.
    pub(crate) fn may_send(&mut self, queue: Key<Queue>, ack_required: bool) -> bool {
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

    /// Takes off deliveries to consumers that were settled. Gives the queues to ask again.
    pub(crate) fn settled(&mut self, deliveries: usize) -> Vec<Key<Queue>> {
        if self.prefetch == 0 {
            return Vec::new();
        }
        self.volume = self.volume.saturating_sub(deliveries);
        self.resumed()
    }

    fn is_reached(&self) -> bool {
        self.prefetch != 0 && self.volume >= usize::from(self.prefetch)
    }

    fn resumed(&mut self) -> Vec<Key<Queue>> {
        if self.is_reached() {
            Vec::new()
        } else {
            std::mem::take(&mut self.suspended)
        }
    }
}
