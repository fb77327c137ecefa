//! What a channel's driver and its users share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use foldhash::fast::RandomState;
use mooq_core::{
    ChannelEvent, ConsumerTag, Deliver, Error, ErrorKind, Settle, Settlement, TransportChannel,
};
use tokio::sync::Notify;

use super::inbox::Inbox;
use super::ledger::Ledger;

/// What is in flight on one channel, and why it ended.
#[derive(Debug, Default)]
pub(crate) struct ChannelState {
    ledger: Mutex<Ledger>,
    consumers: Mutex<HashMap<ConsumerTag, Arc<Inbox>, RandomState>>,
    /// Cancelled consumers whose late deliveries must not be settled: the broker has done so.
    cancelled_no_ack: Mutex<HashSet<ConsumerTag, RandomState>>,
    /// Set once, before anything that waits is told.
    closed: OnceLock<Error>,
    /// A publish has an earlier deadline than the driver waits for.
    pub(super) rearm: Notify,
}

impl ChannelState {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the channel is closed, if it is.
    pub(crate) fn closed(&self) -> Option<&Error> {
        self.closed.get()
    }

    /// Registers a consumer before it is announced to the broker, so that no delivery comes
    /// too early.
    pub(crate) fn add_consumer(&self, tag: ConsumerTag, inbox: Arc<Inbox>) {
        self.consumers().insert(tag, inbox);
        // The channel may have closed in between, having told only those it knew.
        if let Some(err) = self.closed() {
            self.end_consumers(err);
        }
    }

    /// Forgets a consumer that was cancelled from this side.
    pub(crate) fn remove_consumer(&self, tag: &ConsumerTag, no_ack: bool) {
        if no_ack {
            self.cancelled_no_ack().insert(tag.clone());
        }
        self.consumers().remove(tag);
    }

    /// Takes one event of the channel. True if it was the last.
    pub(super) fn handle(&self, event: ChannelEvent, channel: &Weak<dyn TransportChannel>) -> bool {
        match event {
            ChannelEvent::Deliver(deliver) => self.deliver(deliver, channel),
            ChannelEvent::Confirm { sequence, multiple } => {
                self.ledger().settle(sequence, multiple, &Ok(()));
            }
            ChannelEvent::Nack { sequence, multiple } => {
                let err = Error::new(ErrorKind::Nacked, "the broker refused the message");
                self.ledger().settle(sequence, multiple, &Err(err));
            }
            ChannelEvent::Return(returned) => {
                let (exchange, key) = (
                    returned.message.exchange.clone(),
                    returned.message.routing_key.clone(),
                );
                if !self.ledger().returned(returned) {
                    tracing::warn!(%exchange, routing_key = %key, "a message came back that nobody waits for");
                }
            }
            ChannelEvent::ConsumerCancelled(tag) => self.consumer_cancelled(&tag),
            ChannelEvent::Closed(err) => {
                self.close(err);
                return true;
            }
        }
        false
    }

    /// Ends everything that waits on this channel with `err`. Only the first reason counts.
    pub(super) fn close(&self, err: Error) {
        let err = self.closed.get_or_init(|| err);
        self.ledger().fail_all(err);
        self.end_consumers(err);
    }

    fn deliver(&self, deliver: Deliver, channel: &Weak<dyn TransportChannel>) {
        let inbox = self.consumers().get(&deliver.consumer_tag).cloned();
        match inbox {
            Some(inbox) => inbox.push(deliver),
            // The consumer was cancelled while this was under way.
            None if self.cancelled_no_ack().contains(&deliver.consumer_tag) => {
                tracing::warn!(
                    consumer_tag = %deliver.consumer_tag,
                    "a message came after its consumer was cancelled, acknowledged automatically: lost"
                );
            }
            None => {
                if let Some(channel) = channel.upgrade() {
                    give_back(&*channel, deliver.delivery_tag);
                }
            }
        }
    }

    fn consumer_cancelled(&self, tag: &ConsumerTag) {
        let inbox = self.consumers().remove(tag);
        if let Some(inbox) = inbox {
            inbox.end(Error::new(
                ErrorKind::ConsumerCancelled,
                format!("the broker cancelled consumer '{tag}': its queue is gone"),
            ));
        }
    }

    fn end_consumers(&self, err: &Error) {
        let ended = std::mem::take(&mut *self.consumers());
        for inbox in ended.into_values() {
            inbox.end(err.clone());
        }
    }

    fn cancelled_no_ack(&self) -> MutexGuard<'_, HashSet<ConsumerTag, RandomState>> {
        self.cancelled_no_ack
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn consumers(&self) -> MutexGuard<'_, HashMap<ConsumerTag, Arc<Inbox>, RandomState>> {
        self.consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a delivery back into its queue. A closed channel has done so already.
pub(crate) fn give_back(channel: &dyn TransportChannel, delivery_tag: u64) {
    let settle = Settle {
        delivery_tag,
        multiple: false,
        settlement: Settlement::Nack { requeue: true },
    };
    if let Err(err) = channel.settle(settle) {
        tracing::debug!(%err, delivery_tag, "the broker has the delivery back already");
    }
}
