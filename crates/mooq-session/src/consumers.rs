//! The consumers of a connection, with the deliveries that wait for each.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::task::{Poll, Waker};
use std::time::Instant;

use foldhash::fast::RandomState;
use mooq_core::{Consume, ConsumerTag, Deliver, Error, QueueName};

use crate::ids::{ChannelId, ConsumerId};
use crate::output::{Outbox, Output};
use crate::shell::{Shell, Wire};

/// A delivery taken from a consumer, to be settled by its holder.
#[derive(Debug)]
pub struct Handed<W> {
    /// The delivery.
    pub deliver: Deliver,
    /// The queue's name at the time of the delivery.
    pub queue: QueueName,
    /// The wire to settle it on. None if the broker has settled it.
    pub wire: Option<W>,
    /// Number of attempts at it that failed.
    pub failures: u32,
    /// The error of the latest of them.
    pub error: Option<String>,
    /// Guard that the shell keeps until the delivery is settled.
    pub kept: Option<Box<dyn Any + Send + Sync>>,
}

/// A delivery to try again.
#[derive(Debug)]
pub struct Retry<W> {
    /// The delivery.
    pub handed: Handed<W>,
    /// When to try it.
    pub due: Instant,
}

/// The receiver of a consumer's deliveries.
#[derive(Debug)]
pub enum Sink<S: Shell> {
    /// A stream, and its waker while it waits.
    Stream(Option<Waker>),
    /// A callback, which the runner of callbacks calls.
    Callback(Callback<S>),
    /// A receiver that gets each delivery at once, as [`Output::Direct`]. The consumer must not
    /// acknowledge. It keeps no channel open, and a shutdown leaves it to the end of its channel.
    Direct(S::Direct),
}

/// News for the receiver of a [`Sink::Direct`].
#[derive(Debug)]
pub enum Direct {
    /// A delivery.
    Deliver(Deliver),
    /// The wire of this id is lost. The consumer is registered again before its channel is open
    /// again.
    Lost {
        /// The wire: each one after it has a greater id.
        wire: u64,
        /// Reason.
        reason: Error,
    },
    /// The consumer has ended, for this reason: nothing follows.
    Ended(Error),
}

/// A consumer's callback.
pub struct Callback<S: Shell> {
    pub(crate) callback: S::Callback,
    /// Maximum number of calls at once.
    pub(crate) concurrency: usize,
    pub(crate) running: usize,
    pub(crate) retries: Vec<Retry<S::Wire>>,
    /// No more deliveries arrive: the consumer is removed once it has none left.
    pub(crate) ending: bool,
}

impl<S: Shell> std::fmt::Debug for Callback<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback")
            .field("concurrency", &self.concurrency)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl<S: Shell> Sink<S> {
    /// A sink that runs at most `concurrency` calls of `callback` at a time.
    pub fn callback(callback: S::Callback, concurrency: usize) -> Self {
        Self::Callback(Callback {
            callback,
            concurrency,
            running: 0,
            retries: Vec::new(),
            ending: false,
        })
    }
}

/// The data for registering a consumer again.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) consume: Consume,
    pub(crate) prefetch: u16,
}

pub(crate) struct Consumer<S: Shell> {
    pub(crate) channel: ChannelId,
    pub(crate) tag: ConsumerTag,
    /// The queue's current name.
    pub(crate) queue: QueueName,
    /// The wire that the consumer is registered on.
    pub(crate) wire: S::Wire,
    /// The broker settles deliveries as it sends them, so they outlive their wire.
    pub(crate) no_ack: bool,
    pub(crate) waiting: VecDeque<Deliver>,
    /// Reason for the end of the deliveries.
    pub(crate) end: Option<Error>,
    /// None for a consumer that ends with its wire, and until the broker knows the consumer.
    pub(crate) record: Option<Record>,
    /// Callbacks start only once the broker has answered.
    pub(crate) registered: bool,
    pub(crate) sink: Sink<S>,
}

impl<S: Shell> Consumer<S> {
    /// Takes the oldest delivery. The caller settles it.
    pub(crate) fn pop(&mut self) -> Option<Handed<S::Wire>> {
        let deliver = self.waiting.pop_front()?;
        if !self.no_ack {
            self.wire.hand_out();
        }
        Some(Handed {
            deliver,
            queue: self.queue.clone(),
            wire: (!self.no_ack).then(|| self.wire.clone()),
            failures: 0,
            error: None,
            kept: None,
        })
    }

    /// Forgets the waiting deliveries, which the broker has requeued: their wire is lost.
    pub(crate) fn drop_waiting(&mut self, outbox: &mut Outbox<S>) {
        if self.no_ack {
            return;
        }
        outbox.drop_delivers(std::mem::take(&mut self.waiting));
        if let Sink::Callback(callback) = &mut self.sink {
            let retries = callback.retries.drain(..);
            outbox.drop_delivers(retries.map(|retry| retry.handed.deliver).collect());
        }
    }

    /// Requeues the waiting deliveries, the older ones first.
    pub(crate) fn give_back(&mut self, outbox: &mut Outbox<S>) {
        if let Sink::Callback(callback) = &mut self.sink {
            let mut retries = std::mem::take(&mut callback.retries);
            retries.sort_by_key(|retry| retry.handed.deliver.delivery_tag);
            for retry in retries {
                outbox.give_back(retry.handed);
            }
        }
        for deliver in std::mem::take(&mut self.waiting) {
            if !self.no_ack {
                outbox.push(Output::GiveBack {
                    wire: self.wire.clone(),
                    delivery_tag: deliver.delivery_tag,
                    failed: false,
                });
            }
            outbox.drop_delivers([deliver].into());
        }
    }
}

/// All consumers of a connection.
pub(crate) struct Consumers<S: Shell> {
    by_id: HashMap<ConsumerId, Consumer<S>, RandomState>,
    /// The consumers of each channel by their tags. One that has ended is not here.
    by_tag: HashMap<ChannelId, HashMap<ConsumerTag, ConsumerId, RandomState>, RandomState>,
    last: ConsumerId,
}

impl<S: Shell> Default for Consumers<S> {
    fn default() -> Self {
        Self {
            by_id: HashMap::default(),
            by_tag: HashMap::default(),
            last: ConsumerId::default(),
        }
    }
}

impl<S: Shell> Consumers<S> {
    pub(crate) fn has_tag(&self, channel: ChannelId, tag: &ConsumerTag) -> bool {
        self.tagged(channel, tag).is_some()
    }

    /// Returns the consumer of this tag.
    pub(crate) fn tagged(&self, channel: ChannelId, tag: &ConsumerTag) -> Option<ConsumerId> {
        self.by_tag.get(&channel)?.get(tag).copied()
    }

    /// Adds a consumer, whose tag no other consumer of its channel has.
    pub(crate) fn add(&mut self, consumer: Consumer<S>) -> ConsumerId {
        let id = self.last.advance();
        let tags = self.by_tag.entry(consumer.channel).or_default();
        tags.insert(consumer.tag.clone(), id);
        self.by_id.insert(id, consumer);
        id
    }

    pub(crate) fn get(&self, id: ConsumerId) -> Option<&Consumer<S>> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer<S>> {
        self.by_id.get_mut(&id)
    }

    /// Removes the consumer's tag, so that no more deliveries reach the consumer. False if it had
    /// none.
    pub(crate) fn untag(&mut self, id: ConsumerId) -> bool {
        let Some(consumer) = self.by_id.get(&id) else {
            return false;
        };
        let Some(tags) = self.by_tag.get_mut(&consumer.channel) else {
            return false;
        };
        if tags.get(&consumer.tag) != Some(&id) {
            return false;
        }
        tags.remove(&consumer.tag);
        if tags.is_empty() {
            self.by_tag.remove(&consumer.channel);
        }
        true
    }

    pub(crate) fn remove(&mut self, id: ConsumerId) -> Option<Consumer<S>> {
        self.untag(id);
        self.by_id.remove(&id)
    }

    /// The consumers of a channel that have not ended, in the order of their registration.
    pub(crate) fn of(&self, channel: ChannelId) -> Vec<ConsumerId> {
        let tags = self.by_tag.get(&channel).into_iter();
        let mut ids: Vec<_> = tags.flat_map(HashMap::values).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Those of them that are registered again when the channel is reopened.
    pub(crate) fn restorable(&self, channel: ChannelId) -> Vec<ConsumerId> {
        let mut ids = self.of(channel);
        ids.retain(|id| self.by_id.get(id).is_some_and(|one| one.record.is_some()));
        ids
    }

    /// Returns true if a consumer that has not ended is on `queue`.
    pub(crate) fn consume_from(&self, queue: &QueueName) -> bool {
        let ids = self.by_tag.values().flat_map(HashMap::values);
        let mut consumers = ids.filter_map(|id| self.by_id.get(id));
        consumers.any(|consumer| consumer.queue == *queue)
    }

    /// The queues that are consumed from, in order.
    pub(crate) fn queues(&self) -> BTreeSet<QueueName> {
        let ids = self.by_tag.values().flat_map(HashMap::values);
        let consumers = ids.filter_map(|id| self.by_id.get(id));
        consumers.map(|consumer| consumer.queue.clone()).collect()
    }

    /// Replaces the name of a renamed queue in its consumers and in their records.
    pub(crate) fn queue_renamed(&mut self, from: &QueueName, to: &QueueName) {
        for consumer in self.by_id.values_mut() {
            if consumer.queue == *from {
                consumer.queue.clone_from(to);
            }
            if let Some(record) = &mut consumer.record
                && record.consume.queue == *from
            {
                record.consume.queue.clone_from(to);
            }
        }
    }

    /// The ids of all callback consumers, in the order of their registration.
    pub(crate) fn with_callback(&self) -> Vec<ConsumerId> {
        let all = self.by_id.iter();
        let with_callback = all.filter(|(_, one)| matches!(one.sink, Sink::Callback(_)));
        let ids: BTreeMap<_, ()> = with_callback.map(|(id, _)| (*id, ())).collect();
        ids.into_keys().collect()
    }

    /// Returns the next delivery of a stream, or the reason why none follows.
    pub(crate) fn poll_stream(
        &mut self,
        id: ConsumerId,
        waker: &Waker,
        outbox: &mut Outbox<S>,
    ) -> Poll<Result<Handed<S::Wire>, Option<Error>>> {
        let Some(consumer) = self.by_id.get_mut(&id) else {
            return Poll::Ready(Err(None));
        };
        if let Some(handed) = consumer.pop() {
            return Poll::Ready(Ok(handed));
        }
        if let Some(end) = &consumer.end {
            return Poll::Ready(Err(Some(end.clone())));
        }
        if let Sink::Stream(waiting) = &mut consumer.sink
            && let Some(old) = waiting.replace(waker.clone())
        {
            outbox.drop_waker(old);
        }
        Poll::Pending
    }
}
