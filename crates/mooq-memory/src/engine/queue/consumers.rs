//! The consumers of a queue, and whose turn it is.
//!
//! As in RabbitMQ a consumer that can take no more is noticed only when its turn comes: it is
//! then parked, and takes no further part until it is ready again. So each delivery costs the
//! same however many consumers are waiting for acknowledgements.

use std::collections::VecDeque;

use crate::engine::arena::Key;
use crate::engine::consumer::Consumer;

#[derive(Debug, Default)]
pub(crate) struct QueueConsumers {
    /// Consumers that are not parked, by priority, the highest first. A priority that is in use
    /// once stays here: there are few.
    ready: Vec<Level>,
    /// All of them, parked ones included, in the order in which they came.
    all: Vec<Key<Consumer>>,
    /// Whether there ever was one.
    pub(crate) had_one: bool,
    /// The one that has the queue for itself, or that single-active-consumer has chosen.
    pub(crate) sole: Option<Key<Consumer>>,
}

#[derive(Debug)]
struct Level {
    priority: i64,
    turns: VecDeque<Key<Consumer>>,
}

impl QueueConsumers {
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// All of them, in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Key<Consumer>> + '_ {
        self.all.iter().copied()
    }

    /// The same, to end them.
    pub(crate) fn into_all(self) -> Vec<Key<Consumer>> {
        self.all
    }

    /// Adds a new consumer, at the end of its priority.
    pub(crate) fn add(&mut self, consumer: Key<Consumer>, priority: i64) {
        self.all.push(consumer);
        self.had_one = true;
        self.unpark(consumer, priority);
    }

    /// Gives the consumer that came last another place in its priority: that of the number which
    /// `choose` finds below what it is given.
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

    /// Removes a consumer, parked or not.
    pub(crate) fn remove(&mut self, consumer: Key<Consumer>, priority: i64) {
        self.all.retain(|other| *other != consumer);
        if self.sole == Some(consumer) {
            self.sole = None;
        }
        self.park(consumer, priority);
    }

    /// Takes a consumer out of the row.
    pub(crate) fn park(&mut self, consumer: Key<Consumer>, priority: i64) {
        if let Some(level) = self
            .ready
            .iter_mut()
            .find(|level| level.priority == priority)
        {
            level.turns.retain(|other| *other != consumer);
        }
    }

    /// Takes the consumer whose turn it is out of the row; [`Self::unpark`] puts it back.
    pub(crate) fn next(&mut self) -> Option<Key<Consumer>> {
        self.ready
            .iter_mut()
            .find_map(|level| level.turns.pop_front())
    }

    /// The consumer whose turn it is.
    pub(crate) fn peek(&self) -> Option<Key<Consumer>> {
        self.ready
            .iter()
            .find_map(|level| level.turns.front().copied())
    }

    /// Puts a consumer at the end of its priority.
    pub(crate) fn unpark(&mut self, consumer: Key<Consumer>, priority: i64) {
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
