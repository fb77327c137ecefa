//! A channel's consumers.

use std::collections::HashMap;

use mooq_core::{ConsumerTag, QueueName};
use mooq_wire::method::BasicConsume;

#[derive(Debug, Default)]
pub(super) struct Consumers {
    by_tag: HashMap<ConsumerTag, Consumer>,
    /// The queue that the channel declared last, which an empty name stands for.
    last_queue: QueueName,
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) queue: QueueName,
    pub(super) no_ack: bool,
    /// True if this side has cancelled the consumer because of a message that cannot be read:
    /// deliveries that were on their way are requeued.
    pub(super) is_given_up: bool,
}

impl Consumers {
    /// Records the queue that was declared last.
    pub(super) fn declared(&mut self, queue: QueueName) {
        self.last_queue = queue;
    }

    /// The queue that a name in a request stands for.
    pub(super) fn queue(&self, name: &QueueName) -> QueueName {
        let name = if name.is_empty() {
            &self.last_queue
        } else {
            name
        };
        name.clone()
    }

    pub(super) fn add(&mut self, tag: ConsumerTag, consume: &BasicConsume) {
        let consumer = Consumer {
            queue: self.queue(&consume.queue),
            no_ack: consume.no_ack,
            is_given_up: false,
        };
        self.by_tag.insert(tag, consumer);
    }

    /// Removes a consumer. Returns true if there was one that had not been given up.
    pub(super) fn remove(&mut self, tag: &ConsumerTag) -> bool {
        let consumer = self.by_tag.remove(tag);
        consumer.is_some_and(|consumer| !consumer.is_given_up)
    }

    pub(super) fn find(&mut self, tag: &ConsumerTag) -> Option<&mut Consumer> {
        self.by_tag.get_mut(tag)
    }
}
