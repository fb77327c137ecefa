//! What a channel's driver and its users share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use foldhash::fast::RandomState;
use mooq_core::{
    ChannelEvent, ConsumerTag, Deliver, Error, ErrorKind, Result, Settle, Settlement,
    TransportChannel,
};
use tokio::sync::{Notify, oneshot};

use super::inbox::Inbox;
use super::ledger::Ledger;

/// What is in flight on one channel, and why it ended.
#[derive(Debug, Default)]
pub(crate) struct ChannelState {
    ledger: Mutex<Ledger>,
    consumers: Mutex<HashMap<ConsumerTag, Arc<Inbox>, RandomState>>,
    /// Dropped once the driver has handled all that was in the mailbox before.
    catching_up: Mutex<Vec<oneshot::Sender<()>>>,
    /// Set once, before anything that waits is told.
    closed: OnceLock<Error>,
    /// Somebody was told that the channel failed.
    told: AtomicBool,
    /// There is something for the driver besides events: a publish with an earlier deadline than
    /// it waits for, or somebody who waits for it to catch up.
    pub(super) nudge: Notify,
}

impl ChannelState {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the channel is closed, if it is.
    pub(crate) fn closed(&self) -> Option<&Error> {
        self.closed.get()
    }

    /// True the first time only: one close of the channel is the end of all its consumers.
    pub(crate) fn first_to_tell(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Whether a consumer of this channel has this tag.
    pub(crate) fn has_consumer(&self, tag: &ConsumerTag) -> bool {
        self.consumers().contains_key(tag)
    }

    /// Registers a consumer before it is announced to the broker, so that no delivery comes
    /// too early.
    ///
    /// # Errors
    /// `NotAllowed` if there is one with this tag. (RabbitMQ would close the connection.)
    pub(crate) fn add_consumer(&self, tag: ConsumerTag, inbox: Arc<Inbox>) -> Result<()> {
        match self.consumers().entry(tag) {
            Entry::Vacant(vacant) => vacant.insert(inbox),
            Entry::Occupied(taken) => {
                let tag = taken.key();
                let message = format!("a consumer of this channel has the tag '{tag}' already");
                return Err(Error::new(ErrorKind::NotAllowed, message));
            }
        };
        // The channel may have closed in between, having told only those it knew.
        if let Some(err) = self.closed() {
            self.end_consumers(err);
        }
        Ok(())
    }

    /// Forgets a consumer that was cancelled from this side, once all that came for it is in its
    /// inbox.
    pub(crate) async fn remove_consumer(&self, tag: &ConsumerTag) {
        self.catch_up().await;
        let inbox = self.consumers().remove(tag);
        drop(inbox);
    }

    /// Waits until the driver has handled all that is in the mailbox now.
    async fn catch_up(&self) {
        let (caught_up, when) = oneshot::channel();
        {
            let mut waiting = self.catching_up();
            if self.closed().is_some() {
                return;
            }
            waiting.push(caught_up);
        }
        self.nudge.notify_one();
        // An error is the answer: the other end was dropped.
        let _ = when.await;
    }

    /// Those who wait for the driver to catch up.
    pub(super) fn take_catching_up(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *self.catching_up())
    }

    /// Takes one event of the channel, and hands out whom to wake. True if it was the last.
    pub(super) fn handle(
        &self,
        event: ChannelEvent,
        channel: &Weak<dyn TransportChannel>,
        woken: &mut Vec<Waker>,
    ) -> bool {
        match event {
            ChannelEvent::Deliver(deliver) => self.deliver(deliver, channel),
            ChannelEvent::Confirm { sequence, multiple } => {
                self.ledger().settle(sequence, multiple, &Ok(()), woken);
            }
            ChannelEvent::Nack { sequence, multiple } => {
                let err = Error::new(ErrorKind::Nacked, "the broker refused the message");
                self.ledger().settle(sequence, multiple, &Err(err), woken);
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
        let mut woken = Vec::new();
        self.ledger().fail_all(err, &mut woken);
        woken.into_iter().for_each(Waker::wake);
        self.end_consumers(err);
        drop(self.take_catching_up());
    }

    fn deliver(&self, deliver: Deliver, channel: &Weak<dyn TransportChannel>) {
        let inbox = self.consumers().get(&deliver.consumer_tag).cloned();
        if let Some(inbox) = inbox {
            inbox.push(deliver);
        } else if let Some(channel) = channel.upgrade() {
            // Its consumer did not come to be: nobody waited any more for the broker's answer.
            give_back(&*channel, deliver.delivery_tag);
        }
    }

    fn consumer_cancelled(&self, tag: &ConsumerTag) {
        let inbox = self.consumers().remove(tag);
        if let Some(inbox) = inbox {
            inbox.end(Error::new(
                ErrorKind::ConsumerCancelled,
                format!(
                    "the broker cancelled the consumer '{tag}' of queue '{}', as it does when the \
                     queue is deleted",
                    inbox.queue()
                ),
            ));
        }
    }

    fn end_consumers(&self, err: &Error) {
        let ended = std::mem::take(&mut *self.consumers());
        for inbox in ended.into_values() {
            inbox.end(err.clone());
        }
    }

    fn catching_up(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.catching_up
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
