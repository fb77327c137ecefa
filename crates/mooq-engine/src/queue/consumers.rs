//! The consumers of a queue, and their turns.
//!
//! As in RabbitMQ, a consumer that can take no more is noticed only when its turn comes: it is then
//! blocked, and takes no part until it is ready again. So the cost of a delivery does not depend on
//! the number of consumers that wait for acknowledgements.

use crate::ids::ConsumerId;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct QueueConsumers {
    /// Consumers that are not blocked, by priority, the highest first. A priority stays here once
    /// it has been used: there are few.
    ready: Vec<Level>,
    /// All consumers, blocked ones included, in the order in which they subscribed.
    all: Vec<ConsumerId>,
    /// True if the queue ever had a consumer.
    pub(crate) had_one: bool,
    /// The consumer that has exclusive use of the queue, or the single active consumer.
    pub(crate) active: Option<ConsumerId>,
}

#[derive(Debug)]
struct Level {
    priority: i64,
    turns: VecDeque<ConsumerId>,
}

impl QueueConsumers {
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// Returns all consumers in the order in which they subscribed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ConsumerId> + '_ {
        self.all.iter().copied()
    }

    /// Returns all consumers in the same order, to end them.
    pub(crate) fn into_all(self) -> Vec<ConsumerId> {
        self.all
    }

    /// Adds a new consumer, at the end of its priority.
    pub(crate) fn add(&mut self, consumer: ConsumerId, priority: i64) {
        self.all.push(consumer);
        self.had_one = true;
        self.unblock(consumer, priority);
    }

    /// Moves the newest consumer within its priority to the position that `choose` returns. The
    /// argument of `choose` is the number of positions.
    pub(crate) fn place_newest(&mut self, priority: i64, choose: impl FnOnce(usize) -> usize) {
        let level = self
            .ready
            .iter_mut()
            .find(|level| level.priority == priority);
        if let Some(level) = level
            && let Some(newest) = level.turns.pop_back()
        {
            let at = choose(level.turns.len() + 1).min(level.turns.len());
            level.turns.insert(at, newest);
        }
    }

    /// Removes a consumer, blocked or not.
    pub(crate) fn remove(&mut self, consumer: ConsumerId, priority: i64) {
        self.all.retain(|other| *other != consumer);
        if self.active == Some(consumer) {
            self.active = None;
        }
        self.block(consumer, priority);
    }

    /// Removes a consumer from the rotation.
    pub(crate) fn block(&mut self, consumer: ConsumerId, priority: i64) {
        if let Some(level) = self
            .ready
            .iter_mut()
            .find(|level| level.priority == priority)
        {
            level.turns.retain(|other| *other != consumer);
        }
    }

    /// Removes the next consumer from the rotation; [`Self::unblock`] puts it back.
    pub(crate) fn next(&mut self) -> Option<ConsumerId> {
        self.ready
            .iter_mut()
            .find_map(|level| level.turns.pop_front())
    }

    /// Returns the next consumer.
    pub(crate) fn peek(&self) -> Option<ConsumerId> {
        self.ready
            .iter()
            .find_map(|level| level.turns.front().copied())
    }

    /// Puts a consumer at the end of its priority.
    pub(crate) fn unblock(&mut self, consumer: ConsumerId, priority: i64) {
        if let Some(level) = self
            .ready
            .iter_mut()
            .find(|level| level.priority == priority)
        {
            level.turns.push_back(consumer);
            return;
        }
        let at = self
            .ready
            .partition_point(|level| level.priority > priority);
        self.ready.insert(
            at,
            Level {
                priority,
                turns: VecDeque::from([consumer]),
            },
        );
    }
}
