//! The consumers of a channel.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};

use foldhash::fast::RandomState;
use mooq_core::{Consume, ConsumerTag, Error, ErrorKind, QueueName, Result};
use tokio::sync::watch;

use super::generation::Generation;
use super::inbox::Inbox;
use crate::lock::lock;

/// The consumers of a channel, by their tags.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    state: Mutex<State>,
    /// Number of consumers that have been forgotten so far.
    forgotten: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    by_tag: HashMap<ConsumerTag, Registered, RandomState>,
    registered: u64,
}

#[derive(Debug)]
struct Registered {
    inbox: Arc<Inbox>,
    /// Data to register the consumer again. None for a consumer that ends with the channel's
    /// generation, and until the broker knows the consumer.
    record: Option<Record>,
}

/// Data to register a consumer again.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    order: u64,
    pub(crate) consume: Consume,
    pub(crate) prefetch: u16,
}

/// The consumers to register again, in order.
pub(crate) struct Restorables {
    pub(crate) all: Vec<Restorable>,
    /// Number of consumers that had been forgotten by then.
    pub(crate) forgotten: u64,
}

/// A consumer to register again.
pub(crate) struct Restorable {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) record: Record,
}

impl Consumers {
    pub(super) fn contains(&self, tag: &ConsumerTag) -> bool {
        self.lock().by_tag.contains_key(tag)
    }

    /// Adds a consumer before it is announced to the broker, so that no delivery arrives too early.
    ///
    /// # Errors
    /// `NotAllowed` if another consumer has this tag. (RabbitMQ would close the connection.)
    pub(super) fn add(&self, tag: ConsumerTag, inbox: Arc<Inbox>) -> Result<()> {
        match self.lock().by_tag.entry(tag) {
            Entry::Vacant(vacant) => {
                vacant.insert(Registered {
                    inbox,
                    record: None,
                });
                Ok(())
            }
            Entry::Occupied(taken) => {
                let tag = taken.key();
                let message = format!("a consumer of this channel has the tag '{tag}' already");
                Err(Error::new(ErrorKind::NotAllowed, message))
            }
        }
    }

    /// Records a consumer that the broker knows: it is registered again when the channel is
    /// reopened. False if the consumer is gone.
    pub(super) fn record(&self, consume: Consume, prefetch: u16) -> bool {
        let mut state = self.lock();
        state.registered += 1;
        let order = state.registered;
        let Some(registered) = state.by_tag.get_mut(&consume.tag) else {
            return false;
        };
        registered.record = Some(Record {
            order,
            consume,
            prefetch,
        });
        true
    }

    /// Removes the consumer's record: it is not registered again when the channel is reopened.
    pub(super) fn forget(&self, tag: &ConsumerTag) {
        if let Some(registered) = self.lock().by_tag.get_mut(tag) {
            registered.record = None;
        }
        self.forgotten.send_modify(|forgotten| *forgotten += 1);
    }

    /// Number of consumers that have been forgotten so far.
    pub(super) fn forgotten(&self) -> u64 {
        *self.forgotten.borrow()
    }

    /// Waits until more consumers have been forgotten than `so_far`.
    pub(super) async fn forgets(&self, so_far: u64) {
        let mut forgotten = self.forgotten.subscribe();
        // The sender lives as long as `self`.
        let _ = forgotten.wait_for(|forgotten| *forgotten != so_far).await;
    }

    pub(super) fn remove(&self, tag: &ConsumerTag) -> Option<Arc<Inbox>> {
        let removed = self.lock().by_tag.remove(tag);
        removed.map(|registered| registered.inbox)
    }

    pub(super) fn inbox(&self, tag: &ConsumerTag) -> Option<Arc<Inbox>> {
        let state = self.lock();
        state.by_tag.get(tag).map(|one| Arc::clone(&one.inbox))
    }

    /// Returns all consumers, in no order.
    pub(super) fn all(&self) -> Vec<(ConsumerTag, Arc<Inbox>)> {
        let state = self.lock();
        let all = state.by_tag.iter();
        all.map(|(tag, one)| (tag.clone(), Arc::clone(&one.inbox)))
            .collect()
    }

    /// Returns true if a consumer is on `queue`.
    pub(super) fn consume_from(&self, queue: &QueueName) -> bool {
        let state = self.lock();
        state.by_tag.values().any(|one| one.inbox.queue() == *queue)
    }

    /// Handles the loss of the channel's generation for the reason `err`: consumers without a
    /// record end.
    pub(super) fn lose(&self, err: &Error) {
        let (kept, ended) = {
            let mut state = self.lock();
            let without_record = |one: &Registered| one.record.is_none();
            let ended = state
                .by_tag
                .extract_if(|_, one| without_record(one))
                .map(|(_, one)| one.inbox)
                .collect::<Vec<_>>();
            let kept = state.by_tag.values().map(|one| Arc::clone(&one.inbox));
            (kept.collect::<Vec<_>>(), ended)
        };
        kept.iter().for_each(|inbox| inbox.lose());
        ended.iter().for_each(|inbox| inbox.end(err.clone()));
    }

    /// Drops the waiting deliveries of `generation`, which the broker requeues.
    pub(super) fn lose_from(&self, generation: &Arc<Generation>) {
        for (_, inbox) in self.all() {
            inbox.lose_from(generation);
        }
    }

    /// Ends all consumers for the reason `err`.
    pub(super) fn end(&self, err: &Error) {
        let ended = std::mem::take(&mut self.lock().by_tag);
        for registered in ended.into_values() {
            registered.inbox.end(err.clone());
        }
    }

    /// Returns the consumers to register again, in the order in which they were registered.
    pub(super) fn restorable(&self) -> Restorables {
        // Read first, so that every consumer forgotten meanwhile is noticed.
        let forgotten = self.forgotten();
        let mut all: Vec<_> = self
            .lock()
            .by_tag
            .values()
            .filter_map(|registered| {
                Some(Restorable {
                    inbox: Arc::clone(&registered.inbox),
                    record: registered.record.clone()?,
                })
            })
            .collect();
        all.sort_by_key(|one| one.record.order);
        Restorables { all, forgotten }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
