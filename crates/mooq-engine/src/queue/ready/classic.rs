//! Ready messages of a classic queue: by priority, and within a priority in the order of arrival.
//! Requeued messages return to their place in that order.

use std::collections::{BTreeMap, VecDeque};

use mooq_core::DeliveryMode;

use crate::message::QueuedMessage;
use crate::queue::measure::Measure;

#[derive(Debug)]
pub(crate) struct ClassicMessages {
    /// One level per priority, the lowest first. A queue without priorities has one level.
    levels: Vec<Level>,
    len: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Level {
    /// Returned messages. Messages leave from the head, so all of these precede all of `arrived`.
    returned: BTreeMap<u64, QueuedMessage>,
    arrived: VecDeque<QueuedMessage>,
}

impl ClassicMessages {
    pub(crate) fn new(max_priority: u8) -> Self {
        Self {
            levels: (0..=max_priority).map(|_| Level::default()).collect(),
            len: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Size of all bodies, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a newly arrived message at the end of its priority.
    pub(crate) fn push(&mut self, queued: QueuedMessage) {
        let bytes = queued.bytes(Measure::Body);
        if let Some(level) = self.level(&queued) {
            level.arrived.push_back(queued);
            self.len += 1;
            self.bytes += bytes;
        }
    }

    /// Puts a message back in its original place.
    pub(crate) fn put_back(&mut self, queued: QueuedMessage) {
        let bytes = queued.bytes(Measure::Body);
        if let Some(level) = self.level(&queued) {
            level.returned.insert(queued.position, queued);
            self.len += 1;
            self.bytes += bytes;
        }
    }

    /// Returns the message that leaves next.
    pub(crate) fn front(&self) -> Option<&QueuedMessage> {
        self.levels.iter().rev().find_map(Level::front)
    }

    pub(crate) fn pop(&mut self) -> Option<QueuedMessage> {
        if self.len == 0 {
            return None;
        }
        let queued = self.levels.iter_mut().rev().find_map(Level::pop)?;
        self.len -= 1;
        self.bytes -= queued.bytes(Measure::Body);
        Some(queued)
    }

    /// Drops the messages that are not persistent.
    pub(crate) fn retain_persistent(&mut self) {
        let persistent = |queued: &QueuedMessage| {
            queued.message.properties.delivery_mode == Some(DeliveryMode::Persistent)
        };
        for level in &mut self.levels {
            level.returned.retain(|_, queued| persistent(queued));
            level.arrived.retain(persistent);
        }
        self.len = self.iter().count();
        self.bytes = self.iter().map(|queued| queued.bytes(Measure::Body)).sum();
    }

    /// Forgets the returns of all messages, except for their failed deliveries.
    pub(crate) fn forget_returns(&mut self) {
        for level in &mut self.levels {
            let all = level.returned.values_mut().chain(&mut level.arrived);
            all.for_each(|queued| queued.returns.all = 0);
        }
    }

    /// Returns all messages in the order in which they leave.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &QueuedMessage> {
        let levels = self.levels.iter().rev();
        levels.flat_map(|level| level.returned.values().chain(&level.arrived))
    }

    /// Priority of a message in the queue: its own, or the queue's highest if its own is higher.
    pub(crate) fn priority(&self, queued: &QueuedMessage) -> usize {
        let highest = self.levels.len() - 1;
        match highest {
            0 => 0,
            _ => usize::from(queued.message.properties.priority.unwrap_or(0)).min(highest),
        }
    }

    /// Removes all messages, and returns their number.
    pub(crate) fn clear(&mut self) -> usize {
        for level in &mut self.levels {
            *level = Level::default();
        }
        self.bytes = 0;
        std::mem::take(&mut self.len)
    }

    /// Returns the level of a message.
    fn level(&mut self, queued: &QueuedMessage) -> Option<&mut Level> {
        let priority = self.priority(queued);
        self.levels.get_mut(priority)
    }
}

impl Level {
    fn front(&self) -> Option<&QueuedMessage> {
        match self.returned.first_key_value() {
            Some((_, queued)) => Some(queued),
            None => self.arrived.front(),
        }
    }

    fn pop(&mut self) -> Option<QueuedMessage> {
        match self.returned.pop_first() {
            Some((_, queued)) => Some(queued),
            None => self.arrived.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ready::queued;

    fn drain(ready: &mut ClassicMessages) -> Vec<u64> {
        let seen: Vec<_> = ready.iter().map(|queued| queued.position).collect();
        let left: Vec<_> =
            std::iter::from_fn(|| ready.pop().map(|queued| queued.position)).collect();
        assert_eq!(seen, left, "a look shows the order in which they leave");
        left
    }

    #[test]
    fn returned_messages_go_back_to_their_original_places() {
        let mut ready = ClassicMessages::new(0);
        (1..=5).for_each(|position| ready.push(queued(position, Some(0))));
        let out: Vec<_> = (0..4).map(|_| ready.pop().unwrap()).collect();
        for index in [2, 0, 3] {
            ready.put_back(out[index].clone());
        }
        assert_eq!((ready.len(), ready.bytes()), (4, 16));
        assert_eq!(drain(&mut ready), [1, 3, 4, 5]);
        assert_eq!((ready.len(), ready.bytes()), (0, 0));
    }

    #[test]
    fn higher_priorities_leave_first_and_too_high_ones_count_as_the_highest() {
        let mut ready = ClassicMessages::new(2);
        for (position, priority) in [(1, 0), (2, 2), (3, 1), (4, 9), (5, 0)] {
            ready.push(queued(position, Some(priority)));
        }
        assert_eq!(ready.front().map(|queued| queued.position), Some(2));
        assert_eq!(drain(&mut ready), [2, 4, 3, 1, 5]);
    }
}
